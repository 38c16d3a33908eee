"""The prefixes that calls share, as the views of a run tell of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xtremeflow.cli.amounts import counted, duration
from xtremeflow.run.input.requests import Json
from xtremeflow.scheduler.stats import PrefixStats
from xtremeflow.values.amounts import shown

_MILLION = 1_000_000  # tokens, for which prices are given


def described(prefixes: PrefixStats, input_price: float | None) -> list[str]:
    """Formats the state of all groups in two lines: the calls, and the tokens. `input_price` is in
    US dollars for a million tokens of input, None if it is unknown."""
    ahead = _ahead(prefixes.led)
    if prefixes.lapsed:
        ahead += f", {prefixes.lapsed:,} of them too slow to wait for"
    calls = [f"{counted(prefixes.groups, 'group')} known", ahead]
    if prefixes.hits is not None:
        calls.append(f"{prefixes.hits:.0%} of those that followed found theirs")
    if prefixes.held_seconds:
        calls.append(f"held for {duration(prefixes.held_seconds)} in all")
    tokens = [_tokens(prefixes.read, prefixes.expected, prefixes.written)]
    saved = saving(prefixes, input_price)
    if saved is not None:
        tokens.append(saved)
    return ["; ".join(calls), "; ".join(tokens)]


def saving(prefixes: PrefixStats, input_price: float | None) -> str | None:
    """Formats what the cache has saved; None where the provider's prices are unknown."""
    share = prefixes.saved_share
    if share is None:
        return None
    money = "" if input_price is None else f", {_dollars(_usd(abs(prefixes.saved), input_price))}"
    if prefixes.saved < 0:
        return f"{-share:.1%} more paid for the input{money}: its writes were not read"
    return f"{share:.0%} of the input's price saved{money}"


def as_json(prefixes: PrefixStats, input_price: float | None) -> Json:
    known = prefixes.prompts > 0
    about: Json = {
        "groups": prefixes.groups,
        "led": prefixes.led,
        "lapsed": prefixes.lapsed,
        "hits": None if prefixes.hits is None else round(prefixes.hits, 4),
        "expected_tokens": prefixes.expected,
        "read_tokens": prefixes.read,
        "written_tokens": prefixes.written,
        "held_seconds": round(prefixes.held_seconds, 3),
        "prompt_tokens": prefixes.prompts if known else None,
        "saved_tokens": round(prefixes.saved) if known else None,
        "saved_usd": None,
    }
    if known and input_price is not None:
        about["saved_usd"] = round(_usd(prefixes.saved, input_price), 6)
    return about


def of_runs(told: Sequence[Json]) -> str:
    """Formats in one line what several runs have told by `as_json`."""

    def total(name: str) -> Any:
        return sum(each.get(name) or 0 for each in told)

    parts = [
        f"prefixes: {_ahead(total('led'))}",
        _tokens(total("read_tokens"), total("expected_tokens"), total("written_tokens")),
        f"held for {duration(total('held_seconds'))}",
    ]
    saved, usd = total("saved_tokens"), total("saved_usd")
    if saved > 0:
        money = f", {_dollars(usd)}" if usd > 0 else ""
        parts.append(f"{saved / total('prompt_tokens'):.0%} of the input's price saved{money}")
    return "; ".join(parts)


def _ahead(led: int) -> str:
    return f"{counted(led, 'call')} went ahead"


def _tokens(read: int, expected: int, written: int) -> str:
    text = f"{shown(read)} tokens read"
    if expected:
        text += f" of {shown(expected)} expected"
    return f"{text}, {shown(written)} written" if written else text


def _usd(tokens: float, input_price: float) -> float:
    return tokens * input_price / _MILLION


def _dollars(usd: float) -> str:
    return f"${usd:,.2f}" if usd >= 0.1 else f"${usd:.2g}"
