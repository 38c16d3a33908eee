"""A request's body from an async iterable, sent as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from types import TracebackType

from xtremeflow import _http

BodySource = AsyncIterable[bytes]

_AHEAD = 256 * 1024  # bytes read from the source ahead of libcurl


class uploading:
    """Feeds a transfer from a source while the block runs. Raises a failure of the source."""

    def __init__(self, transfer: _http.Transfer, source: BodySource) -> None:
        self._transfer = transfer
        self._source = source

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._feed())

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        task = self._task
        if not task.done():  # the server answered before it read everything, or the call failed
            task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and (failure := task.exception()) is not None:
            raise failure

    async def _feed(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async for piece in self._source:
                if self._transfer.feed(piece) >= _AHEAD:
                    room: asyncio.Future[None] = loop.create_future()
                    self._transfer.set_room(room)
                    await room
        except BaseException:
            self._transfer.feed_end(True)
            raise
        self._transfer.feed_end(False)
