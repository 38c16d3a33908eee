"""Learns the rule by which a provider charges calls, from the rests that its answers tell.

Between two answers the rest changes by the refill, the charges of calls and their refunds. Each
rule predicts another change. So each span between answers is a vote: the less of the change a rule
leaves unexplained, the more it is believed. Spans are longer the more calls are in flight, because
answers do not come in the order in which the provider counted.

Another user of the limit, such as a colleague with the same key, makes every rule look too cheap.
Then no rule explains the change, or one that refunds nothing does: too cautious, never too bold.
"""

from __future__ import annotations

import logging
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from operator import attrgetter, itemgetter
from struct import Struct
from typing import Any, NamedTuple

from xtremeflow.answers.headers import Observation
from xtremeflow.values.charges import ADMISSIONS, UNITS, UNKNOWN, ChargeRule
from xtremeflow.values.limits import MINUTE
from xtremeflow.values.usage import Usage

logger = logging.getLogger("xtremeflow.learning")

# The possible rules. A charge that is never settled is the most that a call may use, whatever the
# cache has of it.
RULES = tuple(
    ChargeRule(admission, settles, cached_free)
    for admission, settles, cached_free in product(ADMISSIONS, (False, True), (False, True))
    if settles or (admission in ("max", "sum") and not cached_free)
)

_SURE, _UNSURE = 0.95, 0.3  # a part is believed from the first on, until below the second
LIKELY = 0.5
"""The confidence above which a belief is more than a guess."""
_FEWEST = 4.0  # votes
_WEIGHT = 0.7  # of a vote: it shares an answer with the one before
_CROWD = 8  # a span is one answer longer for each so many calls in flight
_MEMORY = 60.0  # votes after which a vote counts 1/e, because providers change
_FIT = 0.2  # share of the charges that the best rule may leave unexplained
_CONTRADICTED = 0.1  # a contradicted assumption leaves so much more unexplained than the best rule
_NOISE = 0.03  # shares below it say nothing
_PATIENCE = 3.0  # times a call's mean duration: by then all calls in flight have ended
_GRAINS = 4.0  # the least charges of a span, in units of the answers' rounding
_ROUNDED_UP = 1.0  # s: some answers round the time until a window's end
_ENOUGH, _OPEN = 25, 100  # spans judged, if it is known whether the provider settles, and if not:
_RARELY = 8  # after that only one span in nine is judged, since judging takes time
_KEPT = 8192  # calls


@dataclass(frozen=True)
class BelievedRule:
    """The belief about a provider's charges.

    rule        its undecided parts are None
    confidence  from 0 to 1: the confidence in whether the provider settles
    answers     the number of answers behind it
    """

    rule: ChargeRule = UNKNOWN
    confidence: float = 0.0
    answers: int = 0


class Telling(NamedTuple):
    """The rest of a limit on tokens, as an answer has told it.

    sent_at, received_at  when its request was sent and its head came, in seconds of any one clock
    remaining             tokens that are left
    reset                 seconds until none are used; below 0: not said
    """

    sent_at: float
    received_at: float
    remaining: float
    reset: float


# Tellings one behind the other. Most are passed over, and so never become objects.
_ROW = Struct("4d")


class Charges:
    """The beliefs by model, or by any other key of calls that share a limit and a rule."""

    def __init__(self) -> None:
        self._keys: dict[str, _Calls] = {}
        self._assumed: ChargeRule | None = None

    def assume(self, rule: ChargeRule | None) -> None:
        """Assumes a rule, for example from a provider's documents, until answers contradict it. A
        rule that explains them only a little better does not count."""
        self._assumed = rule
        for calls in self._keys.values():
            calls.assumed = rule

    @property
    def beliefs(self) -> dict[str, BelievedRule]:
        """Returns the beliefs of the keys whose answers tell the rest."""
        return {key: calls.belief for key, calls in self._keys.items()}

    def rule(self, key: str) -> ChargeRule | None:
        """Returns the believed rule of a key, or None if its answers do not tell the rest."""
        calls = self._keys.get(key)
        return None if calls is None else calls.belief.rule

    def told(
        self, key: str, seen: Sequence[Observation], sent_at: float, received_at: float
    ) -> None:
        """Takes the rest that the answer to a passed call tells. Times are in seconds of any clock.
        Must be called before `ended` of the same call."""
        for observation in seen:
            left = observation.remaining
            if left is None or observation.name not in UNITS:
                continue
            if observation.per in (None, MINUTE):
                reset = -1.0 if observation.reset is None else observation.reset
                self.left(key, observation, _ROW.pack(sent_at, received_at, left, reset))

    def left(self, key: str, limit: Observation, told: bytes | bytearray) -> None:
        """Takes the rests that answers have told of a limit on tokens per minute: the fields of
        each Telling, as doubles."""
        calls = self._keys.get(key)
        if calls is None:
            calls = self._keys[key] = _Calls(self._assumed)
        calls.told(limit, told)

    def ended(self, key: str, call: Parts) -> None:
        """Takes a call that has ended, and concludes what follows."""
        self.note(key, [call])
        self.judge(key)

    def note(self, key: str, ended: Sequence[Parts]) -> None:
        """Takes calls that have ended. judge() says what follows from them."""
        calls = self._keys.get(key)
        if calls is not None:  # else no answer has told what is left
            calls.ended(ended)

    def judge(self, key: str) -> None:
        """Concludes the rule of charging from the calls that have ended."""
        calls = self._keys.get(key)
        if calls is not None and calls.judge():
            logger.info("Charges of %s: %s", key or "calls", calls.reason)


