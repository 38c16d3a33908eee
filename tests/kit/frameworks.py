"""Packages that only some jobs install."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version

import pytest


def need(package: str, name: str | None = None) -> None:
    """Skips a test without that package. The jobs that install it name it (or `name`) in a
    variable, so that nothing is left out there."""
    try:
        version(package)
    except PackageNotFoundError:
        if (name or package) in os.environ.get("XTREMEFLOW_FRAMEWORKS", "").split(","):
            raise
        pytest.skip(f"{package} is not installed", allow_module_level=True)
