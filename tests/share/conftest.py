"""A server for all tests of a file, and a share on it for each."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator

import pytest
from kit.redis_servers import Server

_numbers = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def share(server: Server) -> Iterator[str]:
    yield f"{server.url}#{next(_numbers)}"
    gc.collect()
