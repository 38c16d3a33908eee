"""A name lookup that hangs holds up neither its cancellation nor anybody else."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from xtremeflow import _http

CC = shlex.split(os.environ.get("CC", "cc"))

SLOW = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **res)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (node && strstr(node, "slow"))
        sleep(3);
    return real(node, service, hints, res);
}
"""

PROGRAM = """
import asyncio, time
from xtremeflow.http import Client, ConnectTimeout

async def main():
    longest = 0.0
    async def watch():
        nonlocal longest
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.01)
            longest = max(longest, time.perf_counter() - before)
    watcher = asyncio.create_task(watch())
    async with Client(retries=0) as client:
        for timeout in (0.1, None):
            call = asyncio.create_task(client.get("http://slow.invalid/", connect_timeout=timeout))
            await asyncio.sleep(0.3)
            call.cancel()
            await asyncio.wait([call])
            assert call.cancelled() == (timeout is None), call
            assert timeout is None or isinstance(call.exception(), ConnectTimeout)
        assert client.stats()["active"] == 0
    watcher.cancel()
    print(longest)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="replaces getaddrinfo by LD_PRELOAD")
@pytest.mark.skipif(_http.libcurl_number < 0x075700, reason="libcurl waits for the lookup")
def test_a_hanging_lookup_blocks_nobody(tmp_path: Path) -> None:
    if not shutil.which(CC[0]):
        pytest.skip("needs a C compiler")
    source, library = tmp_path / "slow.c", tmp_path / "slow.so"
    source.write_text(SLOW)
    subprocess.run([*CC, "-shared", "-fPIC", str(source), "-o", str(library), "-ldl"], check=True)
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < 1.0
