"""A TCP proxy that delays, stalls, swallows and cuts, in a thread of its own."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from contextlib import suppress
from threading import Thread


class Proxy:
    """Forwards connections to a port of this machine.

    Attributes:
        delay: Seconds for each piece of an answer, half to one and a half times that.
        swallows: Answers vanish; commands still arrive.
    """

    def __init__(self, target: int, delay: float = 0.0) -> None:
        self.target, self.delay = target, delay
        self.swallows = False
        self._passes = asyncio.Event()
        self._passes.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._random = random.Random(1)
        self.port = asyncio.run_coroutine_threadsafe(self._begin(), self._loop).result(10)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def _begin(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers |= {writer, to}
        await asyncio.gather(
            self._forward(reader, to, answers=False), self._forward(there, writer, answers=True)
        )
        self._writers -= {writer, to}

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        with suppress(OSError):
            while piece := await reader.read(65536):
                await self._passes.wait()
                if answers and self.delay > 0:
                    await asyncio.sleep(self.delay * self._random.uniform(0.5, 1.5))
                if answers and self.swallows:
                    continue
                writer.write(piece)
                await writer.drain()
        with suppress(OSError):
            writer.close()

    def stall(self, seconds: float) -> None:
        """Lets nothing pass, in either direction, for that time."""
        self._loop.call_soon_threadsafe(self._passes.clear)
        time.sleep(seconds)
        self._loop.call_soon_threadsafe(self._passes.set)

    def reset(self) -> None:
        """Cuts all connections with RST, be it amid an answer."""

        async def cut() -> None:
            for writer in self._writers:
                sock = writer.get_extra_info("socket")
                with suppress(OSError):
                    linger = struct.pack("ii", 1, 0)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()

        asyncio.run_coroutine_threadsafe(cut(), self._loop).result(10)

    def close(self) -> None:
        async def end() -> None:
            self._server.close()
            for writer in self._writers:
                writer.transport.abort()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
