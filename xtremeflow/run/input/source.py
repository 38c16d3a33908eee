"""The input as lines: a file or standard input, plain or compressed, in flat memory."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import re
import stat
import sys
import threading
import zlib
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

_CHUNK = 1 << 18  # bytes
_AHEAD = 4  # chunks by which the thread of a slow source may be ahead of the loop
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")  # a frame of zstd that is no text
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class SourceError(Exception):
    """The input cannot be read. The message names it and says why."""


class Source:
    """The lines of a file, or of standard input if its name is "-".

    All reading uses os.read: a thread that waits for standard input then holds no lock that the end
    of the process would wait for.
    """

    def __init__(self, name: str) -> None:
        """Opens the input. Raises SourceError if it cannot."""
        self.name = "standard input" if name == "-" else name
        self._path = name
        try:
            self._file = os.dup(sys.stdin.fileno()) if name == "-" else self._open()
            status = os.fstat(self._file)
        except (OSError, ValueError, AttributeError) as error:
            raise SourceError(f"cannot read {self.name}: {_said(error)}") from None
        if stat.S_ISDIR(status.st_mode):
            raise SourceError(f"cannot read {self.name}: it is a directory")
        self.repeatable = name != "-" and stat.S_ISREG(status.st_mode)
        """Whether it can be read twice, and without waiting for anybody."""

    def _open(self) -> int:
        return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)

    def is_same(self, other: os.stat_result) -> bool:
        return os.path.samestat(os.fstat(self._file), other)

    async def batches(self) -> AsyncGenerator[list[bytes], None]:
        """Yields the lines without their ends, in lists of those that came in one piece. Works
        once.

        Raises SourceError if the input breaks off or cannot be read.
        """
        begun: list[bytes] = []  # the pieces of a line whose end is to come
        async with contextlib.aclosing(self._chunks()) as chunks:
            async for chunk in chunks:
                first, *lines = chunk.split(b"\n")
                begun.append(first)
                if lines:
                    whole = b"".join(begun)
                    begun = [lines.pop()]
                    yield [whole, *lines]
        if rest := b"".join(begun):
            yield [rest]

    def count(self) -> int:
        """Reads the input anew and returns its number of lines that are not blank. Runs in a
        thread, if `repeatable`."""
        total, begun = 0, b""
        file = self._open()
        try:
            for chunk in self._pieces(file):
                *lines, begun = (begun + chunk).split(b"\n")
                total += sum(map(bool, map(bytes.strip, lines)))
                begun = begun.strip()[:1]  # enough to tell that its line is not blank
        finally:
            os.close(file)
        return total + bool(begun)

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        if not self.repeatable:
            async with contextlib.aclosing(_threaded(self._pieces(self._file))) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        try:
            for chunk in self._pieces(self._file):
                yield chunk
                await asyncio.sleep(0)  # calls in flight go on while finished lines are skipped
        finally:
            os.close(self._file)

    def _pieces(self, file: int) -> Iterator[bytes]:
        """Yields the decompressed text without its byte order mark."""
        pieces = self._unpacked(file)
        try:
            start = _enough(pieces, b"", len(_BYTE_ORDER_MARK))
            if start.startswith(_UTF_16):
                raise SourceError(f"{self.name} is UTF-16: it must be UTF-8, as JSON is")
            if start := start.removeprefix(_BYTE_ORDER_MARK):
                yield start
            yield from pieces
        except EOFError:
            raise SourceError(f"{self.name} breaks off: its end is missing") from None
        except (OSError, zlib.error, ValueError) as error:
            raise SourceError(f"cannot read {self.name}: {_said(error)}") from None

    def _unpacked(self, file: int) -> Iterator[bytes]:
        raw = iter(lambda: os.read(file, _CHUNK), b"")
        start = _enough(raw, b"", len(_ZSTD))
        if start.startswith(_GZIP):
            yield from _decompressed(file, start, lambda: zlib.decompressobj(31), _padding)
        elif start.startswith(_ZSTD) or _SKIPPABLE.match(start):
            yield from _decompressed(file, start, _zstd(self.name), _skippable)
        else:
            if start:
                yield start
            yield from raw


def _enough(pieces: Iterator[bytes], start: bytes, length: int) -> bytes:
    """Reads pieces behind `start` until there are `length` bytes, or no more."""
    while len(start) < length and (more := next(pieces, b"")):
        start += more
    return start


def _padding(file: int, data: bytes) -> bytes:
    """Skips the zeros that fill up the blocks of a tape, as gzip does."""
    while data and not (data := data.lstrip(b"\0")):
        data = os.read(file, _CHUNK)
    return data


def _skippable(file: int, data: bytes) -> bytes:
    """Skips frames without text, such as the table of a seekable file."""
    more = iter(lambda: os.read(file, _CHUNK), b"")
    while _SKIPPABLE.match(data := _enough(more, data, 8)):
        length = 8 + int.from_bytes(data[4:8], "little")
        while length > len(data):
            length -= len(data)
            if not (data := os.read(file, _CHUNK)):
                raise EOFError
        data = data[length:] or os.read(file, _CHUNK)
    return data


def _decompressed(
    file: int,
    data: bytes,
    new_frame: Callable[[], Any],
    without_filling: Callable[[int, bytes], bytes],
) -> Iterator[bytes]:
    """Yields the frames of a compressed file. Raises EOFError if the last one is torn."""
    while data := without_filling(file, data):
        frame = new_frame()
        while True:
            if plain := frame.decompress(data):
                yield plain
            if frame.eof:
                data = frame.unused_data or os.read(file, _CHUNK)
                break
            data = os.read(file, _CHUNK)
            if not data:
                raise EOFError


def _zstd(name: str) -> Callable[[], Any]:
    try:
        zstandard: Any = importlib.import_module("zstandard")
    except ImportError:
        raise SourceError(
            f"{name} is compressed with zstd: pip install 'xtremeflow[run]' to read it"
        ) from None

    class Frame:
        def __init__(self) -> None:
            self._frame = zstandard.ZstdDecompressor().decompressobj()

        def decompress(self, data: bytes) -> bytes:
            try:
                return bytes(self._frame.decompress(data))
            except zstandard.ZstdError as error:
                raise ValueError(str(error)) from None

        @property
        def eof(self) -> bool:
            return bool(self._frame.eof)

        @property
        def unused_data(self) -> bytes:
            return bytes(self._frame.unused_data)

    return Frame


async def _threaded(pieces: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Reads in a daemon thread, which the end of the process does not wait for."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue()
    room = threading.Semaphore(_AHEAD)
    stopped = False

    def put(item: bytes | BaseException | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(queue.put_nowait, item)

    def read() -> None:
        try:
            for piece in pieces:
                put(piece)
                room.acquire()
                if stopped:
                    return
            put(None)
        except BaseException as error:
            put(error)

    threading.Thread(target=read, name="xtremeflow-input", daemon=True).start()
    try:
        while (item := await queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
            room.release()
    finally:
        stopped = True
        room.release()


def _said(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)
