"""Cases that may take their process down."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path


class Cases:
    """Decorates them. Each runs in a process of its own, where freed memory is overwritten, so
    that it cannot be used unnoticed; their file is that process's program."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._cases: dict[str, Callable[[], None]] = {}

    def __call__(self, function: Callable[[], None]) -> Callable[[], None]:
        self._cases[function.__name__] = function
        return function

    @property
    def names(self) -> list[str]:
        return list(self._cases)

    def check(self, name: str) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parent.parent),
            "PYTHONMALLOC": "debug",
            "MALLOC_PERTURB_": "85",
        }
        done = subprocess.run(
            [sys.executable, self._file, name], env=environment, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")

    def main(self) -> None:
        self._cases[sys.argv[1]]()
        print("ended")
