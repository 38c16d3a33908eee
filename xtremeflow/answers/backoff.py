"""auto_backoff: retries a call that its provider has refused, as soon as the provider allows it."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, Protocol, TypeVar, cast, overload

from xtremeflow._core import Call, current_call
from xtremeflow.answers.attempt import MOST_PLACES, admitted_again
from xtremeflow.answers.exceptions import RetryException, verdict_of
from xtremeflow.answers.refusals import describe, is_refusal
from xtremeflow.answers.verdict import LONGEST, Meaning, Verdict
from xtremeflow.values.arguments import check_int, check_number

__all__ = ["RetryException", "auto_backoff"]

logger = logging.getLogger("xtremeflow")

P = ParamSpec("P")
R = TypeVar("R")
G = TypeVar("G", bound=AsyncIterable[Any])

RetryFor = type[Exception] | Sequence[type[Exception]] | Callable[[Exception], bool]


class _Decorator(Protocol):
    @overload
    def __call__(
        self, func: Callable[P, Awaitable[R]], /
    ) -> Callable[P, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, func: Callable[P, G], /) -> Callable[P, G]: ...


def auto_backoff(
    retry_for: RetryFor | None = None,
    max_retries: int = 3,
    base_retry_after: float = 2.0,
    exponential: bool = True,
    max_retry_after: float = 120.0,
) -> _Decorator:
    """Decorates an async function or async generator so that refused calls are retried.

    Inside a scheduled call a refusal opens the scheduler's cooldown. The call gives its slot back,
    returns to the queue before newer calls, and pays admission again. Outside a scheduled call the
    decorator waits by itself.

    The wait is the provider's (see `xtremeflow.refusals.retry_delay`). If the provider tells none,
    it is ``base_retry_after`` seconds, doubled with every episode (outside a scheduler: every
    attempt) if ``exponential``. A guessed wait is cut to ``max_retry_after``.

    The decorator raises the provider's own exception when ``max_retries`` retries were refused too.
    It raises it at once when no wait cures the refusal (spent credit, a daily quota), when the
    provider says ``x-should-retry: false``, or when the wait exceeds ``max_retry_after`` seconds.
    The default of two minutes is twice the window that providers count over, so only daily quotas
    and the like exceed it.

    An exception that says that the provider is down (`xtremeflow.refusals.is_outage`) is no
    refusal. If ``retry_for`` names it, the cooldown of a scheduled call is not doubled. After some
    failures in a row the scheduler sends only single calls, one every ``base_retry_after`` seconds,
    until one is answered. Then the others follow at once. A call gives up no sooner than doubled
    waits would have ended.

    An async generator is retried only until its first item. Later items pass through.

    Args:
        retry_for: The exceptions that are refusals: a class, a tuple or list of classes, or a
            function of the exception. By default RetryException and the exceptions that providers'
            SDKs raise for HTTP 429 and the like (`xtremeflow.refusals.is_refusal`).
        max_retries: Further attempts of a call that is refused, at least 0.
        base_retry_after: Seconds of the first guessed wait.
        exponential: Whether guessed waits double.
        max_retry_after: Longest wait in seconds.

    Raises:
        TypeError, ValueError: An argument is of the wrong type or out of its range.
    """
    if exponential not in (True, False):
        raise TypeError(f"exponential must be True or False, not {exponential!r}")
    base = _seconds("base_retry_after", base_retry_after)
    repetition = _Repetition(
        matches=_predicate(retry_for),
        max_retries=check_int("max_retries", max_retries, 0),
        base=base,
        exponential=bool(exponential),
        # A program that chooses a base above the default maximum wants that maximum, too.
        longest=max(_seconds("max_retry_after", max_retry_after), base),
    )

    def decorator(func: Any, /) -> Any:
        return _decorated(func, repetition)

    return decorator


@dataclass(frozen=True)
class _Repetition:
    matches: Callable[[Exception], bool]
    max_retries: int
    base: float  # s
    exponential: bool
    longest: float  # s

    @property
    def patience(self) -> float:
        """The sum of all guessed waits of one call, in seconds."""
        return sum(self.guess(attempt) for attempt in range(1, min(self.max_retries, 64) + 1))

    def guess(self, attempt: int) -> float:
        doublings = min(attempt - 1, 64) if self.exponential else 0  # 64: far beyond any maximum
        return min(self.base * 2.0**doublings, self.longest)


class _Tries:
    """The attempts of one call, from the first failure on."""

    def __init__(self, repetition: _Repetition, name: str) -> None:
        self._repetition = repetition
        self._name = name
        self._failed = 0  # attempts
        self._places = 0  # further attempts, refused for lack of a place
        self._down_since: float | None = None  # the first failure of this call without an answer

    def answer(self, exc: Exception) -> Awaitable[object] | None:
        """Returns an awaitable to await before the next attempt, or None if `exc` is to be raised.

        Tells the scheduler of each failure, also of the last attempt's, because the other calls
        must cool down even if this one gives up.
        """
        repetition, call = self._repetition, current_call()
        if not repetition.matches(exc):
            return None
        verdict = _verdict(exc, call)
        told = verdict.wait
        if verdict.meaning is Meaning.SPENT:
            return None
        if told is not None and told > repetition.longest:
            _add_note(
                exc,
                f"xtremeflow: not retried, the provider asks for a wait of {told:g} s "
                f"and max_retry_after is {repetition.longest:g} s",
            )
            return None

        has_places = verdict.meaning is Meaning.PLACES and not verdict.is_final
        if call is not None and self._places < MOST_PLACES and has_places:
            self._places += 1
            call.rate_limited(0.0, 0.0, False, 0.0)
            return admitted_again(call)
        self._failed += 1
        is_last = self._failed > repetition.max_retries or verdict.is_final
        waits = (told, repetition.base, repetition.exponential, repetition.longest)
        if call is None:
            wait = repetition.guess(self._failed) if told is None else told
        elif verdict.meaning in (Meaning.DOWN, Meaning.OVERLOADED):
            wait = call.failed(told, repetition.base, False, repetition.longest)
            is_last &= self._has_lasted() or verdict.is_final
        elif verdict.advised is not None:
            wait = call.rate_limited(None, verdict.advised, False, LONGEST)
        else:
            wait = call.rate_limited(*waits)
        if is_last:
            return None
        # For a call of xtremeflow.http, the method and the URL.
        what = getattr(exc, "_xtremeflow_call", self._name)
        logger.warning(
            "Retrying %s in %.3f s: attempt %d of %d failed (%s)",
            what,
            wait,
            self._failed,
            max(self._failed, repetition.max_retries) + 1,
            describe(exc),
            extra={"xtremeflow": {
                "event": "retry", "call": what, "verdict": verdict.meaning.value, "pause": wait,
            }},
        )  # fmt: skip
        return asyncio.sleep(wait) if call is None else admitted_again(call)

    def _has_lasted(self) -> bool:
        """Whether the provider has been down for as long as the guessed waits would have lasted."""
        now = asyncio.get_running_loop().time()
        if self._down_since is None:
            self._down_since = now
        return now - self._down_since >= self._repetition.patience


def _verdict(exc: Exception, call: Call | None) -> Verdict:
    """Returns the verdict on an exception. If the scheduler was shown the answer behind it, that
    verdict counts."""
    own = verdict_of(exc)
    kept: Verdict | None = None if call is None else call.verdict
    if kept is None or not kept.is_refusal:
        return own
    return kept if own.is_refusal or own.meaning is Meaning.FAULT else own


def _wrap_function(func: Callable[..., Any], repetition: _Repetition) -> Callable[..., Any]:
    name = _name(func)
    is_async = inspect.iscoroutinefunction(func)

    @wraps(func)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        tries: _Tries | None = None
        while True:
            try:
                result = func(*args, **kwargs)
                if is_async or inspect.isawaitable(result):
                    return await result
            except Exception as exc:
                tries = tries or _Tries(repetition, name)
                pause = tries.answer(exc)
                if pause is None:
                    raise
            else:
                raise TypeError(f"{name} must be async to be tried again, but returned {result!r}")
            await pause  # after the except block, so that no reference keeps the exception

    return wrapper


def _wrap_generator(func: Callable[..., Any], repetition: _Repetition) -> Callable[..., Any]:
    name = _name(func)

    async def begin(*args: Any, **kwargs: Any) -> tuple[AsyncGenerator[Any, Any], Any]:
        """Returns a generator that has reached its first item, and that item."""
        tries: _Tries | None = None
        while True:
            generator = func(*args, **kwargs)
            try:
                return generator, await generator.__anext__()
            except StopAsyncIteration:  # an empty generator is no failure, whatever retry_for says
                raise
            except Exception as exc:
                tries = tries or _Tries(repetition, name)
                pause = tries.answer(exc)
                if pause is None:
                    raise
            await pause

    @wraps(func)
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        try:
            generator, item = await begin(*args, **kwargs)
            while True:
                try:
                    sent = yield item
                except GeneratorExit:
                    await generator.aclose()
                    raise
                except BaseException as exc:
                    item = await generator.athrow(exc)
                else:
                    item = await generator.asend(sent)
        except StopAsyncIteration:
            return

    return wrapper


def _predicate(retry_for: RetryFor | None) -> Callable[[Exception], bool]:
    if retry_for is None:
        return is_refusal
    if isinstance(retry_for, type):
        return _predicate((retry_for,))
    if isinstance(retry_for, Sequence):
        classes = tuple(cast("Sequence[Any]", retry_for))
        if not classes:
            raise ValueError("retry_for must hold at least one class, got none")
        for cls in classes:
            # Not BaseException: a retried CancelledError or KeyboardInterrupt could not be stopped.
            if not (isinstance(cls, type) and issubclass(cls, Exception)):
                raise TypeError(f"retry_for takes subclasses of Exception, not {cls!r}")
        return lambda exc: isinstance(exc, classes)
    if inspect.iscoroutinefunction(retry_for) or inspect.isasyncgenfunction(retry_for):
        raise TypeError(
            f"retry_for must not be async, got {retry_for!r}; "
            "to decorate it, write @auto_backoff() with parentheses"
        )
    if not callable(retry_for):
        raise TypeError(
            "retry_for must be an exception class, a tuple or list of them, "
            f"or a function of the exception, not {retry_for!r}"
        )
    return retry_for


def _seconds(name: str, value: object) -> float:
    seconds = check_number(name, value, zero=True)
    if seconds > 1e9:  # 30 years, which is within the core's clock of 64 bits of ns
        raise ValueError(f"{name} must be 1e9 seconds or less, got {value!r}")
    return seconds


def _decorated(func: Any, repetition: _Repetition) -> Any:
    if type(func) in (staticmethod, classmethod):
        return func.__class__(_decorated(func.__func__, repetition))
    # A plain function may return a coroutine; a class or generator function never does.
    if not callable(func) or isinstance(func, type) or inspect.isgeneratorfunction(func):
        raise TypeError(
            f"auto_backoff decorates async functions and async generators, not {func!r}"
        )
    wrap = _wrap_generator if _is_generator(func) else _wrap_function
    return wrap(func, repetition)


def _is_generator(func: Callable[..., Any]) -> bool:
    """Whether the function, or the object that is called like one, is an async generator."""
    return inspect.isasyncgenfunction(func) or inspect.isasyncgenfunction(type(func).__call__)


def _name(func: Callable[..., Any]) -> str:
    return str(getattr(func, "__qualname__", type(func).__name__))


def _add_note(exc: BaseException, note: str) -> None:
    if sys.version_info >= (3, 11):
        exc.add_note(note)
