"""The C core alone, as a shared library behind ctypes: what the model is compared with.

No part of the extension is needed for it; the compiler is ``$CC``, or cc.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from ctypes import (
    POINTER,
    c_bool,
    c_char_p,
    c_double,
    c_int,
    c_int64,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
    create_string_buffer,
)
from fractions import Fraction
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
NEVER = 2**63 - 1
UNLIMITED = 2**32 - 1
UNTOLD = -1
STATES = ("new", "waiting", "admitted", "in flight", "resting", "expired", "done")
SUCCEEDED, FAILED = range(2)

SIGNATURES = {
    "handle_definition": (c_void_p, [c_double, c_double, c_double]),
    "handle_scheduler": (c_void_p, [POINTER(c_void_p), c_uint32, c_uint32]),
    "handle_scheduler_free": (None, [c_void_p]),
    "handle_call": (c_void_p, [c_void_p, POINTER(c_int64)]),
    "handle_share_memory": (c_void_p, []),
    "handle_join": (c_bool, [c_void_p, c_void_p, c_uint32, c_int64]),
    "handle_bury": (None, [c_void_p, c_uint32, c_int64]),
    "xf_look": (None, [c_void_p, c_int64]),
    "handle_free": (None, [c_void_p]),
    "handle_refused": (
        c_int64,
        [c_void_p, c_void_p, c_int64, c_int64, c_bool, c_int64, c_int64],
    ),
    "handle_failed": (
        c_int64,
        [c_void_p, c_void_p, c_int64, c_int64, c_bool, c_int64, c_int64],
    ),
    "handle_pace": (None, [c_void_p, c_uint32, POINTER(c_double), c_int64, c_int64]),
    "handle_armed": (c_int64, [c_void_p]),
    "handle_state": (c_uint32, [c_void_p]),
    "handle_anchor": (c_int64, [c_void_p]),
    "handle_in_use": (c_uint32, [c_void_p]),
    "handle_live": (c_uint32, [c_void_p]),
    "handle_used": (c_uint64, [c_void_p, c_uint32]),
    "handle_level": (None, [c_void_p, c_uint32, c_int64, POINTER(c_int64)]),
    "xf_submit": (c_bool, [c_void_p, c_void_p, c_int, c_int64, c_int64]),
    "xf_dispatch": (c_bool, [c_void_p, c_void_p]),
    "xf_put_back": (None, [c_void_p, c_void_p, c_int64]),
    "xf_rest": (None, [c_void_p, c_void_p, c_int64]),
    "xf_retry": (None, [c_void_p, c_void_p, c_int64]),
    "xf_finish": (None, [c_void_p, c_void_p, c_int, c_int64]),
    "xf_settle": (None, [c_void_p, c_void_p, c_uint32, c_int64, c_int64]),
    "xf_retune": (None, [c_void_p, c_uint32, c_void_p, c_int64]),
    "xf_set_slots": (None, [c_void_p, c_uint32, c_int64]),
    "xf_set_level": (None, [c_void_p, c_uint32, c_double, c_int64]),
    "xf_shut": (None, [c_void_p, c_uint32, c_int64, c_int64]),
    "xf_follow": (c_bool, [c_void_p, c_int64]),
    "xf_let_in": (None, [c_void_p, c_uint32, c_int64]),
    "handle_learn": (
        c_bool,
        [c_void_p, c_uint64, c_uint32, c_void_p, POINTER(c_double), c_char_p, c_size_t, c_int64],
    ),
    "handle_lower": (None, [c_void_p, c_uint32, c_int64, c_int64, c_int64, c_int64]),
    "handle_version": (c_uint64, [c_void_p]),
    "handle_belief": (c_size_t, [c_void_p, c_char_p]),
    "handle_ramp_up": (c_bool, [c_void_p, c_int64]),
    "handle_told": (
        c_double,
        [c_void_p, c_uint32, c_double, c_bool, c_int64, c_int64, c_int64],
    ),
    "handle_replace": (
        None,
        [c_void_p, c_uint32, c_void_p, c_double, c_int64, c_void_p, c_int64],
    ),
    "xf_open_group": (c_void_p, [c_void_p, c_int64, c_void_p]),
    "xf_set_hold": (None, [c_void_p, c_int64]),
    "xf_close_group": (None, [c_void_p, c_void_p]),
    "xf_join_group": (None, [c_void_p, c_void_p]),
    "xf_warmed": (None, [c_void_p, c_void_p, c_int64]),
    "xf_looked_up": (None, [c_void_p, c_void_p, c_bool, c_bool, c_int64]),
    "xf_give_way": (None, [c_void_p, c_bool, c_int64]),
    "xf_set_tokens": (None, [c_void_p, c_void_p, c_int64]),
    "handle_life": (None, [c_void_p, c_int64]),
    "handle_prefixes": (None, [c_void_p, POINTER(c_int64)]),
    "xf_poll": (None, [c_void_p, c_int64]),
    "xf_collect": (c_void_p, [c_void_p]),
}


@functools.cache
def load() -> ctypes.CDLL:
    """Compiles the core once per process. The file is gone again when this returns."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    sources = [*sorted((ROOT / "csrc" / "core").glob("*.c")), ROOT / "tests" / "c" / "handles.c"]
    with tempfile.TemporaryDirectory() as directory:
        library = Path(directory) / "core.so"
        command = [*compiler, "-std=c11", "-O1", "-g", "-fPIC", "-shared", f"-I{ROOT / 'csrc'}"]
        # A preloaded sanitizer of the interpreter must not get into the compiler.
        environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        subprocess.run(
            [*command, *map(str, sources), "-o", str(library), "-lm"], check=True, env=environment
        )
        core = ctypes.CDLL(str(library))
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(core, name)
        function.restype, function.argtypes = result, arguments
    return core


