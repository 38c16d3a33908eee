"""The learned knowledge as a dict that can be written as JSON and read by the next scheduler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from xtremeflow.values.arguments import check_int, check_number
from xtremeflow.values.charges import ChargeRule

VERSION = 1
NAMES = ("requests", "tokens", "input_tokens", "output_tokens")
"""Of the limits per minute that rates are learned of; the reader of headers in C has the same
order."""


@dataclass(frozen=True)
class LearnedRate:
    """A learned rate.

    rate   units per second
    doubt  its possible error in units per second
    burst  units that may be used at once, as far as is known
    """

    rate: float
    doubt: float
    burst: float


@dataclass(frozen=True)
class Learned:
    """The learned knowledge.

    rates        by the limits' names
    concurrency  calls that the provider takes at a time; None if unknown
    charges      the rules of charging, by model
    """

    rates: Mapping[str, LearnedRate] = field(default_factory=dict[str, LearnedRate])
    concurrency: int | None = None
    charges: Mapping[str, ChargeRule] = field(default_factory=dict[str, ChargeRule])


def saved(learned: Learned) -> dict[str, Any]:
    """Returns the dict. Rates with full doubt are guesses, and are left out."""
    return {
        "version": VERSION,
        "rates": {
            name: asdict(rate) for name, rate in learned.rates.items() if rate.doubt < rate.rate
        },
        "concurrency": learned.concurrency,
        "charges": {model: asdict(rule) for model, rule in learned.charges.items()},
    }


def restored(learned: object) -> Learned:
    """Returns the knowledge in a dict of saved().

    Raises TypeError or ValueError, which name the fault, for any other value.
    """
    given = _mapping("learned", learned)
    _known("learned", given, ("version", "rates", "concurrency", "charges"))
    if given.get("version") != VERSION:
        raise ValueError(f"learned['version'] must be {VERSION}, got {given.get('version')!r}")
    rates = _mapping("learned['rates']", given.get("rates", {}))
    _known("learned['rates']", rates, NAMES)
    found: dict[str, LearnedRate] = {}
    for name, value in rates.items():
        where = f"learned['rates'][{name!r}]"
        fields = _mapping(where, value)
        _known(where, fields, ("rate", "doubt", "burst"))
        rate = LearnedRate(*(_number(where, fields, field) for field in ("rate", "doubt", "burst")))
        if not 1e-3 <= rate.rate <= 1e12:
            raise ValueError(f"{where}['rate'] must be from 0.001 to 1e12, got {rate.rate!r}")
        found[name] = rate
    concurrency = given.get("concurrency")
    if concurrency is not None:
        check_int("learned['concurrency']", concurrency, 1)
    charges = _mapping("learned['charges']", given.get("charges", {}))
    return Learned(found, concurrency, {model: _rule(model, charges[model]) for model in charges})


def _rule(model: object, value: object) -> ChargeRule:
    where = f"learned['charges'][{model!r}]"
    fields = _mapping(where, value)
    _known(where, fields, ("admission", "settles", "cached_free"))
    try:
        return ChargeRule(**fields)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _number(where: str, fields: Mapping[str, Any], field: str) -> float:
    number: Any = fields.get(field)
    check_number(f"{where}[{field!r}]", number, zero=field != "rate")
    return float(number)


def _mapping(what: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{what} must be a dict as scheduler.learned gives it, got {value!r}")
    return cast("Mapping[str, Any]", value)


def _known(what: str, given: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in given:
        if name not in names:
            raise ValueError(f"{what} has {name!r}, but there is only {', '.join(names)}")
