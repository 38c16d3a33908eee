"""The command line: `xtremeflow COMMAND ...`, and what its commands share."""

from xtremeflow.cli.commands import COMMANDS, main

__all__ = ["COMMANDS", "main"]