Figures = tuple[float, float, float]  # of a limit: amount, period in ns, capacity


class Core:
    """One scheduler of the C core, with the methods of model.Model."""

    def __init__(self, limits: Sequence[Figures], slots: int | None = None) -> None:
        self.lib = load()
        handles = [self.definition(limit) for limit in limits]
        row = (c_void_p * max(1, len(handles)))(*handles)
        self.scheduler = self.lib.handle_scheduler(row, len(handles), slots_or_unlimited(slots))
        for handle in handles:
            self.lib.handle_free(handle)
        self.calls: list[int] = []
        self.groups: list[int] = []
        self.numbers: dict[int, int] = {}
        self.outbox: list[int] = []

    def definition(self, limit: Figures) -> int:
        amount, per, capacity = limit
        handle: int | None = self.lib.handle_definition(amount, per / 1e9, capacity)
        if handle is None:
            raise ValueError(f"the core refuses the limit {limit}")
        return handle

    def close(self) -> None:
        self.lib.handle_scheduler_free(self.scheduler)
        for call in self.calls:
            self.lib.handle_free(call)

    def join(self, memory: SharedMemory, seat: int, now: int) -> bool:
        """Become a member of the account there."""
        joined: bool = self.lib.handle_join(self.scheduler, memory.address, seat, now)
        return joined

    def bury(self, seat: int, now: int) -> None:
        self.lib.handle_bury(self.scheduler, seat, now)

    def look(self, now: int) -> None:
        self.lib.xf_look(self.scheduler, now)

    def submit(
        self,
        now: int,
        costs: Sequence[int],
        priority: int = 0,
        deadline: int | None = None,
        group: int | None = None,
    ) -> int:
        call = self.lib.handle_call(self.scheduler, (c_int64 * max(1, len(costs)))(*costs))
        if group is not None:
            self.lib.xf_join_group(call, self.groups[group])
        number = len(self.calls)
        self.calls.append(call)
        self.numbers[call] = number
        assert self.lib.xf_submit(self.scheduler, call, priority, never_or(deadline), now)
        self.drain()
        if self.state(number) == "admitted" and number not in self.outbox:
            self.outbox.append(number)  # on the spot
        return number

    def dispatch(self, number: int) -> bool:
        started: bool = self.lib.xf_dispatch(self.scheduler, self.calls[number])
        return started

    def put_back(self, now: int, number: int) -> None:
        self.lib.xf_put_back(self.scheduler, self.calls[number], now)

    def rest(self, now: int, number: int) -> None:
        self.lib.xf_rest(self.scheduler, self.calls[number], now)

    def retry(self, now: int, number: int) -> None:
        self.lib.xf_retry(self.scheduler, self.calls[number], now)

    def finish(self, now: int, number: int, ok: bool) -> None:
        outcome = SUCCEEDED if ok else FAILED
        self.lib.xf_finish(self.scheduler, self.calls[number], outcome, now)

    def settle(self, now: int, number: int, index: int, actual: int) -> None:
        self.lib.xf_settle(self.scheduler, self.calls[number], index, actual, now)

    def refused(
        self,
        now: int,
        number: int | None,
        told: int | None,
        base: int = 0,
        exponential: bool = True,
        cap: int = 0,
    ) -> int:
        call = None if number is None else self.calls[number]
        told = UNTOLD if told is None else told
        end: int = self.lib.handle_refused(self.scheduler, call, told, base, exponential, cap, now)
        return end

    def failed(
        self, now: int, number: int, told: int | None, base: int, cap: int, alone: bool = False
    ) -> int:
        call, told = self.calls[number], UNTOLD if told is None else told
        end: int = self.lib.handle_failed(self.scheduler, call, told, base, alone, cap, now)
        return end

    def pace(
        self, now: int, index: int, law: tuple[float, float, float, float], until: int | None
    ) -> None:
        figures = (c_double * 4)(*law)
        self.lib.handle_pace(self.scheduler, index, figures, never_or(until), now)

    def retune(self, now: int, index: int, limit: Figures) -> None:
        definition = self.definition(limit)
        self.lib.xf_retune(self.scheduler, index, definition, now)
        self.lib.handle_free(definition)

    def learn(
        self, now: int, version: int, index: int, limit: Figures, level: int | None, belief: bytes
    ) -> bool:
        definition = self.definition(limit)
        levels = None if level is None else (c_double * 1)(level)
        done: bool = self.lib.handle_learn(
            self.scheduler, version, index, definition, levels, belief, len(belief), now
        )
        self.lib.handle_free(definition)
        return done

    def lower(self, now: int, index: int, left: int, used: int, at: int) -> None:
        self.lib.handle_lower(self.scheduler, index, left, used, at, now)

    @property
    def version(self) -> int:
        version: int = self.lib.handle_version(self.scheduler)
        return version

    @property
    def belief(self) -> bytes:
        text = create_string_buffer(8000)
        length = self.lib.handle_belief(self.scheduler, text)
        return text.raw[:length]

    def set_level(self, now: int, index: int, units: float) -> None:
        self.lib.xf_set_level(self.scheduler, index, units, now)

    def shut(self, now: int, index: int, until: int) -> None:
        self.lib.xf_shut(self.scheduler, index, until, now)

    def follow(self, now: int) -> None:
        assert self.lib.xf_follow(self.scheduler, now)

    def told(
        self, now: int, index: int, remaining: float, bounded: bool, sent_at: int, answered_at: int
    ) -> float:
        moved: float = self.lib.handle_told(
            self.scheduler, index, remaining, bounded, sent_at, answered_at, now
        )
        return moved

    def replace(
        self, now: int, index: int, limit: Figures, units: int, sent: int, number: int | None
    ) -> None:
        definition = self.definition(limit)
        call = None if number is None else self.calls[number]
        self.lib.handle_replace(self.scheduler, index, definition, units, sent, call, now)
        self.lib.handle_free(definition)

    def limit_to(self, now: int, let_in: int | None) -> None:
        self.lib.xf_let_in(self.scheduler, slots_or_unlimited(let_in), now)

    def ramp_up(self, now: int) -> bool:
        wanted: bool = self.lib.handle_ramp_up(self.scheduler, now)
        return wanted

    def set_hold(self, hold: int) -> None:
        self.lib.xf_set_hold(self.scheduler, hold)

    def open_group(self, ttl: int | None, trunk: int | None = None) -> int:
        above = None if trunk is None else self.groups[trunk]
        group = self.lib.xf_open_group(self.scheduler, never_or(ttl), above)
        assert group is not None
        self.groups.append(group)
        return len(self.groups) - 1

    def close_group(self, group: int) -> None:
        self.lib.xf_close_group(self.scheduler, self.groups[group])

    def give_way(self, now: int, gives_way: bool) -> None:
        self.lib.xf_give_way(self.scheduler, gives_way, now)

    def set_tokens(self, group: int, tokens: int) -> None:
        self.lib.xf_set_tokens(self.scheduler, self.groups[group], tokens)

    def set_life(self, group: int, ttl: int | None) -> None:
        self.lib.handle_life(self.groups[group], never_or(ttl))

    def warmed(self, now: int, number: int) -> None:
        self.lib.xf_warmed(self.scheduler, self.calls[number], now)

    def looked_up(self, now: int, number: int, found: bool, is_free: bool = False) -> None:
        self.lib.xf_looked_up(self.scheduler, self.calls[number], found, is_free, now)

    @property
    def prefixes(self) -> tuple[int, int, int, int]:
        """Holds begun, holds lapsed, the length of holds in ns, and groups in use."""
        figures = (c_int64 * 4)()
        self.lib.handle_prefixes(self.scheduler, figures)
        return figures[0], figures[1], figures[2], figures[3]

    def set_slots(self, now: int, slots: int | None) -> None:
        self.lib.xf_set_slots(self.scheduler, slots_or_unlimited(slots), now)

    def poll(self, now: int) -> None:
        self.lib.xf_poll(self.scheduler, now)

    def drain(self) -> None:
        while call := self.lib.xf_collect(self.scheduler):
            self.outbox.append(self.numbers[call])

    def collect(self) -> list[int]:
        """The calls that were admitted or have expired, in order."""
        self.drain()
        collected, self.outbox = self.outbox, []
        return collected

    def state(self, number: int) -> str:
        return STATES[self.lib.handle_state(self.calls[number])]

    def level(self, index: int, now: int) -> Fraction:
        """In units, exactly."""
        credits = (c_int64 * 3)()
        self.lib.handle_level(self.scheduler, index, now, credits)
        return Fraction(credits[0], credits[1])

    def rate(self, index: int) -> Fraction:
        """In units per nanosecond, exactly."""
        credits = (c_int64 * 3)()
        self.lib.handle_level(self.scheduler, index, 0, credits)
        return Fraction(credits[2], credits[1])

    def used(self, index: int) -> int:
        used: int = self.lib.handle_used(self.scheduler, index)
        return used

    @property
    def armed(self) -> int | None:
        """When something happens without any operation; None: never."""
        at: int = self.lib.handle_armed(self.scheduler)
        return None if at == NEVER else at

    @property
    def anchor(self) -> int:
        anchor: int = self.lib.handle_anchor(self.scheduler)
        return anchor

    @property
    def in_use(self) -> int:
        in_use: int = self.lib.handle_in_use(self.scheduler)
        return in_use

    @property
    def live(self) -> int:
        live: int = self.lib.handle_live(self.scheduler)
        return live


class SharedMemory:
    """Of an account's members, in this process."""

    def __init__(self) -> None:
        self.address: int = load().handle_share_memory()

    def close(self) -> None:
        load().handle_free(self.address)


def never_or(deadline: int | None) -> int:
    return NEVER if deadline is None else deadline


def slots_or_unlimited(slots: int | None) -> int:
    return UNLIMITED if slots is None else slots
