"""Every measurement in a process of its own, and the ways of doing a thing in turn: A B C A B C.

A part of the benchmark is a module with a function `measure(way, **parameters)`, which does in the
way of that name what the part measures and returns numbers. It runs in the process that

    python -m bench.measure PART WAY PARAMETERS-AS-JSON

starts, on a heap that nothing else has used, the garbage collector in its default state and
told to ignore what the imports made.
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from bench.peers import available

Numbers = dict[str, float]
ROOT = Path(__file__).resolve().parent.parent


def run(part: str, way: str, environ: Mapping[str, str], **parameters: object) -> Numbers:
    """What `measure` of this part returns, in a process of its own."""
    command = [sys.executable, "-m", "bench.measure", part, way, json.dumps(parameters)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environ}, stdout=subprocess.PIPE, check=True
    )
    numbers: Numbers = json.loads(done.stdout)
    return numbers


def rounds(
    part: str,
    ways: Sequence[str],
    repeat: int,
    environ: Mapping[str, str] | None = None,
    **parameters: object,
) -> dict[str, list[Numbers]]:
    """Each way's numbers, `repeat` of them, measured in turn. Ways not installed are left out."""
    results: dict[str, list[Numbers]] = {way: [] for way in ways if available(way)}
    for _ in range(repeat):
        for way, numbers in results.items():
            numbers.append(run(part, way, environ or {}, **parameters))
    return results


def middle(results: Sequence[Numbers], key: str) -> float:
    return median(numbers[key] for numbers in results)


def ratio(results: Sequence[Numbers], base: Sequence[Numbers], key: str) -> float:
    """The median of the ratios of what was measured in the same round."""
    return median(a[key] / b[key] for a, b in zip(results, base, strict=True))


def _main(part: str, way: str, parameters: str) -> None:
    logging.disable(logging.WARNING)  # of refused calls
    warnings.simplefilter("ignore")  # token-throttle warns of usage above the estimate
    module = importlib.import_module(f"bench.{part}")
    gc.collect()
    gc.freeze()
    json.dump(module.measure(way, **json.loads(parameters)), sys.stdout)


if __name__ == "__main__":
    _main(*sys.argv[1:])
