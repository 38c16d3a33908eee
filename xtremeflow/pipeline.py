"""The documented import path of async_pipeline and async_chunks."""

from xtremeflow.batches.pipeline import async_chunks, async_pipeline

__all__ = ["async_chunks", "async_pipeline"]
