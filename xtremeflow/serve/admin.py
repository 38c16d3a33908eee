"""The admin endpoints, /admin/...: counts of calls, faults, limits and quirks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from xtremeflow.providers.provider import UNITS, period
from xtremeflow.serve.faults import Fault
from xtremeflow.serve.fields import BadRequestError, parsed
from xtremeflow.serve.inquiry import Json
from xtremeflow.simulation.quirks import Quirks
from xtremeflow.values.forms import is_array, is_object

if TYPE_CHECKING:
    from xtremeflow.serve.service import Service


def answer(service: Service, method: str, path: str, body: bytes) -> tuple[int, Json]:
    """Returns the status and the JSON that answer a request to an admin endpoint."""
    commands = _COMMANDS.get(path.removeprefix("/admin/").rstrip("/"))
    if commands is None:
        return 404, {"error": f"there is no {path}; there are: {', '.join(map(_path, _COMMANDS))}"}
    command = commands.get(method)
    if command is None:
        return 405, {"error": f"{path} takes {', '.join(commands)}, not {method}"}
    try:
        return 200, command(service, parsed(body) if body else None)
    except (ValueError, TypeError, BadRequestError) as error:
        return 400, {"error": str(error)}


def stats(service: Service) -> Json:
    """Returns the counts of calls since the start, or since the last reset."""
    provider = service.provider
    seen = asdict(provider.stats)
    for name in ("first_admission", "last_admission"):
        if seen[name] is not None:
            seen[name] = round(provider.now() - seen[name], 6)
    return {
        "profile": service.profile.name,
        **{k: v for k, v in seen.items() if not k.endswith("_admission")},
        "seconds_since_first_admission": seen["first_admission"],
        "seconds_since_last_admission": seen["last_admission"],
        "cached_tokens": service.cached_tokens,
        "statuses": {str(status): n for status, n in sorted(service.statuses.items())},
        "limits": {name: _limit(service, name) for name in service.account.limits},
    }


def _limit(service: Service, name: str) -> Json:
    """Describes a limit. `quota_used` is the share used of the quota up to the last admission. That
    quota is one period's amount at the first admission, and the same again in each period."""
    account, seen = service.account, service.provider.stats
    amount = account.amounts[name]
    told: Json = {"amount": amount, "unit": UNITS[name], "remaining": account.remaining(name)}
    if name == "concurrency":
        return {**told, "quota_used": seen.peak_concurrency / amount}
    per = period(name, service.settings.minute)
    elapsed = (seen.last_admission or 0.0) - (seen.first_admission or 0.0)
    allowed = amount * (1 + elapsed / per)
    used = seen.charged.get(UNITS[name], 0)
    return {**told, "per_seconds": per, "quota_used": round(used / allowed, 6)}


def _get_stats(service: Service, body: Any) -> Json:
    return stats(service)


def _reset(service: Service, body: Any) -> Json:
    service.reset()
    return stats(service)


def _get_faults(service: Service, body: Any) -> Json:
    return {"faults": [asdict(fault) for fault in service.faults.faults]}


def _add_faults(service: Service, body: Any) -> Json:
    given = body if is_array(body) else [body]
    service.faults.faults += [Fault.from_json(value) for value in given]
    return _get_faults(service, None)


def _clear_faults(service: Service, body: Any) -> Json:
    service.faults.faults.clear()
    return _get_faults(service, None)


def _get_limits(service: Service, body: Any) -> Json:
    return {"limits": dict(service.account.amounts)}


def _set_limits(service: Service, body: Any) -> Json:
    if not is_object(body):
        raise ValueError(f"limits must be an object of amounts by name, got {body!r}")
    for name, amount in body.items():
        if amount is not None and type(amount) is not int:
            raise ValueError(f"{name} must be a whole number or null, got {amount!r}")
    limits = {**service.limits, **body}
    service.profile.amounts(limits)  # raises ValueError
    service.limits = limits
    service.reset()
    return _get_limits(service, None)


def _get_quirks(service: Service, body: Any) -> Json:
    return {"quirks": asdict(service.quirks)}


def _set_quirks(service: Service, body: Any) -> Json:
    if not is_object(body):
        raise ValueError(f"quirks must be an object of values by name, got {body!r}")
    service.quirks = Quirks.of({**asdict(service.quirks), **body})
    service.reset()
    return _get_quirks(service, None)


def _clear_quirks(service: Service, body: Any) -> Json:
    service.quirks = Quirks()
    service.reset()
    return _get_quirks(service, None)


def _set_spent(service: Service, body: Any) -> Json:
    spent = body.get("spent") if is_object(body) else True
    if not isinstance(spent, bool):
        raise ValueError(f"spent must be true or false, got {spent!r}")
    service.spent = spent
    return {"spent": spent}


_Command = Callable[["Service", Any], Json]
_COMMANDS: Mapping[str, Mapping[str, _Command]] = {
    "stats": {"GET": _get_stats},
    "reset": {"POST": _reset},
    "faults": {"GET": _get_faults, "POST": _add_faults, "DELETE": _clear_faults},
    "limits": {"GET": _get_limits, "POST": _set_limits},
    "quirks": {"GET": _get_quirks, "POST": _set_quirks, "DELETE": _clear_quirks},
    "spent": {"POST": _set_spent},
}


def _path(command: str) -> str:
    return f"/admin/{command}"
