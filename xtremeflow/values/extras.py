"""Packages that come with an extra of this one."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def extra(name: str) -> Generator[None, None, None]:
    """Makes the error for a package that is missing in the block say which extra brings it.

    Raises ModuleNotFoundError.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        said = f"{error.name} missing: pip install 'xtremeflow[{name}]'"
        raise ModuleNotFoundError(said, name=error.name) from None
