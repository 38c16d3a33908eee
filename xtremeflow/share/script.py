"""The timeline as a script for a Valkey or Redis server, put together from its parts."""

from __future__ import annotations

from importlib.resources import files

PARTS = ("account", "outage", "levels", "slots", "members", "commands")  # each uses those before it


def script() -> str:
    """Returns the text of the script."""
    folder = files("xtremeflow.share").joinpath("lua")
    return "\n".join(folder.joinpath(f"{part}.lua").read_text("utf-8") for part in PARTS)
