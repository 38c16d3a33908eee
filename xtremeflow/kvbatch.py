"""The documented import path of kv_batch."""

from xtremeflow.batches.kv_batch import kv_batch

__all__ = ["kv_batch"]
