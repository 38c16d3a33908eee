"""Runs of a simulation, which know nothing of each other, on as many processes as are wanted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

T = TypeVar("T")


def each(
    measure: Callable[..., T], tasks: Sequence[tuple[Any, ...]], processes: int
) -> dict[tuple[Any, ...], T]:
    """What `measure` finds for each of these arguments; how far it is goes to standard error."""
    found: dict[tuple[Any, ...], T] = {}
    with ProcessPoolExecutor(processes) as executor:
        futures = {executor.submit(measure, *task): task for task in tasks}
        for future in as_completed(futures):
            found[futures[future]] = future.result()
            print(f"\r{len(found)} of {len(tasks)} runs", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return found
