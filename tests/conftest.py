"""What holds for every test.

Hypothesis tries new examples at every run by hand. In CI it tries the same ones each time: a
failure there comes from the change and not from luck.
"""

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

LOGGERS = [
    logging.getLogger(name) for name in ("xtremeflow", "xtremeflow.run", "xtremeflow.learning")
]


@pytest.fixture(autouse=True)
def _the_log_is_left_as_it_was() -> Iterator[None]:
    """A command takes the package's log for its process; in the suite others come after it."""
    before = [(each.level, each.propagate, list(each.handlers)) for each in LOGGERS]
    yield
    for each, (level, propagate, handlers) in zip(LOGGERS, before, strict=True):
        each.setLevel(level)
        each.propagate = propagate
        each.handlers = handlers
