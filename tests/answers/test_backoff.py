"""auto_backoff on its own, and against a fake scheduled call, on a virtual clock."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import sys
import types
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Coroutine
from email.utils import formatdate
from fractions import Fraction
from typing import Any, ClassVar, TypeVar

import pytest

from xtremeflow.answers.backoff import RetryException, auto_backoff

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time stands still while there is something to do, and jumps to the next timer."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready:  # type: ignore[attr-defined]
            timers = [t.when() for t in self._scheduled if not t.cancelled()]  # type: ignore[attr-defined]
            self.now = max(self.now, min(timers))
        super()._run_once()  # type: ignore[misc]


def run(coro: Coroutine[Any, Any, T]) -> tuple[T, float]:
    """The result and how long it took."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(coro), loop.now
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


class FakeCall:
    """A scheduled call: keeps what it is told, and waits out its cooldown in retry()."""

    def __init__(self, cooldown: float = 0.0) -> None:
        self.cooldown = cooldown
        self.scheduler = None
        self.verdict = None
        self.told: list[tuple[float | None, float, bool, float]] = []
        self.retries = 0

    def rate_limited(
        self, retry_after: float | None, base: float, exponential: bool, max_retry_after: float
    ) -> float:
        self.told.append((retry_after, base, exponential, max_retry_after))
        return max(self.cooldown, retry_after or 0.0)

    failed = rate_limited

    def retry(self) -> Awaitable[None]:
        self.retries += 1
        return asyncio.sleep(max(self.cooldown, self.told[-1][0] or 0.0))

    def resume(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xtremeflow.answers.backoff.current_call", lambda: None)


@pytest.fixture
def call(outside: None, monkeypatch: pytest.MonkeyPatch) -> FakeCall:
    fake = FakeCall()
    monkeypatch.setattr("xtremeflow.answers.backoff.current_call", lambda: fake)
    return fake


class Refused(Exception):
    """An SDK's 429."""

    status_code = 429

    def __init__(self, code: str | None = None, **headers: str) -> None:
        super().__init__("sk-secret")
        self.code = code
        self.response = types.SimpleNamespace(
            headers={name.replace("_", "-"): value for name, value in headers.items()}
        )


class Script:
    """An async function that raises or returns what it is given, one after the other."""

    def __init__(self, *outcomes: Any, **backoff: Any) -> None:
        self.outcomes = list(outcomes)
        self.attempts: list[float] = []

        async def scripted() -> Any:
            self.attempts.append(asyncio.get_running_loop().time())
            outcome = self.outcomes.pop(0)
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        self.call = auto_backoff(**backoff)(scripted)

    def run(self) -> Any:
        return run(self.call())[0]

    def fail(self) -> BaseException:
        """The exception, and nothing else may be raised."""

        async def outcome() -> Any:
            try:
                return await self.call()
            except BaseException as exc:
                return exc

        exc = run(outcome())[0]
        assert isinstance(exc, BaseException)
        return exc


# Outside a scheduler.


def test_success_is_not_touched() -> None:
    script = Script("ok")
    assert script.run() == "ok"
    assert script.attempts == [0.0]


def test_waits_double_by_the_attempt() -> None:
    script = Script(*[RetryException()] * 3, "ok")
    assert script.run() == "ok"
    assert script.attempts == [0.0, 2.0, 6.0, 14.0]


def test_waits_are_equal_if_not_exponential() -> None:
    script = Script(*[RetryException()] * 3, "ok", base_retry_after=0.5, exponential=False)
    assert script.run() == "ok"
    assert script.attempts == [0.0, 0.5, 1.0, 1.5]


def test_guesses_are_cut_to_the_maximum() -> None:
    script = Script(*[RetryException()] * 4, "ok", max_retries=4, max_retry_after=5)
    assert script.run() == "ok"
    assert script.attempts == [0.0, 2.0, 6.0, 11.0, 16.0]


def test_no_number_of_attempts_overflows() -> None:
    script = Script(*[RetryException()] * 1100, "ok", max_retries=1100, max_retry_after=1e3)
    assert script.run() == "ok"


def test_a_base_above_the_maximum_is_kept() -> None:
    script = Script(RetryException(), "ok", base_retry_after=300)
    assert script.run() == "ok"
    assert script.attempts == [0.0, 300.0]


def test_the_provider_knows_better() -> None:
    script = Script(RetryException(retry_after=0.25), Refused(retry_after="7"), "ok")
    assert script.run() == "ok"
    assert script.attempts == [0.0, 0.25, 7.25]


def test_retry_after_0_means_at_once() -> None:
    script = Script(RetryException(retry_after=0), RetryException(retry_after=0.0), "ok")
    assert script.run() == "ok"
    assert script.attempts == [0.0, 0.0, 0.0]


def test_dates_are_compared_with_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xtremeflow.answers.answer.time.time", lambda: 1_800_000_000.0)
    script = Script(Refused(retry_after=formatdate(1_800_000_009, usegmt=True)), "ok")
    assert script.run() == "ok"
    assert script.attempts == [0.0, 9.0]


def test_exhausted_retries_raise_the_last_exception() -> None:
    refusals = [Refused() for _ in range(3)]
    script = Script(*refusals, max_retries=2)
    assert script.fail() is refusals[2]
    assert len(script.attempts) == 3


def test_without_retries_the_first_refusal_is_raised() -> None:
    script = Script(Refused(), max_retries=0)
    assert isinstance(script.fail(), Refused)
    assert script.attempts == [0.0]


def test_exceptions_that_are_no_refusals_are_raised_at_once() -> None:
    script = Script(ValueError("mine"))
    assert isinstance(script.fail(), ValueError)
    assert script.attempts == [0.0]


@pytest.mark.parametrize("interrupt", [asyncio.CancelledError, GeneratorExit])
def test_interrupts_pass_whatever_retry_for_says(interrupt: type[BaseException]) -> None:
    for retry_for in (Exception, lambda exc: True):
        script = Script(interrupt(), retry_for=retry_for)
        assert isinstance(script.fail(), interrupt)
        assert script.attempts == [0.0]


def test_terminal_refusals_are_raised_at_once() -> None:
    refusal = Refused(code="insufficient_quota", retry_after="1")
    for retry_for in (None, Refused):
        script = Script(refusal, retry_for=retry_for)
        assert script.fail() is refusal
        assert script.attempts == [0.0]


def test_an_absurd_wait_is_an_error() -> None:
    refusal = Refused(retry_after="120.5")
    script = Script(refusal)
    assert script.fail() is refusal
    assert script.attempts == [0.0]
    if sys.version_info >= (3, 11):
        (note,) = refusal.__notes__
        assert "120.5 s" in note
        assert "max_retry_after is 120 s" in note


def test_the_longest_wait_is_no_error() -> None:
    script = Script(Refused(retry_after="120"), "ok")
    assert script.run() == "ok"
    assert script.attempts == [0.0, 120.0]


def test_cancelled_while_it_waits() -> None:
    script = Script(RetryException(retry_after=50), "ok")

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(script.call(), 10)

    assert run(main())[1] == 10
    assert script.attempts == [0.0]


# What retry_for may be.


class Busy(Exception):
    pass


class VeryBusy(Busy):
    pass


@pytest.mark.parametrize(
    "retry_for",
    [
        Busy,
        (OSError, Busy),
        [OSError, Busy],
        lambda exc: isinstance(exc, Busy),
        functools.partial(lambda cls, exc: isinstance(exc, cls), Busy),
    ],
)
def test_only_exceptions_that_retry_for_names_are_retried(retry_for: Any) -> None:
    script = Script(VeryBusy(), "ok", retry_for=retry_for)
    assert script.run() == "ok"
    assert script.attempts == [0.0, 2.0]
    # Nothing but what it names is retried.
    assert isinstance(Script(RetryException(), retry_for=retry_for).fail(), RetryException)


def test_an_error_of_a_predicate_is_raised() -> None:
    def predicate(exc: Exception) -> bool:
        raise LookupError("broken")

    exc = Script(Busy(), retry_for=predicate).fail()
    assert isinstance(exc, LookupError)
    assert isinstance(exc.__context__, Busy)


async def coroutine_function(exc: Exception) -> bool:
    return True


async def generator_function() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"retry_for": asyncio.CancelledError}, TypeError, "retry_for .*CancelledError"),
        ({"retry_for": (Busy, KeyboardInterrupt)}, TypeError, "retry_for .*KeyboardInterrupt"),
        ({"retry_for": BaseException}, TypeError, "retry_for .*BaseException"),
        ({"retry_for": int}, TypeError, "retry_for .*int"),
        ({"retry_for": [Busy()]}, TypeError, r"retry_for .*Busy\(\)"),
        ({"retry_for": []}, ValueError, "retry_for must hold at least one class"),
        ({"retry_for": 429}, TypeError, "retry_for .*429"),
        ({"retry_for": coroutine_function}, TypeError, "@auto_backoff"),
        ({"retry_for": generator_function}, TypeError, "@auto_backoff"),
        ({"max_retries": -1}, ValueError, "max_retries .*-1"),
        ({"max_retries": 1.5}, TypeError, "max_retries .*1.5"),
        ({"max_retries": True}, TypeError, "max_retries .*True"),
        ({"max_retries": None}, TypeError, "max_retries .*None"),
        ({"base_retry_after": -0.1}, ValueError, "base_retry_after .*-0.1"),
        ({"base_retry_after": float("nan")}, ValueError, "base_retry_after .*nan"),
        ({"base_retry_after": "2"}, TypeError, "base_retry_after .*'2'"),
        ({"max_retry_after": float("inf")}, ValueError, "max_retry_after .*inf"),
        ({"max_retry_after": 10**400}, ValueError, "max_retry_after"),
        ({"max_retry_after": None}, TypeError, "max_retry_after .*None"),
        ({"base_retry_after": True}, TypeError, "base_retry_after .*True"),
        ({"exponential": 2.0}, TypeError, "exponential .*2.0"),
        ({"retries": 3}, TypeError, "retries"),
    ],
)
def test_bad_arguments_are_refused_by_name(
    arguments: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        auto_backoff(**arguments)


def test_only_callables_can_be_decorated() -> None:
    with pytest.raises(TypeError, match="'prompt'"):
        auto_backoff()("prompt")  # type: ignore[call-overload]


def test_positional_arguments_keep_the_order_of_0_4_4() -> None:
    script = Script()
    calls = [Busy(), Busy(), "ok"]

    @auto_backoff(Busy, 2, 0.5, False)
    async def positional() -> Any:
        script.attempts.append(asyncio.get_running_loop().time())
        outcome = calls.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    assert run(positional())[0] == "ok"
    assert script.attempts == [0.0, 0.5, 1.0]


# Inside a scheduled call.


def test_the_scheduler_is_told_and_does_the_waiting(call: FakeCall) -> None:
    call.cooldown = 30.0
    script = Script(Refused(), Refused(retry_after_ms="1500"), "ok", max_retry_after=60)
    assert script.run() == "ok"
    assert call.told == [(None, 2.0, True, 60.0), (1.5, 2.0, True, 60.0)]
    assert call.retries == 2
    assert script.attempts == [0.0, 30.0, 60.0]  # the shared cooldown, not its own wait


def test_the_arguments_reach_the_scheduler(call: FakeCall) -> None:
    script = Script(RetryException(), "ok", base_retry_after=300, exponential=False)
    assert script.run() == "ok"
    assert call.told == [(None, 300.0, False, 300.0)]


def test_retry_after_0_goes_through_the_queue(call: FakeCall) -> None:
    script = Script(RetryException(retry_after=0), "ok")
    assert script.run() == "ok"
    assert call.told == [(0.0, 2.0, True, 120.0)]
    assert call.retries == 1


def test_the_last_refusal_is_told_too(call: FakeCall) -> None:
    script = Script(Refused(), Refused(), max_retries=1)
    assert isinstance(script.fail(), Refused)
    assert len(call.told) == 2
    assert call.retries == 1


@pytest.mark.parametrize(
    "refusal", [Refused(code="insufficient_quota"), Refused(retry_after="3600")]
)
def test_a_refusal_that_no_wait_cures_pauses_no_call(call: FakeCall, refusal: Refused) -> None:
    script = Script(refusal)
    assert script.fail() is refusal
    assert call.told == []
    assert call.retries == 0


def test_a_listed_exception_is_a_signal_whatever_it_is(call: FakeCall) -> None:
    script = Script(ConnectionError(), "ok", retry_for=ConnectionError)
    assert script.run() == "ok"
    assert call.told == [(None, 2.0, False, 120.0)]
    assert call.retries == 1


def test_other_exceptions_are_no_signal(call: FakeCall) -> None:
    assert isinstance(Script(ValueError()).fail(), ValueError)
    assert call.told == []


# Logging.


def test_one_warning_per_retry(call: FakeCall, caplog: pytest.LogCaptureFixture) -> None:
    call.cooldown = 12.0
    Script(Refused(retry_after="3"), Refused(), max_retries=1).fail()
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("xtremeflow", logging.WARNING)
    message = record.getMessage()
    assert "scripted in 12.000 s: attempt 1 of 2" in message
    assert "Refused, HTTP 429" in message


def test_nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    Script(Refused(), RetryException("sk-secret"), "ok").run()
    assert len(caplog.records) == 2
    assert "sk-" not in caplog.text


# The shape of what is decorated.


def test_coroutine_functions_stay_what_they_are() -> None:
    @auto_backoff()
    async def documented(a: int, *, b: str = "x") -> str:
        """Its docstring."""
        return f"{a}{b}"

    assert inspect.iscoroutinefunction(documented)
    assert documented.__name__ == "documented"
    assert documented.__doc__ == "Its docstring."
    assert str(inspect.signature(documented)).startswith("(a: 'int', *, b: 'str' = 'x')")
    assert run(documented(1, b="y"))[0] == "1y"


def test_methods_and_callables_that_return_awaitables() -> None:
    class Client:
        def __init__(self) -> None:
            self.outcomes = [RetryException(), 1, RetryException(), 2]

        async def _send(self) -> int:
            outcome = self.outcomes.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        @auto_backoff()
        async def method(self) -> int:
            return await self._send()

        def create(self) -> Awaitable[int]:  # not async itself, as with some SDKs
            return self._send()

    client = Client()
    assert run(client.method())[0] == 1
    assert run(auto_backoff()(client.create)())[0] == 2
    partial = functools.partial(coroutine_function, Busy())
    assert run(auto_backoff()(partial)())[0] is True


def test_static_and_class_methods_may_be_decorated_on_either_side() -> None:
    class Client:
        outcomes: ClassVar = [RetryException(), 1, RetryException(), 2, RetryException(), 3]

        @staticmethod
        async def send(add: int) -> int:
            outcome = Client.outcomes.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            return add + int(outcome)

        @auto_backoff()
        @staticmethod
        async def static(add: int) -> int:
            return await Client.send(add)

        @auto_backoff()
        @classmethod
        async def of_class(cls, add: int) -> int:
            return await cls.send(add)

    assert run(Client().static(10))[0] == 11
    assert run(Client.static(10))[0] == 12
    assert run(Client().of_class(10))[0] == 13


def test_seconds_may_be_of_any_type_of_numbers() -> None:
    attempts = [RetryException()]

    @auto_backoff(base_retry_after=Fraction(3, 2))  # type: ignore[arg-type]
    async def call() -> None:
        if attempts:
            raise attempts.pop()

    assert run(call())[1] == 1.5


# Async generators.


class Stream:
    """A decorated async generator whose attempts begin as given; what happens is kept."""

    def __init__(self, *failures: Exception | None, **backoff: Any) -> None:
        self.failures = list(failures)
        self.log: list[Any] = []

        async def stream() -> AsyncGenerator[Any, Any]:
            failure = self.failures.pop(0)
            try:
                await asyncio.sleep(0)
                if failure is not None:
                    raise failure
                item: Any = "first"
                while item != "stop":
                    try:
                        item = yield item
                    except Busy as exc:
                        item = exc
            finally:
                await asyncio.sleep(0)
                self.log.append(asyncio.get_running_loop().time())

        self.open = auto_backoff(**backoff)(stream)


def test_async_generators_stay_what_they_are() -> None:
    stream = Stream(None)
    assert inspect.isasyncgenfunction(stream.open)
    assert stream.open.__name__ == "stream"


def test_a_generator_is_retried_before_its_first_item() -> None:
    stream = Stream(RetryException(), Refused(retry_after="3"), None)

    async def first() -> Any:
        generator = stream.open()
        item = await generator.__anext__()
        await generator.aclose()
        return item

    assert run(first()) == ("first", 5.0)
    assert stream.log == [0.0, 2.0, 5.0]  # each attempt's generator was closed


def test_an_object_may_be_called_as_an_async_generator() -> None:
    class Source:
        failures: ClassVar = [RetryException()]

        async def __call__(self) -> AsyncIterator[int]:
            if self.failures:
                raise self.failures.pop()
            yield 1

    async def read() -> list[int]:
        return [item async for item in auto_backoff()(Source())()]

    assert run(read()) == ([1], 2.0)


def test_a_generator_gives_up() -> None:
    stream = Stream(Refused(), Refused(), max_retries=1)

    async def main() -> None:
        with pytest.raises(Refused):
            await stream.open().__anext__()

    run(main())
    assert stream.log == [0.0, 2.0]


def test_a_generator_tells_the_scheduler(call: FakeCall) -> None:
    stream = Stream(Refused(retry_after="3"), None)

    async def main() -> None:
        generator = stream.open()
        assert await generator.__anext__() == "first"
        await generator.aclose()

    run(main())
    assert call.told == [(3.0, 2.0, True, 120.0)]
    assert call.retries == 1


def test_after_the_first_item_nothing_is_retried() -> None:
    @auto_backoff()
    async def breaks() -> AsyncIterator[int]:
        yield 1
        raise RetryException("in the middle")

    async def main() -> list[int]:
        generator = breaks()
        items = [await generator.__anext__()]
        with pytest.raises(RetryException, match="in the middle"):
            await generator.__anext__()
        return items

    assert run(main()) == ([1], 0.0)


@pytest.mark.parametrize("retry_for", [Exception, lambda exc: True])
def test_an_empty_generator_is_not_a_failure(retry_for: Any) -> None:
    @auto_backoff(retry_for=retry_for)
    async def empty() -> AsyncIterator[int]:
        return
        yield 1

    async def main() -> list[int]:
        return [item async for item in empty()]

    assert run(main()) == ([], 0.0)


def test_a_generator_takes_what_is_sent_and_thrown() -> None:
    stream = Stream(None)

    async def main() -> None:
        generator = stream.open()
        with pytest.raises(TypeError):  # as any generator that has not begun
            await generator.asend("too early")
        generator = stream.open()
        assert await generator.asend(None) == "first"
        assert await generator.asend("second") == "second"
        busy = Busy()
        assert await generator.athrow(busy) is busy
        assert await generator.asend("third") == "third"
        lost = LookupError()
        with pytest.raises(LookupError) as caught:
            await generator.athrow(lost)
        assert caught.value is lost
        with pytest.raises(StopAsyncIteration):
            await generator.__anext__()

    run(main())
    assert stream.log == [0.0]


def test_a_generator_ends_when_the_inner_one_does() -> None:
    stream = Stream(None)

    async def main() -> None:
        generator = stream.open()
        await generator.__anext__()
        with pytest.raises(StopAsyncIteration):
            await generator.asend("stop")

    run(main())
    assert stream.log == [0.0]


@pytest.mark.parametrize("thrown", [StopAsyncIteration, StopIteration])
def test_a_thrown_stop_is_an_error_as_in_any_generator(thrown: type[Exception]) -> None:
    stream = Stream(None)

    async def main() -> None:
        generator = stream.open()
        await generator.__anext__()
        with pytest.raises(RuntimeError):
            await generator.athrow(thrown())

    run(main())
    assert stream.log == [0.0]


def test_aclose_closes_the_inner_generator() -> None:
    stream = Stream(None, None)

    async def main() -> None:
        generator = stream.open()
        await generator.__anext__()
        await generator.aclose()
        assert stream.log == [0.0]
        await generator.aclose()
        unused = stream.open()
        await unused.aclose()

    run(main())
    assert stream.log == [0.0]
    assert stream.failures == [None]  # the unused one never began


def test_a_cancelled_consumer_cancels_the_inner_generator() -> None:
    log = []

    @auto_backoff()
    async def slow() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            log.append("cancelled")
            raise

    async def consume() -> None:
        async for _ in slow():
            pass

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(consume(), 10)

    assert run(main())[1] == 10
    assert log == ["cancelled"]


def test_a_generator_cancelled_while_it_waits() -> None:
    stream = Stream(RetryException(retry_after=50), None)

    async def consume() -> None:
        async for _ in stream.open():
            pass

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(consume(), 10)

    assert run(main())[1] == 10
    assert stream.log == [0.0]


def test_each_use_counts_its_own_attempts() -> None:
    outcomes = [RetryException(), "a", RetryException(), "b"]

    @auto_backoff(max_retries=1)
    async def shared() -> Any:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def main() -> list[Any]:
        return [await shared(), await shared()]

    assert run(main()) == (["a", "b"], 4.0)


def test_functions_that_are_not_async_are_refused_as_early_as_can_be() -> None:
    def numbers() -> Any:
        yield 1

    for wrong in (numbers, int, 5):
        with pytest.raises(TypeError, match="auto_backoff decorates async functions"):
            auto_backoff()(wrong)  # type: ignore[call-overload]

    @auto_backoff()  # type: ignore[arg-type]
    def plain() -> int:
        return 1

    with pytest.raises(TypeError, match="plain must be async to be tried again, but returned 1"):
        asyncio.run(plain())

    async def later() -> int:
        return 2

    assert asyncio.run(auto_backoff()(lambda: later())()) == 2


def test_a_provider_that_wants_no_other_attempt_gets_none(call: FakeCall) -> None:
    for code in (None, "too_many_concurrent_requests"):
        refusal = Refused(code=code, x_should_retry="false")
        assert Script(refusal).fail() is refusal
    assert len(call.told) == 2  # the other calls are to know
    assert call.retries == 0
