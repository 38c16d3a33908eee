"""The begin of an answer, for those that wait until its prefix is in the provider's cache."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import TypeVar

from xtremeflow._core import current_call

T = TypeVar("T")

#: What the warm-up of a batch is to call. In its context only.
awaited: ContextVar[Callable[[], None] | None] = ContextVar("xtremeflow_first_token", default=None)


def is_awaited() -> bool:
    """Whether report_first_token() would do anything here."""
    return awaited.get() is not None or current_call() is not None


async def reporting(parts: AsyncIterator[T]) -> AsyncIterator[T]:
    """Passes the parts of an answer on, and reports the first of them."""
    first = True
    async for part in parts:
        if first:
            report_first_token()
            first = False
        yield part


def report_first_token() -> None:
    """Says that the answer to the current call has begun.

    From then on the provider can read the call's prefix from its cache. So the calls of the same
    ``prefix`` that are held may go, and so may the rest of a `kv_batch` whose first call this is.
    Streams through `xtremeflow.http` report it by themselves. Without it a call's success counts.
    The time until the first report is part of `stats().first_token_seconds`.
    Outside a call it does nothing.
    """
    release = awaited.get()
    if release is not None:
        release()
    call = current_call()
    if call is not None:
        call.warmed()
