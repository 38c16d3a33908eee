"""The scheduler of a rule: one of the model, and one of the core."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kit.core import Core
from kit.model import Model
from kit.model_limit import Figures
from kit.schedulers import SECOND, Make, Scheduler


@pytest.fixture(params=["model", "core"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    made: list[Core] = []

    def one(*limits: Figures, slots: int | None = None) -> Scheduler:
        if request.param == "model":
            scheduler: Scheduler = Model(limits, slots)
        else:
            made.append(scheduler := Core(limits, slots))
        scheduler.set_hold(3 * SECOND)
        return scheduler

    yield one
    for core in made:
        core.close()
