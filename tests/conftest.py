"""Hypothesis tries new examples at every run by hand. In CI it tries the same ones each time: a
failure there comes from the change and not from luck.
"""

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
