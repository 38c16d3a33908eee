"""`run` on a disk of its own, in a mount namespace: one that is full, and one that is read only."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from kit.runs import by_line, plain
from test_command import Server, command, environment, write

NAMESPACE = ["unshare", "--mount", "--map-root-user", "sh", "-c"]


def possible() -> bool:
    if shutil.which("unshare") is None:
        return False
    mount = [*NAMESPACE, "mount -t tmpfs tmpfs /mnt"]
    return subprocess.run(mount, capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not possible(), reason="mounts need Linux and its namespaces")


def test_a_full_disk_and_one_that_is_read_only(tmp_path: Path) -> None:
    server = Server(tmp_path / "server.log", 0.0)
    try:
        lines = write(tmp_path / "in.jsonl", [plain(f"t{i}") for i in range(300)])
        disk = tmp_path / "disk"
        disk.mkdir()
        run = shlex.join(
            command(lines, "-o", disk / "out.jsonl", "--base-url", server.url, "--patience", 1)
        )
        script = f"""
            disk={shlex.quote(str(disk))} tmp={shlex.quote(str(tmp_path))}
            mount -t tmpfs -o size=32k tmpfs "$disk"
            {run} 2>"$tmp/full"; echo $? >>"$tmp/statuses"
            cp "$disk/out.jsonl" "$tmp/then"; wc -l <"$tmp/server.log" >"$tmp/asked"
            mount -o remount,ro "$disk"
            {run} 2>"$tmp/read-only"; echo $? >>"$tmp/statuses"
            mount -o remount,rw,size=1m "$disk"
            {run} 2>"$tmp/room"; echo $? >>"$tmp/statuses"
            cp "$disk/out.jsonl" "$tmp/in-the-end"
        """
        subprocess.run([*NAMESPACE, script], env=environment(), check=True, timeout=60)
    finally:
        server.close()
    said = (tmp_path / "full").read_text()
    assert "cannot be written: No space left on device" in said
    assert "Read-only file system" in (tmp_path / "read-only").read_text()
    assert (tmp_path / "statuses").read_text().split() == ["3", "2", "0"], said
    kept = (tmp_path / "then").read_bytes()
    assert kept.endswith(b"\n")
    then = by_line(json.loads(line) for line in kept.splitlines())
    assert 0 < len(then) < 300
    assert (tmp_path / "in-the-end").read_bytes().startswith(kept)
    assert len((tmp_path / "in-the-end").read_bytes().splitlines()) == 300
    # Two lines of the log are a call: those kept were not sent again.
    before = int((tmp_path / "asked").read_text()) // 2
    assert len(server.asked()) - before == 300 - len(then)
