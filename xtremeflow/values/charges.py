"""Rules by which providers charge tokens. Parts of a rule may be unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from xtremeflow.values.usage import Usage

AtAdmission: TypeAlias = Literal["nothing", "input", "max", "sum"]
Amounts: TypeAlias = dict[str, int]
UNITS: tuple[str, ...] = ("tokens", "input_tokens", "output_tokens")
ADMISSIONS: Sequence[AtAdmission] = ("nothing", "input", "max", "sum")

_ADMISSIONS: Mapping[AtAdmission | None, str] = {
    "nothing": "nothing at admission",
    "input": "the prompt at admission",
    "max": "the larger of prompt and max_tokens at admission",
    "sum": "prompt + max_tokens at admission",
    None: "at admission not known what",
}


@dataclass(frozen=True, slots=True)
class ChargeRule:
    """A provider's rule of charging tokens. A part that is None is unknown.

    Args:
        admission: The charge when a call is admitted: "nothing", its "input", the "sum" of input
            and max_tokens, or the larger of the two ("max").
        settles: Whether the usage replaces that charge.
        cached_free: Whether input that was read from a cache costs nothing in the end.
    """

    admission: AtAdmission | None = None
    settles: bool | None = None
    cached_free: bool | None = None

    def __post_init__(self) -> None:
        if self.admission is not None and self.admission not in ADMISSIONS:
            allowed = ", ".join(map(repr, ADMISSIONS))
            raise ValueError(f"admission must be one of {allowed} or None, got {self.admission!r}")
        for name, value in (("settles", self.settles), ("cached_free", self.cached_free)):
            if value is not None and not isinstance(value, bool):
                raise ValueError(f"{name} must be True, False or None, got {value!r}")

    @property
    def admits_cached_free(self) -> bool:
        """Whether such input costs nothing at admission either. A provider that charges max_tokens
        by then charges the whole prompt with it, as Groq does."""
        return self.cached_free is True and self.admission in ("nothing", "input")

    @property
    def is_known(self) -> bool:
        return None not in (self.admission, self.settles, self.cached_free)

    def reserved(self, read: int, written: int, most: int | None) -> Amounts:
        """Returns a call's reservation of each limit: the charge at admission, or the final cost if
        that is more.

        Args:
            read: Expected tokens of its prompt.
            written: Expected tokens of its answer.
            most: Tokens that its answer may have; None if the request does not state them.
        """
        # As _larger(_taken(), _used()), without the dicts between: this is done for every call.
        admission, most = self.admission or "sum", most or 0
        wanted = most if admission in ("max", "sum") else 0
        given = 0 if admission == "nothing" else read
        both = max(given, wanted) if admission == "max" else given + wanted
        if self.settles is not False:
            both = max(both, read + written)
            given, wanted = max(given, read), max(wanted, written)
        return {"tokens": both, "input_tokens": given, "output_tokens": wanted}

    def settled(self, usage: Usage, most: int | None) -> Amounts:
        """Returns the final cost of a call of each limit, at most."""
        read = max(0, usage.input - (usage.cached if self.cached_free else 0))
        used = _used(read, usage.output)
        if self.settles:
            return used
        kept = _taken(self.admission or "sum", read, most or 0)
        return kept if self.settles is False else _larger(kept, used)

    def least(self, usage: Usage, most: int | None) -> Amounts:
        """Returns the least that a call may have cost."""
        read = max(0, usage.input - (0 if self.cached_free is False else usage.cached))
        used = _used(read, usage.output)
        if self.settles:
            return used
        kept = _taken(self.admission or "max", read, most or 0)
        return kept if self.settles is False else _smaller(kept, used)

    def over(self, other: ChargeRule) -> ChargeRule:
        """Returns this rule, with its unknown parts from `other`."""
        return ChargeRule(
            self.admission if self.admission is not None else other.admission,
            self.settles if self.settles is not None else other.settles,
            self.cached_free if self.cached_free is not None else other.cached_free,
        )

    def __str__(self) -> str:
        rest = {True: "settled by usage", False: "never given back", None: "perhaps given back"}
        cached = {True: "cached input is free", False: "cached input counts", None: ""}
        parts = (_ADMISSIONS[self.admission], rest[self.settles], cached[self.cached_free])
        return ", ".join(part for part in parts if part)


UNKNOWN = ChargeRule()
BY_USAGE = ChargeRule("sum", settles=True, cached_free=False)


def _taken(admission: AtAdmission, read: int, most: int) -> Amounts:
    wanted = most if admission in ("max", "sum") else 0
    read = 0 if admission == "nothing" else read
    both = max(read, wanted) if admission == "max" else read + wanted
    return {"tokens": both, "input_tokens": read, "output_tokens": wanted}


def _used(read: int, written: int) -> Amounts:
    return {"tokens": read + written, "input_tokens": read, "output_tokens": written}


def _larger(a: Amounts, b: Amounts) -> Amounts:
    return {unit: b[unit] if b[unit] > n else n for unit, n in a.items()}


def _smaller(a: Amounts, b: Amounts) -> Amounts:
    return {unit: b[unit] if b[unit] < n else n for unit, n in a.items()}
