"""The argument parser of all commands."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from xtremeflow.values.text import printable

USAGE = 2  # the exit status of bad usage, as shells have it


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and a hint."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {printable(message)} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(USAGE)
