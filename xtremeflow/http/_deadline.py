"""The time of a call that sends several requests: further attempts, redirects."""

from __future__ import annotations

import asyncio
from types import EllipsisType

from xtremeflow import _http


def deadline_of(request: _http.Outgoing, usual: float | None) -> float | None:
    """Returns when a call that begins now has to be over, in seconds on the loop's clock.

    `usual` is the client's timeout. None stands for no bound.
    """
    total = request.timeout
    if isinstance(total, EllipsisType):
        total = usual
    return None if total is None else asyncio.get_running_loop().time() + total


def within(request: _http.Outgoing, deadline: float | None) -> _http.Outgoing:
    """Returns the same request with the time that is left for it."""
    if deadline is None:
        return request.replace(timeout=None)
    return request.replace(timeout=max(deadline - asyncio.get_running_loop().time(), 1e-9))
