"""One account for many schedulers, in as many processes: what the argument ``share`` names.

`place` says where it lies, `member` how a scheduler joins it.
"""

from xtremeflow.share.place import ShareError

__all__ = ["ShareError"]
