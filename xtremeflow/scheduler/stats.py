"""Snapshots of a scheduler's work, as plain dataclasses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from xtremeflow.learning.concurrency.slots import Slots
from xtremeflow.learning.costs.charges import BelievedRule
from xtremeflow.scheduler.shown import as_html, figure
from xtremeflow.values.limits import Limit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from xtremeflow.share.holder import Holder

_NONE: Mapping[int, str] = MappingProxyType({})
_UNBOUNDED: Mapping[int, Limit] = MappingProxyType({})


@dataclass(frozen=True)
class LimitStats:
    """A snapshot of one limit. Amounts are in its own unit (requests, tokens), times in seconds."""

    name: str
    rate: float
    """Units per second."""
    capacity: float
    level: float
    """Units that may be used now. Negative if calls have used more than the bucket held."""
    used: int
    """Units of admitted calls so far, estimates replaced by reports."""
    refunded: int
    """Units returned by reports below the estimate."""
    charged: int
    """Units taken in addition by reports above the estimate."""
    utilisation: float
    """``used`` as a share of all that the limit has allowed since the first call:
    capacity + rate * elapsed."""
    held_back: float
    """Share of the time in which the head of the queue waited for this limit."""
    configured: Limit | None = None
    """The limit as you gave it; None for one that was learned."""
    learned: str | None = None
    """The reason for its figures, if the provider's answers have shown one; see `observe`."""
    confidence: float | None = None
    """For a learned limit, 1 less the relative doubt of its rate. 0.98 says that the rate is right
    to within 2 %, 1 that the provider's answers tell it."""
    bound: Limit | None = None
    """The upper bound that `set_limit` has set on a limit that was not given."""


@dataclass(frozen=True)
class ShareStats:
    """A snapshot of the share of a scheduler; see the argument ``share``."""

    name: str
    members: int
    """Schedulers that are members, this one included."""
    own: float
    """Of all that was used of the limits since the share began, the part of this one, from 0 to 1:
    of the limit of which that is the most."""
    in_flight: int
    """Calls of all members."""
    waiting: int
    """Members whose next call waits."""
    reachable: bool = True
    """Whether the server of the share answers. That of a share on one machine always does."""
    outages: int = 0
    """Times that it has not."""
    prober: str | None = None
    """In an outage of the provider: the member whose single call shows whether it is back, as
    `xtremeflow share status` names it. "" if no member has one yet; None: there is no outage."""


@dataclass(frozen=True)
class PrefixStats:
    """A snapshot of the calls that share prefixes; see the argument ``prefix`` of `start_task`.

    Tokens are those of the usages that `settle` received, as far as these calls have told one.
    """

    groups: int
    """Groups that are known: their calls have not ended, or their prefix may be in the cache."""
    led: int
    """Calls that went ahead of their group."""
    lapsed: int
    """Of these, those whose answer had not begun within the bound, while other calls waited."""
    expected: int
    """Tokens of prefixes, of the calls that did not lead."""
    read: int
    """Tokens that calls have read from the provider's cache."""
    written: int
    """Tokens that they have written to it, where the provider tells it."""
    looked_up: int
    """Calls that did not lead."""
    found: int
    """Of these, those that found their prefix: at least 80 % of its tokens."""
    held_seconds: float
    """Time in which groups held calls back, added up over the groups."""
    bound: float
    """Seconds that a group is held at most: three times the median time to the first token."""
    prompts: int = 0
    """Tokens of the prompts whose provider is known, and with it the prices of its cache."""
    saved: float = 0.0
    """Of these, tokens of input that cost as much as the cache has saved. Below 0 the writes have
    cost more than the reads have saved."""

    @property
    def hits(self) -> float | None:
        """The share of the calls that did not lead which found their prefix; None before the
        first."""
        return self.found / self.looked_up if self.looked_up else None

    @property
    def saved_share(self) -> float | None:
        """The part of the price of the prompts that the cache has saved; None if no price is
        known."""
        return self.saved / self.prompts if self.prompts else None


