"""The native queue: limits, admission, the shared cooldown."""

from asyncio import AbstractEventLoop, Future, Task
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import Context
from typing import Any, TypeVar, final

from typing_extensions import disjoint_base

_T = TypeVar("_T")

@disjoint_base
class Scheduler:
    """The native queue. limits: (name, amount, per, capacity) each, per in seconds."""

    def __init__(
        self,
        *,
        limits: Sequence[tuple[str, float, float, float]] = (),
        max_concurrency: int | None = None,
    ) -> None: ...
    def start_task(
        self,
        coro: Awaitable[_T],
        estimated_tokens: float | Mapping[str, float] = 0,
        *,
        priority: int = 0,
        timeout: float | None = None,
        name: str | None = None,
    ) -> Coroutine[Any, Any, Task[_T]]: ...
    def submit(
        self,
        coro: Awaitable[_T],
        estimated_tokens: float | Mapping[str, float] = 0,
        *,
        priority: int = 0,
        timeout: float | None = None,
        name: str | None = None,
    ) -> Task[_T]: ...
    def notify_rate_limit_exceeded(self, retry_after: float) -> None: ...
    @property
    def max_concurrency(self) -> int | None: ...
    @max_concurrency.setter
    def max_concurrency(self, value: int | None) -> None: ...
    @property
    def active_tasks(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def total_completed(self) -> int: ...
    @property
    def pending_tasks(self) -> set[Task[Any]]: ...
    @property
    def limit_names(self) -> tuple[str, ...]: ...
    def _drained(self, /) -> Future[None]: ...
    def _snapshot(self, /) -> dict[str, Any]: ...
    def _retune(self, index: int, limit: tuple[str, float, float, float], /) -> None: ...

@final
class Call:
    """One call of a scheduler; made by start_task(), submit() and map()."""

    @property
    def scheduler(self) -> Scheduler: ...
    @property
    def priority(self) -> int: ...
    @property
    def extra(self) -> dict[str, Any]: ...
    @property
    def state(self) -> str: ...
    def rate_limited(
        self,
        retry_after: float | None,
        base: float,
        exponential: bool,
        max_retry_after: float,
        /,
    ) -> float: ...
    def retry(self) -> Future[None]: ...

    # asyncio's future protocol, for the task that waits for the admission.
    def add_done_callback(
        self, callback: Callable[[Call], object], *, context: Context | None = None
    ) -> None: ...
    def cancel(self, msg: Any = None) -> bool: ...
    def get_loop(self) -> AbstractEventLoop | None: ...
    def result(self) -> None: ...

def current_call() -> Call | None: ...
def report_token_usage(actual: float | Mapping[str, float]) -> Coroutine[Any, Any, None]: ...
