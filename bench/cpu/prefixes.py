"""CPU of finding the prefix that a call shares, from its body to the key of its group.

Bodies of chat completions with 2 KB of prompt come in random order, `groups` of them with 1.5 KB
in common, the rest of each its own. "unshared" are as many whose beginnings differ. The server is
one whose cache takes prefixes of any length (vLLM), because 2 KB are too short for the others:
their bodies are not even read. JSON is decoded by the standard library.
"""

from __future__ import annotations

import json
import time
from random import Random

from bench.measure import Numbers, middle, rounds
from bench.peers import OURS
from bench.report import Figure, Section
from xtremeflow.prefixes.groups import Groups, Prefixes

URL = "http://127.0.0.1:8000/v1/chat/completions"
LONGEST_US = 15.0
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
    found = 0
    for body in sent:
        seen = groups.see(URL, body)
        assert seen is not None
        found += groups.grouped(seen, None) is not None
    cpu = (time.process_time() - began) / calls
    return {"cpu": cpu, "shared": found / calls}


def section(quick: bool) -> Section:
    results = rounds("cpu.prefixes", WAYS, 1 if quick else 5, calls=2_000 if quick else 20_000)
    rows = [
        [way, f"{1e6 * middle(numbers, 'cpu'):.1f} us", f"{middle(numbers, 'shared'):.2f}"]
        for way, numbers in results.items()
    ]
    most = max(1e6 * middle(numbers, "cpu") for numbers in results.values())
    return Section(
        "Prefixes",
        __doc__ or "",
        ["prompts", "CPU of a call", "calls that share"],
        rows,
        [
            Figure(
                "prefixes: CPU of finding a call's group, 2 KB of prompt",
                f"{most:.1f} us",
                f"<= {LONGEST_US:.0f} us",
                most <= LONGEST_US,
                {},
            ),
        ],
    )
