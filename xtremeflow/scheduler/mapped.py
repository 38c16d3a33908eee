"""One call for each of many items: a scheduler's `map` and `map_sync`."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Coroutine,
    Generator,
    Hashable,
    Iterable,
)
from typing import Any, Literal, TypeVar, overload

from xtremeflow import _core
from xtremeflow.batches.map import map_calls
from xtremeflow.batches.sync import results_of
from xtremeflow.values.limits import Cost

T = TypeVar("T")
R = TypeVar("R")


class Mapped(_core.Scheduler):
    """The native scheduler, with `map` and `map_sync`."""

    @overload
    def map(
        self,
        fn: Callable[[T], Coroutine[Any, Any, R]],
        items: Iterable[T] | AsyncIterable[T],
        *,
        estimated_tokens: Cost | Callable[[T], Cost] = 0,
        priority: int = 0,
        timeout: float | None = None,
        ordered: bool = True,
        return_exceptions: Literal[False] = False,
        window: int | None = None,
        prefix: Callable[[T], Hashable] | None = None,
        prefix_tokens: int = 0,
        prefix_life: float | None = None,
        progress: bool = False,
    ) -> AsyncGenerator[R, None]: ...
    @overload
    def map(
        self,
        fn: Callable[[T], Coroutine[Any, Any, R]],
        items: Iterable[T] | AsyncIterable[T],
        *,
        estimated_tokens: Cost | Callable[[T], Cost] = 0,
        priority: int = 0,
        timeout: float | None = None,
        ordered: bool = True,
        return_exceptions: bool,
        window: int | None = None,
        prefix: Callable[[T], Hashable] | None = None,
        prefix_tokens: int = 0,
        prefix_life: float | None = None,
        progress: bool = False,
    ) -> AsyncGenerator[R | BaseException, None]: ...
    def map(
        self,
        fn: Callable[[T], Coroutine[Any, Any, R]],
        items: Iterable[T] | AsyncIterable[T],
        *,
        estimated_tokens: Cost | Callable[[T], Cost] = 0,
        priority: int = 0,
        timeout: float | None = None,
        ordered: bool = True,
        return_exceptions: bool = False,
        window: int | None = None,
        prefix: Callable[[T], Hashable] | None = None,
        prefix_tokens: int = 0,
        prefix_life: float | None = None,
        progress: bool = False,
    ) -> AsyncGenerator[Any, None]:
        """Calls ``fn`` on every item, each call admitted by this scheduler, and yields the results.

        `xtremeflow.batches.map.map_calls` describes the arguments.
        """
        return map_calls(
            self,
            fn,
            items,
            estimated_tokens=estimated_tokens,
            priority=priority,
            timeout=timeout,
            ordered=ordered,
            return_exceptions=return_exceptions,
            window=window,
            prefix=prefix,
            prefix_tokens=prefix_tokens,
            prefix_life=prefix_life,
            progress=progress,
        )

    def map_sync(
        self,
        fn: Callable[[T], Coroutine[Any, Any, R]],
        items: Iterable[T] | AsyncIterable[T],
        **options: Any,
    ) -> Generator[R, None, None]:
        """Yields the results of `map` to code without an event loop: to a script, or to a notebook,
        where one runs already.

        The loop has a thread of its own, which calls `fn` and `items` and ends with the iteration.
        The arguments are those of `map`.
        """
        results: AsyncGenerator[Any, None] = self.map(fn, items, **options)
        return results_of(results)
