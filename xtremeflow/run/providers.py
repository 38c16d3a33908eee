"""The presets: the address, the key and the rules of each provider.

The sources are in docs/limits.md, "Real providers".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xtremeflow.learning.rules import ChargeRule
from xtremeflow.values.limits import Limit

UNITS: Mapping[str, str] = {
    "rpm": "requests",
    "tpm": "tokens",
    "itpm": "input_tokens",
    "otpm": "output_tokens",
}
"""The units of the amounts per minute."""

# This part of a bucket stays free, because the network may deliver a call early.
_JITTER = 1.0  # s
_OPENAI_PATHS = {
    "messages": "/v1/chat/completions",
    "input": "/v1/responses",
    "embedding": "/v1/embeddings",
    "prompt": "/v1/completions",
}

_AS_USED = ChargeRule("nothing", settles=True, cached_free=False)


@dataclass(frozen=True)
class Provider:
    """A preset.

    base_url     its address; None if each user has one of their own
    key_variable the environment variable with the key; None if it needs no key
    key_header   the header with the key; "{}" stands for the key
    headers      other headers of every call
    paths        paths for bodies without a url, by their fields: see `requests.parse`
    prefix       the beginning of OpenAI's paths that this provider's do not have
    amounts      the limits of a middle tier, per minute ("concurrency": at a time)
    tells        whether its answers tell of its limits, so that no amounts need be assumed
    burst        seconds of its rate that a limit allows at once
    headroom     the part of the amounts that may be used, since a window's edge is not hit exactly
    rule         the rule by which it charges tokens, until its answers show another
    """

    name: str
    title: str
    base_url: str | None = None
    key_variable: str | None = None
    key_header: tuple[str, str] = ("Authorization", "Bearer {}")
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    paths: Mapping[str, str] = field(default_factory=lambda: _OPENAI_PATHS)
    prefix: str = ""
    amounts: Mapping[str, int] = field(default_factory=dict[str, int])
    tells: bool = False
    burst: Mapping[str, float] = field(default_factory=dict[str, float])
    headroom: float = 1.0
    rule: ChargeRule = _AS_USED

    def limits(self, amounts: Mapping[str, float], burst: float | None) -> list[Limit]:
        """Returns the scheduler's limits for amounts per minute. `burst` (s) replaces the
        preset's."""
        found: list[Limit] = []
        for name, amount in amounts.items():
            seconds = self.burst.get(name, 0.0) if burst is None else burst
            usable = amount * self.headroom
            found.append(Limit(UNITS[name], usable, 60.0, usable / 60.0 * seconds))
        return found


_MINUTE = 60.0 - _JITTER
_BUCKETS = {"rpm": _MINUTE, "tpm": _MINUTE, "itpm": _MINUTE, "otpm": _MINUTE}

# The amounts are those of a middle tier. Those of an account are on its provider's limits page.
_ALL = (
    Provider(
        "openai",
        "OpenAI",
        "https://api.openai.com/v1",
        "OPENAI_API_KEY",
        amounts={"rpm": 5_000, "tpm": 800_000},
        tells=True,
        burst=_BUCKETS,
        rule=ChargeRule("max", settles=False, cached_free=False),
    ),
    Provider(
        "azure",
        "Azure OpenAI",
        None,
        "AZURE_OPENAI_API_KEY",
        ("api-key", "{}"),
        amounts={"rpm": 1_440, "tpm": 240_000},
        tells=True,
        headroom=0.98,
        rule=ChargeRule("sum", settles=False, cached_free=False),
    ),
    Provider(
        "anthropic",
        "Anthropic",
        "https://api.anthropic.com",
        "ANTHROPIC_API_KEY",
        ("x-api-key", "{}"),
        headers={"anthropic-version": "2023-06-01"},
        paths={"messages": "/v1/messages"},
        amounts={"rpm": 4_000, "itpm": 2_000_000, "otpm": 400_000},
        tells=True,
        burst={"itpm": _MINUTE, "otpm": _MINUTE},
        rule=ChargeRule("input", settles=True, cached_free=True),
    ),
    Provider(
        "gemini",
        "Gemini",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "GEMINI_API_KEY",
        paths={"messages": "/chat/completions", "embedding": "/embeddings"},
        prefix="/v1",
        amounts={"rpm": 1_000, "itpm": 1_000_000},
        headroom=0.98,
    ),
    Provider(
        "mistral",
        "Mistral",
        "https://api.mistral.ai/v1",
        "MISTRAL_API_KEY",
        paths={"messages": "/v1/chat/completions", "embedding": "/v1/embeddings"},
        amounts={"rpm": 360, "tpm": 2_000_000},
        tells=True,
        headroom=0.98,
    ),
    Provider(
        "groq",
        "Groq",
        "https://api.groq.com/openai/v1",
        "GROQ_API_KEY",
        amounts={"rpm": 1_000, "tpm": 300_000},
        tells=True,
        burst=_BUCKETS,
        rule=ChargeRule("sum", settles=True, cached_free=False),
    ),
    Provider(
        "deepseek",
        "DeepSeek",
        "https://api.deepseek.com",
        "DEEPSEEK_API_KEY",
        paths={"messages": "/chat/completions"},
        amounts={"concurrency": 500},
    ),
    Provider("vllm", "vLLM", "http://127.0.0.1:8000/v1", None, amounts={"concurrency": 256}),
)

PROVIDERS: Mapping[str, Provider] = {provider.name: provider for provider in _ALL}

ANY = Provider("any", "any OpenAI-compatible server", None, "XTREMEFLOW_API_KEY")
"""The preset for a server of which only the address is given."""


def address(base_url: str, url: str, prefix: str = "") -> str:
    """Joins the base and the path of `url` without the prefix. A part of both, such as `/v1`,
    counts once.

    https://host/openai/v1 and /v1/chat/completions are https://host/openai/v1/chat/completions.
    """
    if prefix and url.startswith(f"{prefix}/"):
        url = url.removeprefix(prefix)
    scheme, _, rest = base_url.rstrip("/").partition("://")
    host, slash, path = rest.partition("/")
    base = f"{slash}{path}"
    start = 0
    while (start := base.find("/", start)) >= 0:
        if url.startswith(base[start:] + "/"):
            base = base[:start]
            break
        start += 1
    return f"{scheme}://{host}{base}{url}"