@dataclass(frozen=True)
class LearnedConcurrency:
    """The number of calls that a provider takes at a time, as its answers show."""

    calls: int
    learned: str
    """The reason for that number."""
    confidence: float | None
    """The confidence, from 0 to 1, that the number of calls in flight is limited; None if no
    refusal was for that."""


@dataclass(frozen=True)
class Stats:
    """A snapshot of a scheduler. Counts are of calls, times in seconds, shares from 0 to 1.

    ``idle``, the shares ``held_by_`` something, and the ``held_back`` of all limits add up to 1.
    They say why quota was idle since the first call.
    """

    elapsed: float
    """Time since the first call was submitted."""
    submitted: int
    admitted: int
    """Attempts admitted, retries included."""
    succeeded: int
    """Calls that ended with a result."""
    failed: int
    """Calls that ended with an exception."""
    cancelled: int
    expired: int
    """Calls that were not admitted within their timeout."""
    waiting: int
    in_flight: int
    tokens_used: int
    """Tokens of dispatched attempts, estimates replaced by reports."""
    tokens_refunded: int
    refused: int
    """429s of which auto_backoff or notify_rate_limit_exceeded() told the scheduler."""
    retries: int
    cooldowns: int
    """Episodes: cooldowns, however many 429s arrived in each."""
    cooldown_seconds: float
    """Length of all cooldowns together."""
    cooldown_left: float
    """Time until the running cooldown ends."""
    limits: tuple[LimitStats, ...]
    idle: float
    """Share of the time in which no call waited."""
    held_by_concurrency: float
    """Share of the time in which the head of the queue waited for a free slot."""
    held_by_cooldown: float
    """Share of the time in which it waited for the end of a cooldown."""
    held_by_share: float = 0.0
    """Share of the time in which it waited for the calls of other members, see ``share``."""
    held_by_prefix: float = 0.0
    """Share of the time in which all calls that waited were held by their groups, see
    ``prefixes``."""
    prefixes: PrefixStats | None = None
    """The calls that share prefixes; None if no call has named one."""
    share: ShareStats | None = None
    """The state of the account of a share; None without ``share``."""
    concurrency: LearnedConcurrency | None = None
    """The calls that the provider takes at a time; None if its answers have not shown them."""
    begun: int = 0
    """Calls whose answer was seen to begin, see `report_first_token`."""
    first_token_seconds: float = 0.0
    """Time from their dispatch until then, of all these calls together."""
    margin: float = 0.0
    """The measured variation of the delay to the provider. So many seconds of each limit's rate are
    kept in reserve of its capacity."""
    charges: Mapping[str, BelievedRule] = field(default_factory=dict[str, BelievedRule])
    """The believed rule of charging of each model whose answers tell what is left."""

    def _repr_html_(self) -> str:
        """Shows the snapshot in a notebook."""
        return as_html(self)

    def plot(self) -> Figure:
        """Returns a figure of matplotlib: how far each limit was used, and what held the queue
        back.

        Raises:
            ImportError: matplotlib is not installed.
        """
        return figure(self)


def share_from(name: str, shared: Mapping[str, Any]) -> ShareStats:
    """Builds ShareStats from what the C core tells of the account."""
    members = shared["members"]
    own = next(each for each in members if each["seat"] == shared["seat"])
    parts = [
        used / limit["used"]
        for used, limit in zip(own["used"], shared["limits"], strict=True)
        if limit["used"] > 0
    ]
    return ShareStats(
        name=name,
        members=len(members),
        own=min(1.0, max(parts, default=0.0)),
        in_flight=sum(each["held"] for each in members),
        waiting=sum(each["state"] != "quiet" for each in members),
        prober=_prober_in_memory(shared),
    )


def _prober_in_memory(shared: Mapping[str, Any]) -> str | None:
    if not shared["outage"]:
        return None
    return "" if shared["prober"] is None else f"seat {shared['prober']}"


