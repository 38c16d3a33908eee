"""Rules for every test.

Hypothesis tries new examples at every run by hand. In CI it tries the same ones each time: a
failure there comes from the change and not from luck. An example may take as long as it likes, as
a busy machine decides that.
"""

import logging
import os

import pytest
from hypothesis import settings

from xtremeflow.testing import VirtualClockLoop

settings.register_profile("xtremeflow", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("xtremeflow")

LOGGERS = [
    logging.getLogger(name) for name in ("xtremeflow", "xtremeflow.run", "xtremeflow.learning")
]


AS_IMPORTED = [(each.level, each.propagate, list(each.handlers)) for each in LOGGERS]


@pytest.fixture(autouse=True)
def _the_log_is_as_imported() -> None:
    """A command takes the package's log for its process; in the suite others come after it.

    Not what the test before left is put back, but what was at first: a command may also be run by
    a fixture of a whole module, which comes before this one, and outlives it.
    """
    logging.disable(logging.NOTSET)
    for each, (level, propagate, handlers) in zip(LOGGERS, AS_IMPORTED, strict=True):
        each.setLevel(level)
        each.propagate = propagate
        each.handlers = list(handlers)


@pytest.fixture(autouse=True)
def _the_virtual_clock_is_no_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that lets months pass does not leave the next one a clock with coarse steps."""
    monkeypatch.setattr(VirtualClockLoop, "_latest", 0.0)