# The moments at which a call was charged, its dispatch and its end, and its parts: its input, the
# cached part of that, max_tokens, the larger of input and max_tokens with and without the cached
# part, and its output. Every rule charges a sum of these. A plain tuple, since thousands are kept:
# the garbage collector does not visit it.
Parts = tuple[float, float, int, int, int, int, int, int]
_NONE = (0, 0, 0, 0, 0, 0)
_sent_at: Callable[[Parts], float] = itemgetter(0)
_ended_at: Callable[[Parts], float] = itemgetter(1)


def parts_of(usage: Usage, most: int, sent_at: float, ended_at: float) -> Parts:
    """Returns the parts of a call whose answer could have had `most` tokens."""
    read = usage.input
    uncached = read - usage.cached if usage.cached < read else 0
    return (
        sent_at, ended_at,
        read, read - uncached, most, max(read, most), max(uncached, most), usage.output,
    )  # fmt: skip


class _Events:
    """The moments at which calls were charged, in their order: `at` says which of the two."""

    def __init__(self, at: Callable[[Parts], float]) -> None:
        self.all: list[Parts] = []
        self._at = at
        self._forgotten = 0

    def add(self, parts: Iterable[Parts]) -> None:
        """Takes them in any order: of equal moments the one that was added first comes first."""
        at = self._at
        new = sorted(parts, key=at)
        if new and self.all and at(new[0]) < at(self.all[-1]):
            later = self.until(at(new[0]))
            new = sorted([*self.all[later:], *new], key=at)
            del self.all[later:]
        self.all += new

    def before(self, at: float) -> int:
        """Returns how many there are before that moment."""
        return bisect_left(self.all, at, key=self._at)

    def until(self, at: float) -> int:
        """Returns the same, with those at the moment itself."""
        return bisect_right(self.all, at, key=self._at)

    def count(self, at: float) -> int:
        """Returns the same, with those that are forgotten."""
        return self._forgotten + self.until(at)

    def sums(self, first: int, last: int) -> tuple[int, ...]:
        """Returns the sums of the parts from index to index; negative if `last` is before
        `first`."""
        if first == last:
            return _NONE
        if first > last:
            return tuple(-part for part in self.sums(last, first))
        _, _, *parts = zip(*self.all[first:last], strict=True)
        return tuple(map(sum, parts))

    def forget(self, before: float) -> None:
        gone = self.before(before)
        del self.all[:gone]
        self._forgotten += gone


# The moment at which an answer's rest was true: its own call's admission, or its arrival, before or
# after its own call was settled.
_INSTANTS = (
    (attrgetter("sent_at"), _Events.until, _Events.before),
    (attrgetter("received_at"), _Events.before, _Events.before),
    (attrgetter("received_at"), _Events.before, _Events.until),
)
_HYPOTHESES = tuple(product(range(len(_INSTANTS)), RULES))


