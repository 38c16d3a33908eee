"""The command line: `xtremeflow COMMAND ...`, the same as `python -m xtremeflow COMMAND ...`.

A command is a module with `main(arguments) -> exit status`, imported only if it is called.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

from xtremeflow.cli.parser import USAGE

COMMANDS: Mapping[str, tuple[str, str]] = {
    "run": ("xtremeflow.run.command", "send a file of requests to an LLM API, at its limits"),
    "plot": ("xtremeflow.run.views.plot", "draw what `run` has done"),
    "share": ("xtremeflow.cli.share", "show who shares limits, or clear what they left"),
    "ctl": ("xtremeflow.cli.ctl", "control a run that was started with --web"),
    "serve": ("xtremeflow.serve.command", "serve a simulated provider over HTTP"),
    "demo": ("xtremeflow.demo.__main__", "serve, run and plot a real workload"),
    "completion": ("xtremeflow.cli.completion", "let the shell complete commands and options"),
}

INTERRUPTED = 130  # exit statuses, as shells have them: of Ctrl-C,
BROKEN_PIPE = 141  # and of a closed output pipe


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command that the arguments name (by default those of the process)."""
    _open_all_streams()
    if "_ARGCOMPLETE" in os.environ:
        import_module("xtremeflow.cli.completion").complete()
    try:
        try:
            return _main(sys.argv[1:] if arguments is None else arguments)
        finally:
            if sys.stdout is not None:  # pyright: ignore[reportUnnecessaryComparison]
                sys.stdout.flush()
    except KeyboardInterrupt:  # before the command handles it
        return INTERRUPTED
    except BrokenPipeError:  # the reader of the output, such as head, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return BROKEN_PIPE


def _open_all_streams() -> None:
    """Opens the null device for each standard stream that was closed, as by `2>&-`. The order
    matters: a new file gets the lowest free number, which must be no file's of the command."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def _main(arguments: Sequence[str]) -> int:
    first = arguments[0] if arguments else "--help"
    if first in COMMANDS:
        try:
            command = import_module(COMMANDS[first][0])
        except ImportError as error:  # there is no libcurl
            print(f"xtremeflow {first}: {error}", file=sys.stderr)
            return USAGE
        status: int = command.main(arguments[1:])
        return status
    if first in ("-h", "--help", "help"):
        print(_usage())
        return 0
    if first in ("-V", "--version"):
        print(f"xtremeflow {import_module('xtremeflow').__version__}")
        return 0
    said = f"there is no command {first!r} (see xtremeflow --help)"
    print(f"xtremeflow: {said}", file=sys.stderr)
    return USAGE


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
