"""The command line: `xtremeflow COMMAND ...`, and the parts that its commands share."""

from xtremeflow.cli.commands import COMMANDS, main

__all__ = ["COMMANDS", "main"]