def leased_from(name: str, holder: Holder, snapshot: Mapping[str, Any]) -> ShareStats:
    """Builds ShareStats from the last answer of a share's server."""
    last, outage = holder.last, holder.probing.told
    used = last.used if last is not None else ()
    parts = [
        own["used"] / all_of
        for own, all_of in zip(snapshot["limits"], used, strict=False)
        if all_of > 0
    ]
    return ShareStats(
        name=name,
        members=max(1, last.members) if last is not None else 1,
        own=min(1.0, max(parts, default=0.0)),
        in_flight=last.flying if last is not None else snapshot["in_flight"],
        waiting=last.waiting if last is not None else 0,
        reachable=holder.reachable,
        outages=holder.outages,
        prober=None if outage.interval == 0 else outage.prober and f"member {outage.prober[:8]}",
    )


def stats_from(
    snapshot: dict[str, Any],
    configured: Sequence[Limit] = (),
    learned: Mapping[int, str] = _NONE,
    confidence: Callable[[int], float | None] = lambda _: None,
    slots: Slots | None = None,
    charges: Mapping[str, BelievedRule] | None = None,
    bounds: Mapping[int, Limit] = _UNBOUNDED,
) -> Stats:
    """Builds Stats from the C core's counters.

    `configured` are the first limits. `learned` has, by index, the reason for a limit's figures,
    and `confidence` how sure they are. `bounds` are those of places. Limits without any of these
    are places not taken yet. `slots` learns the concurrency.
    """
    concurrency = None
    if slots is not None and slots.known is not None:
        concurrency = LearnedConcurrency(slots.known, slots.reason, slots.confidence)
    elapsed = snapshot["elapsed"]

    def share(seconds: float) -> float:
        return seconds / elapsed if elapsed > 0 else 0.0

    def limit_stats(index: int, limit: dict[str, Any]) -> LimitStats:
        allowed = limit["capacity"] + limit["rate"] * elapsed
        return LimitStats(
            name=limit["name"],
            rate=limit["rate"],
            capacity=limit["capacity"],
            level=limit["level"],
            used=limit["used"],
            refunded=limit["refunded"],
            charged=limit["charged"],
            utilisation=limit["used"] / allowed if allowed > 0 else 0.0,
            held_back=share(limit["held_back"]),
            configured=configured[index] if index < len(configured) else None,
            learned=learned.get(index),
            confidence=confidence(index),
            bound=bounds.get(index),
        )

    return Stats(
        elapsed=elapsed,
        submitted=snapshot["submitted"],
        admitted=snapshot["admitted"],
        succeeded=snapshot["succeeded"],
        failed=snapshot["failed"],
        cancelled=snapshot["cancelled"],
        expired=snapshot["expired"],
        waiting=snapshot["waiting"],
        in_flight=snapshot["in_flight"],
        tokens_used=snapshot["tokens_used"],
        tokens_refunded=snapshot["tokens_refunded"],
        begun=snapshot["begun"],
        first_token_seconds=snapshot["first_token_seconds"],
        refused=snapshot["refused"],
        retries=snapshot["retries"],
        cooldowns=snapshot["cooldowns"],
        cooldown_seconds=snapshot["cooldown_seconds"],
        cooldown_left=snapshot["cooldown_left"],
        limits=tuple(
            limit_stats(index, limit)
            for index, limit in enumerate(snapshot["limits"])
            if index < len(configured) or index in learned or index in bounds
        ),
        idle=share(snapshot["idle"]),
        held_by_concurrency=share(snapshot["held_by_concurrency"]),
        held_by_cooldown=share(snapshot["held_by_cooldown"]),
        held_by_share=share(snapshot["held_by_share"]),
        held_by_prefix=share(snapshot["held_by_prefix"]),
        prefixes=None if snapshot["prefixes"] is None else PrefixStats(**snapshot["prefixes"]),
        share=snapshot.get("share"),
        concurrency=concurrency,
        margin=snapshot["margin"],
        charges=charges or {},
    )
