"""Coroutines that schedulers run."""

from __future__ import annotations

from typing import Any


async def result(value: Any = None) -> Any:
    return value
