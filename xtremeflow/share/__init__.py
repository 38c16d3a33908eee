"""Shares: one account for many schedulers, in as many processes. The argument ``share`` names it.

On one machine: `place` finds its file, and `member` joins a scheduler to it. For members on several
machines: `timeline` is their account, and `script` the same for a server. `records` are what it
knows, and `rows` its commands and answers. `keeper` says how they are reached. `redis_keeper`
reaches a server, and `ray_keeper` an actor on Ray, which is `ray_account`. `holder` is the member's
side: `demand` is what it asks for, `agreed` are the limits of all members, `pauses` their
cooldowns, `outage` and `probing` an outage of the provider, and `alone` is what it does in one of
the keeper. `elsewhere` joins a scheduler to it, and `background` is where it talks.
"""

from xtremeflow.share.keeper import Terms
from xtremeflow.share.place import ShareError
from xtremeflow.share.ray_keeper import RayShare
from xtremeflow.share.redis_keeper import RedisShare

__all__ = ["RayShare", "RedisShare", "ShareError", "Terms"]
