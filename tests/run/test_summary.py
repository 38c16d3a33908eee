"""The summary of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from xtremeflow import LimitStats
from xtremeflow.run.output.counts import Counts
from xtremeflow.run.views.summary import Summary


@pytest.mark.parametrize(
    ("wasted", "share"),
    [({"requests": 570, "tokens": 99}, 0.5), ({"requests": 900}, 0.0), ({"tokens": 99}, 1.3636)],
)
def test_the_utilisation_is_of_what_passed(wasted: dict[str, int], share: float) -> None:
    # The scheduler counts each attempt that it has let go, those that were refused, too.
    limits = tuple(
        LimitStats("requests", 10.0, capacity, 0.0, 900, 0, 0, 1.3, 0.0)
        for capacity in (60.0, 600.0)
    )
    summary = Summary(
        counts=Counts(succeeded=330, attempts=900, refused=570, wasted=wasted),
        seconds=60.0,
        left=0,
        stopped=None,
        to_be_mended=False,
        unusable=False,
        signal=None,
        results=Path("r"),
        errors_path=Path("e"),
        limits=limits,
    )
    told = summary.as_json()
    assert told["utilisation"] == {"requests": share}
    assert [limit["utilisation"] for limit in told["limits"]] == [share, round(share * 0.55, 4)]
