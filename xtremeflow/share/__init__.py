"""Shares: one account for many schedulers, in as many processes. The argument ``share`` names it.

`place` finds its file, and `member` joins a scheduler to it.
"""

from xtremeflow.share.place import ShareError

__all__ = ["ShareError"]
