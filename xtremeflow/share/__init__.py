"""Shares: one account for many schedulers, in as many processes. The argument ``share`` names it.

On one machine: `place` finds its file, and `member` joins a scheduler to it. For members on several
machines: `timeline` is their account, in Python and as a script for a server, and `rows` are its
commands and answers.
"""

from xtremeflow.share.place import ShareError

__all__ = ["ShareError"]