@dataclass
class _Track:
    """One limit, and the answers that have not voted yet."""

    limit: Observation
    waiting: bytearray = field(default_factory=bytearray)  # of Tellings
    start: Telling | None = None
    left: int = 0  # further answers until the span's end

    def wait(self, told: bytes | bytearray) -> None:
        """Notes answers."""
        self.waiting += told
        self._pass_over()
        del self.waiting[: -_KEPT * _ROW.size]

    def next(self, until: float) -> Telling | None:
        """Returns the answer at the span's end, if it was received until then; a next call returns
        one behind it."""
        if not self.waiting:
            return None
        first = Telling._make(_ROW.unpack_from(self.waiting))
        if first.received_at > until:
            return None
        self.left -= 1
        del self.waiting[: _ROW.size]
        return first

    def begin(self, start: Telling | None, length: int) -> None:
        """Begins a span of so many answers, or a pause without a start."""
        self.start, self.left = start, length
        self._pass_over()

    def _pass_over(self) -> None:
        """Drops the answers before the span's end."""
        gone = min(max(0, self.left - 1), len(self.waiting) // _ROW.size)
        self.left -= gone
        del self.waiting[: gone * _ROW.size]


class _Calls:
    """The calls and answers of one key."""

    def __init__(self, assumed: ChargeRule | None) -> None:
        self.belief = BelievedRule()
        self.assumed = assumed
        self.tracks: dict[str, _Track] = {}
        self._sent = _Events(_sent_at)
        self._ended = _Events(_ended_at)
        self._duration = 0.0
        self._votes = 0.0
        self._misses = [0.0] * len(_HYPOTHESES)
        self._answers = 0
        self._looks = 0  # since the last change of the rule

    @property
    def reason(self) -> str:
        belief = self.belief
        return f"{belief.rule} ({belief.confidence:.0%} sure after {belief.answers} answers)"

    def told(self, limit: Observation, told: bytes | bytearray) -> None:
        track = self.tracks.get(limit.name)
        if (
            track is None
            or track.limit.amount != limit.amount
            or track.limit.window != limit.window
        ):
            track = self.tracks[limit.name] = _Track(limit)
        track.wait(told)

    def ended(self, calls: Sequence[Parts]) -> None:
        self._sent.add(calls)
        self._ended.add(calls)
        answers, duration = self._answers, self._duration
        for call in calls:
            answers += 1
            weight = 0.05 if answers > 20 else 1 / answers
            duration += weight * (call[1] - call[0] - duration)
        self._answers, self._duration = answers, duration
        if len(self._ended.all) > _KEPT:
            oldest = _ended_at(self._ended.all[_KEPT // 4])
            self._sent.forget(oldest)
            self._ended.forget(oldest)

    def in_flight(self, at: float) -> int:
        """Returns the number of calls that were in flight then."""
        return self._sent.count(at) - self._ended.count(at)

    def judge(self) -> bool:
        """Lets all complete spans vote. Returns whether the rule has changed."""
        known = _ended_at(self._ended.all[-1]) - _PATIENCE * self._duration
        voted = False
        for track in self.tracks.values():
            while (telling := track.next(known)) is not None:
                voted |= self._advance(track, telling)
        return voted and self._conclude()

    def _advance(self, track: _Track, telling: Telling) -> bool:
        """Ends the span of a track with that answer. Returns whether it has voted."""
        length = 1 + max(0, self.in_flight(telling.received_at)) // _CROWD
        voted, looked = False, track.start is not None
        if track.start is not None:
            vote = self._vote(track.limit, track.start, telling)
            if vote is None:
                return False  # the charges are too small to be seen: the span goes on
            if vote:
                keep = 1 - 1 / _MEMORY
                self._votes = keep * self._votes + 1
                self._misses = [keep * a + b for a, b in zip(self._misses, vote, strict=True)]
                voted = True
        self._looks += looked
        if looked and self._looks > (_OPEN if self.belief.rule.settles is None else _ENOUGH):
            track.begin(None, _RARELY * length)
        else:
            track.begin(telling, length)
        return voted

    def _vote(self, limit: Observation, a: Telling, b: Telling) -> list[float] | None:
        """Returns for each hypothesis the share of the charges, up to 1, that it leaves
        unexplained. Empty if the span tells nothing; None if it is too short."""
        gain = 0.0 if limit.window else limit.amount / (limit.per or MINUTE)
        most = a.remaining + gain * (b.received_at - a.sent_at) + limit.grain
        if most >= limit.amount or b.received_at >= _window_end(limit, a):
            return []  # the bucket may have been full meanwhile, and lost refill
        if a.remaining <= 0 or b.remaining <= 0:
            return []  # overdrawn, by an unknown amount
        changes: list[float] = []
        charged: list[float] = []
        for when, *sides in _INSTANTS:
            since, until = when(a), when(b)
            sent, ended = self._charged(since, until, sides)
            if limit.slides:
                window = limit.window or MINUTE
                gone = self._charged(since - window, until - window, sides)
                sent = tuple(x - y for x, y in zip(sent, gone[0], strict=True))
                ended = tuple(x - y for x, y in zip(ended, gone[1], strict=True))
            charged += (by_rule := _charges(limit.name, sent, ended))
            changes += [gain * (until - since) - charge for charge in by_rule]
        whole = max(map(abs, charged))
        if whole <= _GRAINS * limit.grain:
            return None
        moved = b.remaining - a.remaining
        if moved - max(changes) > _FIT * whole:
            return []  # more is left than any rule allows: a new window, or a new limit
        return [min(1.0, abs(moved - change) / whole) for change in changes]

    def _charged(self, since: float, until: float, sides: Any) -> list[tuple[int, ...]]:
        """Returns the parts of the calls sent, and of those that ended, in that time."""
        return [
            events.sums(side(events, since), side(events, until))
            for events, side in zip((self._sent, self._ended), sides, strict=True)
        ]

    def _conclude(self) -> bool:
        """Decides the rule anew. Returns whether it has changed."""
        scores = [math.log(miss / self._votes + _NOISE) for miss in self._misses]
        best = min(scores)
        weights = [math.exp(-_WEIGHT * self._votes * (score - best)) for score in scores]
        whole = sum(weights)
        shares = {
            part: {value: sum(weights[i] for i in which) / whole for value, which in values.items()}
            for part, values in _AGREEING.items()
        }
        old = self.belief.rule
        sure = max(shares["settles"].values())
        stands = self._assumption()
        if stands is not None and self._votes >= _FEWEST:
            self.belief = BelievedRule(stands[0], stands[1], self._answers)
            return stands[0] != old
        if self._votes < _FEWEST or math.exp(best) - _NOISE > _FIT:
            self.belief = BelievedRule(old, 0.0 if old.settles is None else sure, self._answers)
            return False
        found = {part: _decided(getattr(old, part), shares[part]) for part in shares}
        rule = ChargeRule(**found)
        changed = rule != old
        self.belief = BelievedRule(rule if changed else old, sure, self._answers)
        self._looks = 0 if changed else self._looks
        return changed

    def _assumption(self) -> tuple[ChargeRule, float] | None:
        """Returns the assumed rule and the share of all charges that it explains, if the answers do
        not contradict it."""
        if self.assumed is None:
            return None
        own = [miss for miss, (_, rule) in zip(self._misses, _HYPOTHESES, strict=True)
               if rule == self.assumed]  # fmt: skip
        if not own or min(own) > min(self._misses) + _CONTRADICTED * self._votes:
            return None
        return self.assumed, 1.0 - min(1.0, min(own) / self._votes)


# The hypotheses that agree in a part of their rule, by its value.
_AGREEING: dict[str, dict[Any, list[int]]] = {}
for _index, (_, _rule) in enumerate(_HYPOTHESES):
    for _part in ("admission", "settles", "cached_free"):
        _AGREEING.setdefault(_part, {}).setdefault(getattr(_rule, _part), []).append(_index)


def _window_end(limit: Observation, told: Telling) -> float:
    """Returns the earliest end of the fixed window of which an answer told."""
    if not limit.window or limit.slides or told.reset < 0:
        return math.inf
    return told.sent_at + told.reset - _ROUNDED_UP


def _decided(before: Any, shares: dict[Any, float]) -> Any:
    """Returns the value of a part of the rule, from the former belief and the present shares."""
    likeliest = max(shares, key=shares.__getitem__)
    if shares[likeliest] >= _SURE:
        return likeliest
    return before if before is not None and shares[before] >= _UNSURE else None


def _charges(unit: str, sent: Sequence[int], ended: Sequence[int]) -> list[int]:
    """Returns the charges by each rule for the calls sent and ended in some time."""
    taken, gone = _admitted(unit, sent), _admitted(unit, ended)
    read, cached, *_, written = ended
    used = {"tokens": read + written, "input_tokens": read, "output_tokens": written}[unit]
    free = 0 if unit == "output_tokens" else cached
    return [
        taken[i] + (used - (free if rule.cached_free else 0) - gone[i] if rule.settles else 0)
        for i, rule in zip(_ADMITTED, RULES, strict=True)
    ]


_ADMITTED = [2 * ADMISSIONS.index(r.admission or "nothing") + bool(r.cached_free) for r in RULES]


def _admitted(unit: str, calls: Sequence[int]) -> tuple[int, ...]:
    """Returns the charges at admission, by ADMISSIONS, with cached input and without."""
    read, cached, most, larger, larger_uncached, _ = calls
    bare = read - cached
    if unit == "input_tokens":
        return 0, 0, read, bare, read, bare, read, bare
    if unit == "output_tokens":
        return 0, 0, 0, 0, most, most, most, most
    return 0, 0, read, bare, larger, larger_uncached, read + most, bare + most
