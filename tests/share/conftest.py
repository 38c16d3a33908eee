"""A server for all tests of a file, and a share on it for each; and shares of the virtual clock."""

from __future__ import annotations

import gc
import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kit.redis_servers import Server
from kit.shares import share_name
from kit.timelines import Network, TimelineShare

_numbers = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def share(server: Server) -> Iterator[str]:
    yield f"{server.url}#{next(_numbers)}"
    gc.collect()


@pytest.fixture(params=["memory", "timeline"])
def make(request: Any) -> Iterator[Callable[[], Any]]:
    """Makes a share, within the loop."""
    with share_name() as name:
        yield lambda: name if request.param == "memory" else TimelineShare(Network(0.001))


@pytest.fixture
def quiet() -> Iterator[None]:
    """Nothing is logged of what is wrong on purpose."""
    logger = logging.getLogger("xtremeflow")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)
