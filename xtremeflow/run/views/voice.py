"""Output for people: on standard error, without the key, and without control characters for the
terminal."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Generator

from xtremeflow.run.input.keys import Key
from xtremeflow.telemetry.events import JSONFormatter
from xtremeflow.values.text import printable, printable_lines

_LOGS = ("xtremeflow", "xtremeflow.run", "xtremeflow.learning")  # that a command may set


class Voice:
    """The only way to standard error. `key` is set as soon as it is known. With `as_json` each
    line is a JSON object."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.key: Key | None = None
        self._as_json = as_json

    @property
    def as_json(self) -> bool:
        return self._as_json

    def clean(self, text: str) -> str:
        """Returns a text of lines without the key and control characters."""
        return printable_lines(self.without_key(text))

    def clean_line(self, text: str) -> str:
        return printable(self.without_key(text))

    def without_key(self, text: str) -> str:
        if self.key is None:
            return text
        data = text.encode("utf-8", "surrogatepass")
        return self.key.hidden(data).decode("utf-8", "surrogatepass")

    def say(self, text: str) -> None:
        """Writes to standard error. If that is closed, the text is dropped and the run goes on."""
        if self._as_json:
            record = logging.LogRecord(
                "xtremeflow.run", logging.ERROR, "", 0, "%s", (self.clean(text),), None
            )
            text = _JSON(self).format(record)
        self.write(text)

    def write(self, text: str) -> None:
        """Writes lines as they are, without the key."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: it is closed
            try:
                print(self.clean(text), file=sys.stderr, flush=True)
            except BrokenPipeError:  # or the interpreter flushes it again at exit, and fails
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)

    @contextlib.contextmanager
    def logging(self, *, verbose: bool, quiet: bool) -> Generator[None, None, None]:
        """Writes the package's log to standard error within the block. Then the log is what it was:
        the command may be called by a program that has its own."""
        loggers = [logging.getLogger(name) for name in _LOGS]
        before = [(log, log.handlers, log.propagate, log.level) for log in loggers]
        root, run, _ = loggers
        root.handlers = [_Handler(self)]
        root.propagate = False
        root.setLevel(logging.INFO if verbose else logging.ERROR)  # a warning for each refused call
        run.setLevel(logging.WARNING if quiet else logging.INFO)
        try:
            yield
        finally:
            for log, handlers, propagate, level in before:
                log.handlers, log.propagate = handlers, propagate
                log.setLevel(level)


class _Handler(logging.Handler):
    """Writes to the present sys.stderr, which the live view replaces."""

    def __init__(self, voice: Voice) -> None:
        super().__init__()
        self._voice = voice
        self.setFormatter(_JSON(voice) if voice.as_json else _Formatter(voice))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:
            self.handleError(record)
        else:
            self._voice.write(text)


class _JSON(JSONFormatter):
    """Formats a record as JSON, without the key."""

    def __init__(self, voice: Voice) -> None:
        super().__init__()
        self._voice = voice

    def text(self, text: str) -> str:
        return self._voice.without_key(text)


class _Formatter(logging.Formatter):
    """Formats a record's message as one line, whatever it quotes. A traceback has its lines."""

    def __init__(self, voice: Voice) -> None:
        super().__init__("%(asctime)s %(message)s", "%H:%M:%S")
        self._voice = voice

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = self._voice.clean_line(record.message)
        return super().formatMessage(record)
