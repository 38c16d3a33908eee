"""The terms on which a call is admitted by a scheduler: given with the call, or around it."""

from __future__ import annotations

from collections.abc import Hashable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import NamedTuple

from xtremeflow.values.arguments import check_int, check_number
from xtremeflow.values.limits import Cost


class CallTerms(NamedTuple):
    """The terms of one call.

    priority  higher ones go first, -32,768 to 32,767
    timeout   seconds that the call may wait for its admission; None: no bound
    estimate  its likely cost, instead of the client's `estimate`
    prefix    the key of its group, the tokens that it should read from the cache, and the seconds
              for which the provider keeps them; None: unknown
    """

    priority: int = 0
    timeout: float | None = None
    estimate: Cost | None = None
    prefix: Hashable = None
    prefix_tokens: int = 0
    prefix_life: float | None = None

    def check(self) -> None:
        """Raises TypeError or ValueError for terms that no scheduler takes."""
        check_int("priority", self.priority, _LEAST)
        if self.priority > _MOST:
            raise ValueError(f"priority must be {_MOST:,} or less, got {self.priority!r}")
        if self.timeout is not None:
            check_number("the timeout of the admission", self.timeout, zero=True)


_LEAST, _MOST = -32_768, 32_767  # of priorities, as in the core

USUAL = CallTerms()


def terms_of(priority: int, timeout: float | None, estimate: Cost | None) -> CallTerms:
    """Returns the terms of a call that joins no group."""
    if timeout is None and estimate is None and type(priority) is int and priority == 0:
        return USUAL  # nearly always; to make others takes longer than all else here
    return CallTerms(priority, timeout, estimate)


_around: ContextVar[CallTerms] = ContextVar("xtremeflow.http.admission", default=USUAL)


def terms_around() -> CallTerms:
    """Returns the terms of the innermost `admission` block."""
    return _around.get()


class admission:
    """The terms of all calls that are made through `transport` in a block.

        with admission(priority=1, timeout=2.0, estimate=900):
            answer = await openai.chat.completions.create(...)

    Use it where an SDK makes the calls, since SDKs pass no arguments on. The calls of a `Client`
    take the same as arguments. Tasks that are started in the block keep its terms.

    Args:
        priority: as for `TaskScheduler.start_task`: higher ones go first.
        timeout: seconds that a call may wait for its admission. After that the SDK raises its
            timeout error.
        estimate: the likely tokens of a call, or a mapping of limit names to units.

    None, for each of the three, keeps the value outside the block.
    """

    def __init__(
        self,
        *,
        priority: int | None = None,
        timeout: float | None = None,
        estimate: Cost | None = None,
    ) -> None:
        CallTerms(0 if priority is None else priority, timeout).check()
        self._terms = (priority, timeout, estimate)
        self._tokens: list[Token[CallTerms]] = []

    def __enter__(self) -> None:
        priority, timeout, estimate = self._terms
        outside = _around.get()
        inside = CallTerms(
            outside.priority if priority is None else priority,
            outside.timeout if timeout is None else timeout,
            outside.estimate if estimate is None else estimate,
        )
        self._tokens.append(_around.set(inside))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _around.reset(self._tokens.pop())
