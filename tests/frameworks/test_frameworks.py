"""Each framework's own package, its calls admitted by a scheduler: the examples as they stand, and
what an example does not show."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from kit.frameworks import need

from xtremeflow import Limit, RequestRateScheduler, TaskScheduler, TokenRateScheduler
from xtremeflow.serve import serve
from xtremeflow.testing import run

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = ROOT / "examples" / "frameworks"
PACKAGES = {
    "pydantic_ai": "pydantic-ai-slim",
    "langchain": "langchain-core",
    "instructor": "instructor",
    "openai_agents": "openai-agents",
    "llama_index": "llama-index-llms-openai",
    "litellm": "litellm",
    "dspy": "dspy",
}
# Or LiteLLM asks the network for prices when it is imported.
LOCAL = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
LINES = {"langchain": r"10 answers, 10 calls, \d\.\d s", "instructor": r"10 people, 10 calls, .*"}


def adapter(name: str) -> Any:
    """The module, if its framework is installed."""
    need(PACKAGES[name], name)
    os.environ.update(LOCAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that are not ours
        return import_module(f"xtremeflow.frameworks.{name}")


def test_every_adapter_has_an_example_an_extra_and_a_part_of_the_page() -> None:
    modules = {path.stem for path in (ROOT / "xtremeflow" / "frameworks").glob("*.py")}
    assert modules - {"__init__", "clients"} == set(PACKAGES)
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(PACKAGES)
    page = (ROOT / "docs" / "frameworks.md").read_text("utf-8")
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    for name in PACKAGES:
        assert f"\n{name.replace('_', '-')} = [" in project
        source = (EXAMPLES / f"{name}.py").read_text("utf-8")
        assert f"```python\n{source}```" in page, name


@pytest.mark.parametrize("name", PACKAGES)
def test_an_example_runs(name: str) -> None:
    adapter(name)
    ran = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **LOCAL, "PYTHONSAFEPATH": "1"},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    line = LINES.get(name, r"10 answers, 10 calls, [\d,]{3,} tokens")
    assert re.fullmatch(line, ran.stdout.splitlines()[-1]), ran.stdout
    assert not re.search(r"never retrieved|never awaited|Unclosed", ran.stderr), ran.stderr


# ---- the clients ----


def tight() -> TaskScheduler:
    return TokenRateScheduler(max_tpm=6_000_000, burst_ratio=1, max_concurrency=3)


def test_refused_calls_are_tried_again_by_the_scheduler_alone() -> None:
    clients = import_module("xtremeflow.frameworks.clients")

    async def main() -> None:
        scheduler = TaskScheduler(8)
        async with (
            serve("openai", limits={"rpm": 4, "tpm": None}, speed=120) as server,
            clients.openai_client(scheduler, base_url=server.base_url, api_key="any") as client,
        ):
            await asyncio.gather(
                *[
                    client.chat.completions.create(
                        model="m", messages=[{"role": "user", "content": "hi"}]
                    )
                    for _ in range(6)
                ]
            )
            assert server.stats()["succeeded"] == 6
        stats = scheduler.stats()
        assert stats.succeeded == 6
        assert stats.refused > 0

    asyncio.run(main())


@pytest.mark.parametrize("library", ["httpx2", "httpx"])
def test_threads_wait_for_the_same_scheduler(library: str) -> None:
    clients = import_module("xtremeflow.frameworks.clients")
    scheduler = tight()
    with (
        serve("openai", speed=100) as server,
        clients.sync_http_client(scheduler, library=library) as client,
    ):
        for _ in range(3):
            answer = client.post(
                f"{server.base_url}/chat/completions",
                json={"model": "m", "messages": [{"role": "user", "content": "hi"}]},
            )
            assert answer.status_code == 200
            assert answer.json()["object"] == "chat.completion"
        assert client.post(f"{server.base_url}/nothing", json={}).status_code == 404
    assert scheduler.stats().submitted == 4
    assert scheduler.stats().tokens_used > 0


def test_an_error_of_the_transport_is_the_librarys_also_in_threads() -> None:
    httpx2 = pytest.importorskip("httpx2")
    clients = import_module("xtremeflow.frameworks.clients")
    with (
        clients.sync_http_client(tight(), library="httpx2", retries=0) as client,
        pytest.raises(httpx2.ConnectError),
    ):
        client.get("http://127.0.0.1:1/")


def test_a_library_that_is_none_is_refused() -> None:
    clients = import_module("xtremeflow.frameworks.clients")
    with pytest.raises(ValueError, match="library must be 'httpx2' or 'httpx', got 'requests'"):
        clients.http_client(tight(), library="requests")


# ---- pydantic-ai's limiter ----


def test_a_limiter_holds_a_slot_until_its_release() -> None:
    limiters = adapter("pydantic_ai")

    async def main() -> None:
        scheduler = TaskScheduler(2)
        limiter = limiters.Limiter(scheduler)
        loop = asyncio.get_running_loop()
        began = loop.time()
        most = now = 0

        async def use() -> None:
            nonlocal most, now
            await limiter.acquire("model:m")
            now += 1
            most = max(most, now)
            await asyncio.sleep(1)
            now -= 1
            limiter.release()

        await asyncio.gather(*[use() for _ in range(6)])
        assert most == 2
        await scheduler.wait_pending()
        assert scheduler.stats().succeeded == 6
        assert loop.time() - began == pytest.approx(3)

    run(main())


def test_an_acquisition_that_is_cancelled_leaves_no_slot_taken() -> None:
    limiters = adapter("pydantic_ai")

    async def main() -> None:
        scheduler = TaskScheduler(1)
        limiter = limiters.Limiter(scheduler)
        await limiter.acquire("a")
        waiting = asyncio.create_task(limiter.acquire("b"))
        await asyncio.sleep(1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        limiter.release()
        await asyncio.wait_for(limiter.acquire("c"), 1)
        limiter.release()
        await scheduler.wait_pending()
        assert scheduler.active_tasks == scheduler.waiting == 0

    run(main())


def test_the_limiter_in_pydantic_ais_own_model() -> None:
    limiters = adapter("pydantic_ai")
    from pydantic_ai import Agent
    from pydantic_ai.models.concurrency import ConcurrencyLimitedModel
    from pydantic_ai.models.test import TestModel

    async def main() -> None:
        scheduler = TaskScheduler(1, limits=[Limit("tokens", 1000, capacity=1000)])
        limiter = limiters.Limiter(scheduler, estimated_tokens=10)
        agent = Agent(ConcurrencyLimitedModel(TestModel(), limiter))
        await asyncio.gather(*[agent.run("hi") for _ in range(3)])
        await scheduler.wait_pending()
        assert scheduler.stats().succeeded == 3
        assert scheduler.stats().tokens_used == 30

    asyncio.run(main())


# ---- LangChain's rate limiter ----


def test_a_rate_limiter_spaces_calls_and_refuses_to_wait_if_told_so() -> None:
    limiters = adapter("langchain")

    async def main() -> None:
        scheduler = RequestRateScheduler(max_rps=2)
        limiter = limiters.RateLimiter(scheduler)
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(5):
            assert await limiter.aacquire()
        assert loop.time() - began == pytest.approx(2.0)
        assert not await limiter.aacquire(blocking=False)
        await asyncio.sleep(1)
        assert await limiter.aacquire(blocking=False)

    run(main())


def test_a_rate_limiter_blocks_threads_also_beside_a_running_loop() -> None:
    limiters = adapter("langchain")
    scheduler = RequestRateScheduler(max_rps=20)
    limiter = limiters.RateLimiter(scheduler)
    assert limiter.acquire()
    assert not limiter.acquire(blocking=False)

    async def main() -> bool:
        return bool(limiter.acquire())

    assert asyncio.run(main())
    assert scheduler.stats().succeeded == 2


# ---- LiteLLM ----


@pytest.mark.filterwarnings("ignore::UserWarning")  # of pydantic, on LiteLLM's types
def test_litellm_is_as_it_was_behind_the_block_and_threads_are_scheduled() -> None:
    scheduled = adapter("litellm").scheduled
    import litellm

    scheduler = tight()
    with serve("openai", speed=100) as server:
        with scheduled(scheduler):
            answer: Any = litellm.completion(
                model="openai/m",
                messages=[{"role": "user", "content": "hi"}],
                api_base=server.base_url,
                api_key="any",
                max_retries=0,
            )
            assert answer.choices[0].message.content
        assert scheduler.stats().succeeded == 1
        settings: Any = litellm
        assert settings.client_session is settings.aclient_session is None


# ---- the Agents SDK ----


def test_agents_that_name_only_a_model_are_scheduled() -> None:
    use = adapter("openai_agents").use
    from agents import Agent, Runner, set_tracing_disabled

    async def main() -> None:
        scheduler = tight()
        set_tracing_disabled(True)
        async with serve("openai", speed=100) as server:
            use(scheduler, base_url=server.base_url, api_key="any")
            result = await Runner.run(Agent(name="one", model="gpt-5-mini"), "hi")
            assert result.final_output
        assert scheduler.stats().succeeded == 1

    asyncio.run(main())
