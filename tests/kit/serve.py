"""Calls to a Service without a socket, on a virtual clock."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

from xtremeflow.serve import Service, Settings
from xtremeflow.serve.responder import ConnectionCut, Incoming
from xtremeflow.testing import LatencyModel, run

EPOCH = datetime(2026, 11, 24, tzinfo=timezone.utc).timestamp()
INSTANT = LatencyModel(
    round_trip=0.0, first_token=0.0, per_prompt_token=0.0, per_output_token=0.0, jitter=0.0
)
# A second until the first token, and a second for each of the answer's.
SLOW = LatencyModel(
    round_trip=0.0, first_token=1.0, per_prompt_token=0.0, per_output_token=1.0, jitter=0.0
)
PATHS = {
    "openai": "/v1/chat/completions",
    "azure": "/openai/v1/chat/completions",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/gemini:generateContent",
    "mistral": "/v1/chat/completions",
    "groq": "/openai/v1/chat/completions",
    "deepseek": "/chat/completions",
    "vllm": "/v1/chat/completions",
}


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Got:
    """An answer as it came: `chunks` are (time, bytes); `response` is what SDK errors carry."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    chunks: list[tuple[float, bytes]] = field(default_factory=list)
    complete: bool = False
    cut: bool = False

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        assert not self.status, "started twice"
        self.status = status
        self.headers = dict(headers)

    async def write(self, data: bytes, *, more: bool) -> None:
        assert self.status, "written to before its start"
        assert not self.complete, "written to after its end"
        self.chunks.append((now(), data))
        self.complete = not more

    @property
    def raw(self) -> bytes:
        return b"".join(data for _, data in self.chunks)

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    @property
    def events(self) -> list[Any]:
        lines = [line[6:] for line in self.raw.split(b"\n") if line.startswith(b"data: ")]
        return [line if line == b"[DONE]" else json.loads(line) for line in lines]

    def as_error(self) -> Exception:
        """As the official SDKs raise it."""
        error: Any = Exception("refused")
        error.status_code = self.status
        error.body = self.body
        error.response = SimpleNamespace(headers=self.headers, status_code=self.status)
        return error


class Client:
    """Makes calls of given lengths to a Service."""

    def __init__(self, profile: str, **settings: Any) -> None:
        settings.setdefault("latency", INSTANT)
        started = now()
        self.service = Service(Settings(profile, **settings), wall=lambda: EPOCH + now() - started)

    async def send(
        self, path: str, body: Any = None, *, method: str = "POST", **headers: str
    ) -> Got:
        data = (
            b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        )
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        got = Got()
        try:
            await self.service.handle(Incoming(method, path, named, data), got)
        except ConnectionCut:
            got.cut = True
        else:
            assert got.complete
            length = got.headers.get("content-length")
            assert length is None or int(length) == len(got.raw)
        return got

    async def call(
        self,
        prompt: int = 10,
        output: int = 1,
        most: int | None = None,
        *,
        api: str | None = None,
        text: str | None = None,
        **more: Any,
    ) -> Got:
        """A call whose prompt has so many tokens, a role's line included."""
        text = "x" * (4 * prompt - 6) if text is None else text
        name = api or {"anthropic": "messages", "gemini": "gemini"}.get(
            self.service.profile.name, "chat"
        )
        told = {"x_simulated_output_tokens": str(output)}
        if name == "gemini":
            body: dict[str, Any] = {
                "contents": [{"role": "user", "parts": [{"text": text}]}],
                "generationConfig": {} if most is None else {"maxOutputTokens": most},
            }
            verb = "streamGenerateContent" if more.pop("stream", False) else "generateContent"
            return await self.send(f"/v1beta/models/gemini:{verb}", {**body, **more}, **told)
        body = {"model": "m", "messages": [{"role": "user", "content": text}], **more}
        if most is not None or name == "messages":
            body["max_tokens"] = most or 100_000
        if name == "messages":
            base = "/anthropic" if self.service.profile.name == "deepseek" else ""
            return await self.send(f"{base}/v1/messages", body, **told)
        base = self.service.profile.base_path
        return await self.send(f"{base}/chat/completions", body, **told)

    async def admin(self, command: str, body: Any = None, method: str = "POST") -> Any:
        got = await self.send(f"/admin/{command}", body, method=method)
        assert got.status == 200, got.body
        return got.body


def simulated(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs an async test on a virtual clock."""

    @functools.wraps(test)
    def synchronous(**arguments: Any) -> None:
        run(test(**arguments))

    return synchronous


def texts(got: Got) -> Iterator[str]:
    for event in got.events:
        for choice in event["choices"] if event != b"[DONE]" else ():
            yield choice["delta"].get("content") or ""
