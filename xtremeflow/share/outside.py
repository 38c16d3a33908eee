"""A share with a keeper, looked at and cleared from outside, by one that is no member."""

from __future__ import annotations

import asyncio
from typing import Any

from xtremeflow.share.keeper import Keeper, KeptShare, Unreachable, Unusable
from xtremeflow.share.known import known
from xtremeflow.share.place import ShareError
from xtremeflow.share.timeline import SILENCE

OUTSIDE = "outside"  # the name by which it connects; members have others


def kept_state(share: KeptShare) -> dict[str, Any] | None:
    """Returns the state of a share: limits, and the members that live. None if there is none.

    Raises:
        ShareError: The keeper does not answer, or refuses.
    """
    return asyncio.run(_outside(share, clears=False))


def clear_kept(share: KeptShare) -> bool:
    """Removes the account of a share. Returns False if there is none.

    Raises:
        ShareError: The share has members, or the keeper does not answer, or refuses.
    """
    return asyncio.run(_outside(share, clears=True)) is not None


async def _outside(share: KeptShare, *, clears: bool) -> dict[str, Any] | None:
    keeper = share.keeper(OUTSIDE)
    try:
        await keeper.connect(lambda _: None)
        state = await keeper.status()
        if state is None:
            return None
        members = [each for each in state["members"] if await _is_alive(keeper, each)]
        if clears and members:
            raise ShareError(
                f"the share {str(share)!r} has members, {len(members)} of them: end them first"
            )
        if clears:
            await keeper.clear()
        return _readable(state, members)
    except Unreachable as error:
        raise ShareError(f"the share {str(share)!r} does not answer: {error}") from error
    except Unusable as error:
        raise ShareError(f"the share {str(share)!r} cannot be used: {error}") from error
    finally:
        await keeper.close()


async def _is_alive(keeper: Keeper, member: dict[str, Any]) -> bool:
    return member["silent"] < SILENCE and await keeper.lives(member["connection"])


def _readable(state: dict[str, Any], members: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the state in units and seconds, with the names that shares on one machine use."""
    return known(
        {
            "limits": [
                {
                    "name": limit["name"],
                    "per": limit["per"],
                    "rate": limit["amount"] / limit["per"],
                    "capacity": limit["capacity"],
                    "level": limit["level"],
                    "used": round(limit["used"]),
                }
                for limit in state["limits"]
            ],
            "members": [
                {
                    "member": each["member"],
                    "held": each["held"],
                    "waits": max(0, each["waits"]),
                    "used": [round(units) for units in each["used"]],
                    "silent": each["silent"] / 1e6,
                }
                for each in members
            ],
            "slots": None if state["slots"] < 0 else state["slots"],
            "cooldown_left": state["cooldown_left"] / 1e6,
            "outage": state["outage"],
            "prober": state["prober"] or None,
            "belief": state["belief"],
        }
    )
