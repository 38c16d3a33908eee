"""The prefixes that calls share, as the views of a run tell of them."""

from __future__ import annotations

from xtremeflow.cli.amounts import counted, duration, shown
from xtremeflow.run.input.requests import Json
from xtremeflow.scheduler.stats import PrefixStats

_MILLION = 1_000_000  # tokens, for which prices are given


def described(prefixes: PrefixStats, input_price: float | None) -> str:
    """Formats the state of all groups in one line. `input_price` is in US dollars for a million
    tokens of input, None if it is unknown."""
    parts = [
        f"{counted(prefixes.groups, 'group')} known, {counted(prefixes.led, 'call')} went ahead"
    ]
    if prefixes.hits is not None:
        parts.append(f"{prefixes.hits:.0%} of those that followed found theirs")
    parts.append(_tokens(prefixes))
    if prefixes.held_seconds:
        parts.append(f"held for {duration(prefixes.held_seconds)} in all")
    saved = saving(prefixes, input_price)
    if saved is not None:
        parts.append(saved)
    return "; ".join(parts)


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


def _tokens(prefixes: PrefixStats) -> str:
    text = f"{shown(prefixes.read)} tokens read"
    if prefixes.expected:
        text += f" of {shown(prefixes.expected)} expected"
    return f"{text}, {shown(prefixes.written)} written" if prefixes.written else text


def _usd(tokens: float, input_price: float) -> float:
    return tokens * input_price / _MILLION


def _dollars(usd: float) -> str:
    return f"${usd:,.2f}" if usd >= 0.1 else f"${usd:.2g}"
