"""Members as containers have them: in other namespaces, and with a tenth of a CPU.

Real time, with wide bounds.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from kit.shares import DISPATCHES, Process, share_name

NAMESPACES = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")


def has_namespaces() -> bool:
    if shutil.which(NAMESPACES[0]) is None:
        return False
    return subprocess.run([*NAMESPACES, "true"], capture_output=True).returncode == 0


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


def test_a_process_with_a_tenth_of_a_cpu_holds_no_other_up() -> None:
    rate, seconds = 200, 3.0
    with (
        share_name() as share,
        Process(DISPATCHES, share, rate) as slow,
        Process(DISPATCHES, share, rate) as quick,
    ):
        began = max(int(each.says()) / 1e9 for each in (slow, quick))
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
    process.popen.kill()
    return [int(line) / 1e9 for line in process.rest()]
