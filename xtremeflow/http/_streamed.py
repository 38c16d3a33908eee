"""Streamed calls: each holds its slot until its stream is closed, read to its end, or left."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from xtremeflow._core import current_call
from xtremeflow.answers.attempt import Sent
from xtremeflow.http._errors import not_admitted
from xtremeflow.http._terms import CallTerms
from xtremeflow.http._url import shown_url
from xtremeflow.http._usage import Tap
from xtremeflow.scheduler import TaskScheduler
from xtremeflow.values.usage import Usage

if TYPE_CHECKING:
    from xtremeflow.http._admission import Admission

T = TypeVar("T")


class Unpassed(Exception):
    """Raised in a call whose last attempt was refused or failed, so that its scheduler
    does not count it as a success. It carries the outcome."""

    def __init__(self, sent: Sent[Any]) -> None:
        super().__init__()
        self.sent = sent


class StreamedCall(Generic[T]):
    """A call of the scheduler that stays open while its stream is read.

    It needs no task: `opened` makes the attempts in the task that awaits it. Then the call holds
    its slot until `close`, or until this object is dropped. Within another call of the scheduler it
    is a part of that. `settle` takes the usage of the answer.
    """

    def __init__(
        self, admission: Admission, method: str, url: str, settle: Callable[[Usage], None]
    ) -> None:
        self.tap = Tap()
        self.is_read = False
        """Whether a task waits for the next part of the stream."""
        self.was_read = True
        """Whether it was opened, or a task has waited for it, since the last look of
        `StreamedCalls`."""
        self.reader: asyncio.Task[Any] | None = None
        """The task that has read last."""
        self.was_left = False
        """Whether it seemed to be left at the last look of `StreamedCalls`."""
        self._admission = admission
        self._method, self._url = method, url
        self._settle = settle
        self._loop = asyncio.get_running_loop()
        self._was_admitted = self._is_settled = False
        self._end: Callable[[], None] | None = None  # once it is open, until it is closed

    async def opened(
        self, open: Callable[[], Awaitable[Sent[T]]], terms: CallTerms, is_repeatable: bool
    ) -> T:
        """Returns the stream, once an attempt of `open` has brought one for the caller.

        `open` returns it once its head is there, and the part of the body that may tell of an error
        (see body_ahead). Raises Unpassed if the last attempt was refused or failed.
        """
        is_part = self._admission.admitted()
        opening = self._opening(open, is_repeatable, is_part)
        if is_part:
            return await opening
        asked = time.perf_counter()
        waiting, task = self._admission.streamed.waiting, asyncio.current_task()
        assert task is not None
        waiting.add(task)
        try:
            stream = await self._admission.scheduler._open(opening, terms)
        except asyncio.TimeoutError:
            if self._was_admitted:
                raise
            raise not_admitted(self._method, self._url, asked) from None
        finally:
            waiting.discard(task)
        if self._is_settled:
            self.close()  # it holds no slot while its reader takes what is there
        return stream

    async def _opening(
        self, open: Callable[[], Awaitable[Sent[T]]], is_repeatable: bool, is_part: bool
    ) -> T:
        self._was_admitted = True
        sent = await self._admission.attempts.make(
            open, name=lambda: f"{self._method} {shown_url(self._url)}", is_repeatable=is_repeatable
        )
        if not sent.has_passed:
            raise Unpassed(sent)
        self._is_settled = self._admission.has_settled(sent.answer)
        # Code that runs in this context belongs to the call. The function does not hold the stream.
        context, tap, settle = copy_context(), self.tap, self._settle
        self._end = lambda: context.run(_end, tap, settle, is_part)
        return sent.result

    @property
    def is_over(self) -> bool:
        return self._end is None

    def reads(self) -> None:
        """Notes that the running task waits for the next part of the stream."""
        self.is_read = self.was_read = True
        self.was_left = False
        self.reader = asyncio.current_task()

    def is_left(self, waiting: Collection[asyncio.Task[Any]]) -> bool:
        """Whether the task that has read last cannot read on: it has ended, or is one of those that
        wait for a slot."""
        reader = self.reader
        if reader is None or self.is_read or self.is_over:
            return False
        return reader.done() or reader in waiting

    def close(self) -> None:
        """Settles the call and gives its slot back. Once is enough."""
        end, self._end = self._end, None
        if end is not None:
            end()

    def __del__(self) -> None:
        end = getattr(self, "_end", None)
        if end is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(end)  # the collector may run in any thread


def _end(tap: Tap, settle: Callable[[Usage], None], is_part: bool) -> None:
    """Settles the current call, and ends it if it is the stream's own. It may have ended before,
    with its loop or its scheduler."""
    call = current_call()
    assert call is not None
    try:
        usage = tap.usage() if call.state == "in flight" else None
        if usage is not None:
            settle(usage)
    finally:
        if not is_part:
            call.scheduler._end(call)


class StreamedCalls:
    """The streams that hold slots, and whether they are being read.

    A stream is left when the task that has read it last has ended, or waits for another stream of
    the same scheduler. A stream that was never read is left when nothing refers to it, and the
    SDKs' streams are cycles of references. So the garbage collector is run when calls wait for a
    slot and streams that have not been read for a while hold some: again soon if that freed a slot,
    else rarely.
    """

    INTERVAL = 0.1  # s
    SHARE = 0.05  # of the time, for collections that free no slot

    def __init__(self, scheduler: TaskScheduler) -> None:
        self.waiting: set[asyncio.Task[Any]] = set()
        """The tasks that wait for a stream, or for its admission."""
        self._scheduler = scheduler
        self._held: weakref.WeakSet[StreamedCall[Any]] = weakref.WeakSet()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._left: list[weakref.ref[StreamedCall[Any]]] = []  # unread at the last collection
        self._blocked = 0.0  # s, in which calls had waited for a slot, at the last look
        self._not_before = 0.0

    def watch(self, streamed: StreamedCall[Any]) -> None:
        self._held.add(streamed)
        loop = asyncio.get_running_loop()
        if self._timer is None or self._loop is not loop:
            self._loop = loop
            self._timer = loop.call_later(self.INTERVAL, self._look)

    def _look(self) -> None:
        self._timer = None
        held = [weakref.ref(streamed) for streamed in self._held if not streamed.is_over]
        if not held or self._loop is None:
            return
        self._close_left(held)
        self._collect(_unread(held))
        # After the collection, which takes its time: by then what it has freed is in use again.
        self._timer = self._loop.call_later(self.INTERVAL, self._look)

    def _collect(self, unread: list[weakref.ref[StreamedCall[Any]]]) -> None:
        if not (unread and self._is_blocked() and self._scheduler.waiting):
            return
        begin = time.perf_counter()
        if begin < self._not_before and not any(_is_over(ref) for ref in self._left):
            return
        gc.collect()
        self._left = unread
        end = time.perf_counter()
        self._not_before = end + (end - begin) / self.SHARE

    def _is_blocked(self) -> bool:
        """Whether calls have waited for a slot since the last look. There may be fewer slots than
        `max_concurrency`, as the learner opens them one by one."""
        before = self._blocked
        self._blocked = self._scheduler._snapshot()["held_by_concurrency"]
        return self._blocked > before

    def _close_left(self, held: Iterable[weakref.ref[StreamedCall[Any]]]) -> None:
        """Closes the streams that were left at the last look, too, since another task may have
        taken one over. One that is read on after all has lost its slot alone."""
        for ref in held:
            streamed = ref()
            if streamed is not None and streamed.is_left(self.waiting):
                if streamed.was_left:
                    streamed.close()
                streamed.was_left = True


def _is_over(ref: weakref.ref[StreamedCall[Any]]) -> bool:
    streamed = ref()
    return streamed is None or streamed.is_over


def _unread(held: Iterable[weakref.ref[StreamedCall[Any]]]) -> list[weakref.ref[StreamedCall[Any]]]:
    """Returns those that no task has waited for since the last look."""
    unread: list[weakref.ref[StreamedCall[Any]]] = []
    for ref in held:
        streamed = ref()
        if streamed is not None:
            if not (streamed.is_read or streamed.was_read):
                unread.append(ref)
            streamed.was_read = False
    return unread
