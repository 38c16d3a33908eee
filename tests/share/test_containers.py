"""Members as containers have them: in other namespaces, and with a tenth of a CPU.

Real time, with wide bounds.
"""

from __future__ import annotations

import gc
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.shares import Process, share_name

NAMESPACES = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")


def has_namespaces() -> bool:
    if shutil.which(NAMESPACES[0]) is None:
        return False
    return subprocess.run([*NAMESPACES, "true"], capture_output=True).returncode == 0


@pytest.fixture
def share() -> Iterator[str]:
    with share_name() as name:
        yield name
        gc.collect()


# Says when it has the slot, and holds it for as long as it lives.
HOLDS = """
    import asyncio, sys
    from xtremeflow import TaskScheduler
    async def hold():
        print("holds", flush=True)
        await asyncio.sleep(3600)
    async def main():
        scheduler = TaskScheduler(1, share=sys.argv[1])
        task = scheduler.submit(hold())
        print("waits", flush=True)
        await task
    asyncio.run(main())
"""

# Says when each of its calls was dispatched, without end.
DISPATCHES = """
    import asyncio, sys, time
    from xtremeflow import RequestRateScheduler
    async def call():
        print(time.monotonic(), flush=True)
    async def main():
        scheduler = RequestRateScheduler(max_rps=float(sys.argv[2]), share=sys.argv[1])
        while True:
            await (await scheduler.start_task(call()))
    asyncio.run(main())
"""


@pytest.mark.skipif(not has_namespaces(), reason="no namespaces can be made here")
def test_the_slot_of_a_process_that_is_killed_in_another_namespace_comes_back(
    tmp_path: Path,
) -> None:
    share = f"file:{tmp_path / 'limits'}"
    with Process(HOLDS, share, within=NAMESPACES) as first:
        assert [first.says(), first.says()] == ["waits", "holds"]
        with Process(HOLDS, share, within=NAMESPACES) as second:
            assert second.says() == "waits"
            first.popen.kill()
            killed = time.monotonic()
            assert second.says() == "holds"
            assert time.monotonic() - killed < 5


def test_a_process_with_a_tenth_of_a_cpu_holds_no_other_up(share: str) -> None:
    rate, seconds = 200, 3.0
    with Process(DISPATCHES, share, rate) as slow, Process(DISPATCHES, share, rate) as quick:
        began = max(float(slow.says()), float(quick.says()))
        while time.monotonic() < began + seconds:
            slow.popen.send_signal(signal.SIGSTOP)
            time.sleep(0.09)
            slow.popen.send_signal(signal.SIGCONT)
            time.sleep(0.01)
        times = [at for each in (slow, quick) for at in killed(each) if began <= at]
    sent = sum(at < began + seconds for at in times)
    assert 0.8 * rate * seconds <= sent <= rate * (seconds + 0.125) + 1  # see csrc/core/line.h


def killed(process: Process) -> list[float]:
    """Kills it, and returns when its calls were dispatched, as far as it has said."""
    assert process.popen.stdout is not None
    process.popen.kill()
    return [float(line) for line in process.popen.stdout.read().split("\n")[:-1]]
