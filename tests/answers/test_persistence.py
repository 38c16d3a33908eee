"""The bounds on the attempts of a call, on the virtual clock."""

from __future__ import annotations

import asyncio

import pytest

from xtremeflow import TokenRateScheduler
from xtremeflow._core import Call, current_call
from xtremeflow.answers.answer import Answer
from xtremeflow.answers.attempt import Attempts, Persistence, Sent
from xtremeflow.answers.table import judged
from xtremeflow.answers.verdict import Verdict
from xtremeflow.testing import run
from xtremeflow.values.usage import Usage


class Line:
    """Learns nothing."""

    def call(self) -> Call | None:
        return current_call()

    def shown(self, answer: Answer) -> Verdict:
        return judged(answer)

    def settle(self, usage: Usage) -> None:
        raise AssertionError("nothing was used")


@pytest.mark.parametrize("status", [429, 503, 529])
def test_a_refused_call_goes_on_while_others_pass(status: int) -> None:
    """Also where the provider says that it is overloaded: that is a refusal as others are."""

    async def main() -> None:
        began = asyncio.get_running_loop().time()
        scheduler = TokenRateScheduler(max_rpm=1e6)
        attempts = Attempts(Line(), Persistence(max_retry_after=10.0), lambda _: False)

        async def unlucky() -> Sent[str]:
            await asyncio.sleep(0.1)
            is_over = asyncio.get_running_loop().time() - began > 60.0
            return Sent("passed", Answer(200)) if is_over else Sent("refused", Answer(status))

        async def lucky() -> Sent[str]:
            await asyncio.sleep(0.05)
            return Sent("passed", Answer(200))

        task = await scheduler.start_task(attempts.make(unlucky))
        while not task.done():
            await asyncio.sleep(1.0)
            await (await scheduler.start_task(attempts.make(lucky)))
        assert (await task).result == "passed"
        assert asyncio.get_running_loop().time() - began > 60.0

    run(main())
