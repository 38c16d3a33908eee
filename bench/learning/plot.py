"""Draws the pictures of the documentation into a folder: ./dev bench learning plot docs"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from bench.learning.jobs import plot as jobs
from bench.learning.slots import plot as slots


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="./dev bench learning plot", description=__doc__)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    logging.getLogger("xtremeflow").setLevel(logging.ERROR)
    jobs.draw(options.folder)
    slots.draw(options.folder)
    return 0
