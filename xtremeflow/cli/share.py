"""`xtremeflow share status|clear SHARE`: shows the members and the rest of the limits."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from xtremeflow.cli.amounts import counted
from xtremeflow.cli.parser import Parser
from xtremeflow.share.elsewhere import kept_share
from xtremeflow.share.keeper import KeptShare
from xtremeflow.share.member import clear, state_of
from xtremeflow.share.outside import clear_kept, kept_state
from xtremeflow.share.place import ShareError
from xtremeflow.values.amounts import shown

FAILED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        kept = kept_share(options.share)
        if kept is not None:
            kept.attach()
        if options.action == "clear":
            return _clear(options.share, kept)
        return _status(options.share, kept, as_json=options.json)
    except ValueError as error:
        parser.error(str(error))
    except BrokenPipeError:  # of the output
        raise
    except (ShareError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return FAILED


def _parser() -> Parser:
    parser = Parser(
        prog="xtremeflow share",
        description="Shows what schedulers that share an account have used, wait for and hold; or "
        "clears an account without members.",
    )
    parser.add_argument("action", choices=("status", "clear"), help="status: show it; clear: "
                        "forget what was used, if there is no member")  # fmt: skip
    parser.add_argument("share", metavar="SHARE", help="as it was given to the schedulers: "
                        "shm:NAME, file:/PATH, redis://HOST/0#NAME or ray:NAME")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the status as JSON")
    return parser


def _clear(share: str, kept: KeptShare | None) -> int:
    done = clear(share) if kept is None else clear_kept(kept)
    share = share if kept is None else str(kept)
    print(f"{share} is cleared" if done else f"there is no share {share}")
    return 0 if done else FAILED


def _status(share: str, kept: KeptShare | None, *, as_json: bool) -> int:
    state = state_of(share) if kept is None else kept_state(kept)
    share = share if kept is None else str(kept)
    if as_json:
        print(json.dumps(state, indent=2))
    else:
        print(f"there is no share {share}" if state is None else _as_text(share, state))
    return 0 if state is not None else FAILED


def _as_text(share: str, state: Mapping[str, Any]) -> str:
    limits, members = state["limits"], state["members"]
    lines = [f"{share}: {counted(len(members), 'member')}"]
    for limit in limits:
        lines.append(
            f"  {limit['name']}: {shown(limit['rate'] * limit['per'])} in {limit['per']:g} s; "
            f"{shown(limit['level'])} of {shown(limit['capacity'])} left, {limit['used']:,} used"
            + (f"; learned: {limit['learned']}" if limit["learned"] else "")
        )
    if state["learned_by"] is not None:
        lines.append(f"  learned last by {state['learned_by']}")
    held = sum(member["held"] for member in members)
    slots = state["slots"]
    lines.append(f"  slots: {held} held of {'any number' if slots is None else slots}")
    if state["cooldown_left"] > 0:
        lines.append(f"  a cooldown, for another {state['cooldown_left']:.3g} s")
    if state["outage"]:
        lines.append(f"  an outage of the provider, probed by {_prober(state)}")
    for member in members:
        used = zip(limits, member["used"], strict=True)
        lines.append(
            f"  {_named(member)}: holds {member['held']}; "
            + "; ".join(f"{units:,} {limit['name']} used" for limit, units in used)
            + _waiting(limits, member)
        )
    return "\n".join(lines)


def _prober(state: Mapping[str, Any]) -> str:
    for member in state["members"]:
        if state["prober"] == member.get("member", member.get("seat")):
            return _named(member)
    return "no member yet"


def _named(member: Mapping[str, Any]) -> str:
    if "member" in member:
        return f"member {member['member'][:8]}"
    return f"seat {member['seat']}, process {member['pid']}"


def _waiting(limits: Sequence[Mapping[str, Any]], member: Mapping[str, Any]) -> str:
    """Says what a member waits for. A share on a server tells the number of waiting calls, others
    the costs of the first one."""
    if "waits" in member:
        return f"; {counted(member['waits'], 'waiting call')}" if member["waits"] else ""
    if member["state"] == "quiet":
        return ""
    costs = zip(limits, member["costs"], strict=True)
    waits = ", ".join(f"{cost} {limit['name']}" for limit, cost in costs if cost)
    return f"; waits for {waits or 'a slot'}"
