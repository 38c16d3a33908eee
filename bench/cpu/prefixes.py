"""CPU of finding the prefix that a call shares, from its body to the key of its group.

Bodies of chat completions with 2 KB of prompt come in random order, `groups` of them with 1.5 KB
in common, the rest of each its own. "unshared" are as many whose beginnings differ. The server is
one whose cache takes prefixes of any length (vLLM), because 2 KB are too short for the others:
their bodies are not even read. "JSON" is the part of that CPU in which the standard library decodes
the bodies, as measured by itself. A run has decoded them anyway, and orjson takes less.

The memory is that of 100,000 calls that share nothing, per call: what the window of the last 4,096
keeps of them. None of them has a group, so none is held. The share of one CPU is that of looking at
them in a job at 30,000 requests a minute.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from random import Random

from bench.measure import Numbers, middle, rounds
from bench.peers import OURS
from bench.report import Figure, Section
from xtremeflow.prefixes.groups import Groups, Prefixes

URL = "http://127.0.0.1:8000/v1/chat/completions"
LONGEST_US = 15.0
LARGEST = 40  # bytes
RATE = 500.0  # calls a second: a large account's
MOST_BUSY = 0.01
PROMPTS = ["10 groups", "100 groups", "1,000 groups", "unshared"]
WAYS = [f"{OURS}, {prompts}" for prompts in PROMPTS]


def bodies(groups: int, calls: int) -> list[bytes]:
    random = Random(groups)
    letters = "abcdefghijklmnopqrstuvwxyz    "

    def text(size: int) -> str:
        return "".join(random.choices(letters, k=size))

    shared = [text(1536) for _ in range(groups)]
    found = [
        {"model": "m", "max_tokens": 100, "messages": [
            {"role": "system", "content": shared[n % groups]},
            {"role": "user", "content": text(512)},
        ]}
        for n in range(calls)
    ]  # fmt: skip
    random.shuffle(found)
    return [json.dumps(body).encode() for body in found]


def measure(way: str, calls: int) -> Numbers:
    count = way.split()[1].replace(",", "")
    sent = bodies(int(count) if count.isdigit() else calls, calls)
    groups = Groups(Prefixes(provider="vllm"), json.loads, lambda: 0.0)
    began = time.process_time()
    for body in sent:
        json.loads(body)
    decoding = (time.process_time() - began) / calls
    began = time.process_time()
    found = 0
    for body in sent:
        seen = groups.see(URL, body)
        assert seen is not None
        found += groups.grouped(seen, None) is not None
    cpu = (time.process_time() - began) / calls
    return {"cpu": cpu, "decoding": decoding, "shared": found / calls}


def kept(calls: int) -> float:
    """Returns the bytes that are kept of each of so many calls that share nothing."""
    groups = Groups(Prefixes(provider="vllm"), json.loads, lambda: 0.0)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for n in range(calls):
        message = {"role": "user", "content": f"{n}: {'x' * 2048}"}
        body = json.dumps({"model": "m", "messages": [message]}).encode()
        seen = groups.see(URL, body)
        assert seen is not None
        assert groups.grouped(seen, None) is None
    seen = None
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / calls


def section(quick: bool) -> Section:
    results = rounds("cpu.prefixes", WAYS, 1 if quick else 5, calls=2_000 if quick else 20_000)
    rows = [
        [
            way,
            f"{1e6 * middle(numbers, 'cpu'):.1f} us",
            f"{1e6 * middle(numbers, 'decoding'):.1f} us",
            f"{middle(numbers, 'shared'):.2f}",
        ]
        for way, numbers in results.items()
    ]
    memory = kept(10_000 if quick else 100_000)
    most = max(
        1e6 * (middle(numbers, "cpu") - middle(numbers, "decoding")) for numbers in results.values()
    )
    busy = RATE * middle(results[WAYS[-1]], "cpu")
    return Section(
        "Prefixes",
        __doc__ or "",
        ["prompts", "CPU of a call", "JSON", "calls that share"],
        rows,
        [
            Figure(
                "prefixes: CPU of finding a call's group, 2 KB of prompt, but for its JSON",
                f"{most:.1f} us",
                f"<= {LONGEST_US:.0f} us",
                most <= LONGEST_US,
                {},
            ),
            Figure(
                f"prefixes: CPU of looking at calls that share nothing, {RATE:.0f} a second",
                f"{busy:.2%}",
                f"<= {MOST_BUSY:.0%}",
                busy <= MOST_BUSY,
                {},
            ),
            Figure(
                "prefixes: memory of a call that shares nothing, of 100,000",
                f"{memory:.0f} bytes",
                f"<= {LARGEST} bytes",
                memory <= LARGEST,
                {},
            ),
        ],
    )
