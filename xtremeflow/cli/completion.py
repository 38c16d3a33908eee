"""Shell completion, by argcomplete: `eval "$(xtremeflow completion bash)"`."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from xtremeflow.cli.commands import COMMANDS
from xtremeflow.cli.parser import Parser

SHELLS = ("bash", "zsh", "fish")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if importlib.util.find_spec("argcomplete") is None:
        parser.error("argcomplete missing: pip install 'xtremeflow[run]'")
    argcomplete: Any = importlib.import_module("argcomplete")
    print(argcomplete.shellcode(["xtremeflow"], shell=options.shell))
    return 0


def complete() -> None:
    """Answers a shell that asks for completions, and ends the process. Returns if none does."""
    try:
        argcomplete: Any = importlib.import_module("argcomplete")
    except ImportError:
        sys.exit(1)
    parser = argparse.ArgumentParser(prog="xtremeflow")
    commands = parser.add_subparsers()
    for name, (module, summary) in COMMANDS.items():
        try:
            own: argparse.ArgumentParser = import_module(module)._parser()
        except ImportError:  # there is no libcurl, so it cannot be called either
            continue
        commands.add_parser(name, help=summary, parents=[own], add_help=False)
    argcomplete.autocomplete(parser)


def _parser() -> Parser:
    parser = Parser(
        prog="xtremeflow completion",
        description="Prints what a shell needs to complete xtremeflow's commands and options. "
        'For bash and zsh, put  eval "$(xtremeflow completion bash)"  into ~/.bashrc or, with '
        "zsh for bash, into ~/.zshrc; for fish:  xtremeflow completion fish | source",
    )
    parser.add_argument("shell", choices=SHELLS, help=", ".join(SHELLS))
    return parser
