"""The command line: `xtremeflow COMMAND ...`, the same as `python -m xtremeflow COMMAND ...`.

A command is a module with `main(arguments) -> exit status`, imported only if it is called.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

COMMANDS: Mapping[str, tuple[str, str]] = {
    "run": ("xtremeflow.run.command", "send a file of requests to an LLM API, at its limits"),
    "plot": ("xtremeflow.run.plot", "draw what `run` has done"),
    "serve": ("xtremeflow.serve.command", "serve a simulated provider over HTTP"),
    "demo": ("xtremeflow.demo.__main__", "serve, run and plot a real workload"),
    "completion": ("xtremeflow.completion", "let the shell complete commands and options"),
}

INTERRUPTED = 130  # exit status, as shells have it for Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command that the arguments name (by default those of the process)."""
    if "_ARGCOMPLETE" in os.environ:
        import_module("xtremeflow.completion").complete()
    arguments = sys.argv[1:] if arguments is None else arguments
    first = arguments[0] if arguments else "--help"
    if first in COMMANDS:
        try:
            command = import_module(COMMANDS[first][0])
            status: int = command.main(arguments[1:])
        except KeyboardInterrupt:  # before the command could see to it
            return INTERRUPTED
        return status
    if first in ("-h", "--help", "help"):
        print(_usage())
        return 0
    if first in ("-V", "--version"):
        print(f"xtremeflow {import_module('xtremeflow').__version__}")
        return 0
    print(f"xtremeflow: there is no command {first!r}\n\n{_usage()}", file=sys.stderr)
    return 2


def _usage() -> str:
    lines = [f"  {name:<12}{summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: xtremeflow COMMAND [OPTION...]",
            "",
            "Calls to LLM APIs, dispatched at the provider's limits.",
            "",
            *lines,
            "",
            "COMMAND --help tells the options of a command, --version the version of the package.",
        ]
    )
