"""Streamed calls: each holds its slot until its stream is closed, read to its end, or left."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Awaitable, Callable, Collection, Generator, Iterable
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from xtremeflow.answers.attempt import Attempts, Sent
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
    """Raised in the task of a call whose last attempt was refused or failed, so that its scheduler
    does not count it as a success. It carries the outcome."""

    def __init__(self, sent: Sent[Any]) -> None:
        super().__init__()
        self.sent = sent


def passed(sent: Sent[T]) -> Sent[T]:
    """Returns the last attempt. Raises Unpassed if it was refused or failed."""
    if not sent.has_passed:
        raise Unpassed(sent)
    return sent


class Lease(Generic[T]):
    """A streamed call's slot, held until the stream is closed or this object is dropped.

    `open` makes an attempt. It returns the stream once its head is there, and the part of the body
    that may tell of an error (see body_ahead). `settle` takes the usage of the answer.
    """

    def __init__(
        self,
        admission: Admission,
        open: Callable[[], Awaitable[Sent[T]]],
        terms: CallTerms,
        method: str,
        url: str,
        is_repeatable: bool,
        settle: Callable[[Usage], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.tap = Tap()
        self.is_read = False
        """Whether a task waits for the next part of the stream."""
        self.was_read = True
        """Whether it was opened, or a task has waited for it, since the last look of `Leases`."""
        self.reader: asyncio.Task[Any] | None = None
        """The task that has read last."""
        self.was_left = False
        """Whether it seemed to be left at the last look of `Leases`."""
        self._admission = admission
        self._settle = settle
        self._asked = method, url, time.perf_counter()
        # Taken out when the call is admitted.
        self._openings: list[Callable[[], Awaitable[T]]] = [
            partial(
                _opening,
                admission.attempts,
                open,
                lambda: f"{method} {shown_url(url)}",
                is_repeatable,
            )
        ]
        self._opened: asyncio.Future[T] = loop.create_future()
        self._closed: asyncio.Future[None] = loop.create_future()
        self._task: asyncio.Task[None] | None = None
        if not admission.admitted():
            hold = _hold(self._openings, self._opened, self._closed, self.tap, settle)
            try:
                self._task = admission.submit(hold, terms)
            except BaseException:
                hold.close()
                raise

    @property
    def is_over(self) -> bool:
        return self._closed.done()

    async def opened(self) -> T:
        """Waits for the stream. Raises Unpassed if its last attempt was refused or failed."""
        opened, task = self._opened, self._task
        del self._opened  # or the stream would keep itself alive through this
        if task is None:
            return await self._openings.pop()()
        try:
            # Not only the future, since the task may end before its first step.
            both: set[asyncio.Future[Any]] = {task, opened}
            with self._admission.leases.waiting():
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not opened.done():
            try:
                task.result()
            except asyncio.TimeoutError:
                if not self._openings:
                    raise
                raise not_admitted(*self._asked) from None
        return opened.result()

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

    async def aclose(self) -> None:
        """Settles the call and gives its slot back."""
        if self._task is None:
            if not self._closed.done():
                self._closed.set_result(None)
                _settle(self.tap, self._settle)
            return
        self.close()
        await asyncio.wait({self._task})

    def close(self) -> None:
        """Does the same in the loop's next turn."""
        if not self._closed.done() and not self._closed.get_loop().is_closed():
            self._closed.set_result(None)

    def __del__(self) -> None:
        loop = self._closed.get_loop()
        if not self._closed.done() and not loop.is_closed():
            loop.call_soon_threadsafe(_close, self._closed)  # the collector may run in any thread


def _close(closed: asyncio.Future[None]) -> None:
    if not closed.done():
        closed.set_result(None)


async def _opening(
    attempts: Attempts,
    open: Callable[[], Awaitable[Sent[T]]],
    name: Callable[[], str],
    is_repeatable: bool,
) -> T:
    return passed(await attempts.make(open, name=name, is_repeatable=is_repeatable)).result


async def _hold(
    openings: list[Callable[[], Awaitable[T]]],
    opened: asyncio.Future[T],
    closed: asyncio.Future[None],
    tap: Tap,
    settle: Callable[[Usage], None],
) -> None:
    """Runs a streamed call in its task. It keeps no reference to the stream, so that dropping the
    stream ends the call."""
    opened.set_result(await openings.pop()())
    del opened
    await closed
    _settle(tap, settle)


def _settle(tap: Tap, settle: Callable[[Usage], None]) -> None:
    usage = tap.usage()
    if usage is not None:
        settle(usage)


class Leases:
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
        self._scheduler = scheduler
        self._held: weakref.WeakSet[Lease[Any]] = weakref.WeakSet()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._left: list[weakref.ref[Lease[Any]]] = []  # unread at the last collection
        self._blocked = 0.0  # s, in which calls had waited for a slot, at the last look
        self._not_before = 0.0
        self._waiting: set[asyncio.Task[Any]] = set()  # for the admission of a stream

    @contextmanager
    def waiting(self) -> Generator[None, None, None]:
        """Marks the running task as one that waits for a slot."""
        task = asyncio.current_task()
        assert task is not None
        self._waiting.add(task)
        try:
            yield
        finally:
            self._waiting.discard(task)

    def watch(self, lease: Lease[Any]) -> None:
        self._held.add(lease)
        loop = asyncio.get_running_loop()
        if self._timer is None or self._loop is not loop:
            self._loop = loop
            self._timer = loop.call_later(self.INTERVAL, self._look)

    def _look(self) -> None:
        self._timer = None
        held = [weakref.ref(lease) for lease in self._held if not lease.is_over]
        if not held or self._loop is None:
            return
        self._close_left(held)
        self._collect(_unread(held))
        # After the collection, which takes its time: by then what it has freed is in use again.
        self._timer = self._loop.call_later(self.INTERVAL, self._look)

    def _collect(self, unread: list[weakref.ref[Lease[Any]]]) -> None:
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

    def _close_left(self, held: Iterable[weakref.ref[Lease[Any]]]) -> None:
        """Closes the streams that were left at the last look, too, since another task may have
        taken one over. One that is read on after all has lost its slot alone."""
        for ref in held:
            lease = ref()
            if lease is not None and lease.is_left(self._waiting):
                if lease.was_left:
                    lease.close()
                lease.was_left = True


def _is_over(ref: weakref.ref[Lease[Any]]) -> bool:
    lease = ref()
    return lease is None or lease.is_over


def _unread(held: Iterable[weakref.ref[Lease[Any]]]) -> list[weakref.ref[Lease[Any]]]:
    """Returns those that no task has waited for since the last look."""
    unread: list[weakref.ref[Lease[Any]]] = []
    for ref in held:
        lease = ref()
        if lease is not None:
            if not (lease.is_read or lease.was_read):
                unread.append(ref)
            lease.was_read = False
    return unread
