"""Statistics in a notebook: HTML, and a figure."""

from __future__ import annotations

import asyncio
import sys
from html.parser import HTMLParser

import pytest

from xtremeflow import Limit, Stats, TaskScheduler
from xtremeflow.testing import run


async def worked() -> Stats:
    limits = [Limit("a <b>", 600, 60, capacity=100), Limit("requests", 60, 60, capacity=100)]
    scheduler = TaskScheduler(1, limits=limits)
    for _ in range(3):
        await (await scheduler.start_task(asyncio.sleep(1), {"a <b>": 100}))
    return scheduler.stats()


class Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_html_has_the_calls_and_the_limits_and_is_well_formed() -> None:
    parser = Cells()
    parser.feed(run(worked())._repr_html_())
    assert parser.open == []
    assert "a <b>" in parser.texts
    assert "succeeded" in parser.texts
    assert "10/s" in parser.texts
    [held] = [text for text in parser.texts if text.startswith("Held back by")]
    assert "a <b> " in held


def test_html_tells_of_prefixes_and_of_money_only_where_its_price_is_known() -> None:
    async def main() -> list[str]:
        scheduler = TaskScheduler()

        async def ask(cached: int) -> None:
            details = {"cached_tokens": cached}
            scheduler.settle({"prompt_tokens": 1000, "prompt_tokens_details": details})

        for cached in (0, 900):
            await scheduler.submit(ask(cached), prefix="a", prefix_tokens=900)
        texts = []
        for priced in (0, 2000):
            scheduler._save(priced, priced / 4)
            parser = Cells()
            parser.feed(scheduler.stats()._repr_html_())
            texts.append(" ".join(parser.texts))
        return texts

    unknown, known = run(main())
    assert "1 1 100% 900 900 0 0.0 s unknown" in unknown
    assert "1 1 100% 900 900 0 0.0 s 25%" in known


def test_html_of_a_scheduler_that_has_done_nothing() -> None:
    assert "no call waited" in TaskScheduler(adapt=True).stats()._repr_html_()


def test_a_plot_is_a_figure_that_can_be_written(tmp_path: object) -> None:
    figure = pytest.importorskip("matplotlib.figure")
    made = run(worked()).plot()
    assert isinstance(made, figure.Figure)
    used, held = made.axes
    assert [label.get_text() for label in used.get_yticklabels()] == ["a <b>", "requests"]
    assert next(round(bar.get_width(), 2) for bar in used.patches) > 0.5
    assert sum(bar.get_width() for bar in held.patches) == pytest.approx(1.0)
    made.savefig(f"{tmp_path}/stats.png")
    empty = TaskScheduler().stats().plot()
    empty.savefig(f"{tmp_path}/empty.png")


def test_without_matplotlib_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'xtremeflow\[plot\]'"):
        TaskScheduler().stats().plot()
