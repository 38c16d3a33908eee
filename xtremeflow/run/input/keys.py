"""The API key: its source, and the rule that it goes only into its header."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from xtremeflow.http._url import is_http, shown_url
from xtremeflow.run.input.redaction import Redaction

_SECRET = 8  # characters


class KeyProblem(Exception):
    """There is no usable key, or no safe way to send it. The message never quotes the key."""


class Key:
    """A secret that shows itself only on demand."""

    __slots__ = ("_bytes", "_redaction", "source")

    def __init__(self, text: str, source: str = "") -> None:
        """Takes the key's text; `source` names its place. Raises KeyProblem if no header can carry
        it."""
        text = text.strip()
        if not text:
            raise KeyProblem("the key is empty")
        if not text.isascii() or not text.isprintable() or set(text) & set(' "\\'):
            raise KeyProblem("the key has characters that no key has: is it the right one?")
        self._bytes = text.encode()
        # Local servers take a few letters as a key. These are no secret, and parts of words.
        self._redaction = Redaction(self._bytes) if len(text) >= _SECRET else None
        self.source = source

    def reveal(self) -> str:
        return self._bytes.decode()

    def hidden(self, text: bytes) -> bytes:
        """Strikes the key out of `text` in every form in which it may be quoted. JSON stays JSON.
        Returns `text` itself if there is nothing to strike out."""
        return text if self._redaction is None else self._redaction(text)

    def __repr__(self) -> str:
        return "<Key>"


def find_key(
    variable: str | None,
    file: Path | None,
    *,
    required: bool,
    environment: Mapping[str, str] = os.environ,
) -> Key | None:
    """Returns the key in `file`, else that in the environment variable.

    Raises KeyProblem if the key is missing and is required, or its file is given.
    """
    if file is not None:
        try:
            return Key(file.read_text("utf-8"), f"file {file}")
        except (OSError, UnicodeDecodeError) as error:
            said = getattr(error, "strerror", None) or "it is not text"
            raise KeyProblem(f"cannot read the key from {file}: {said}") from None
        except KeyProblem as problem:
            raise KeyProblem(f"{problem} ({file})") from None
    if variable is None:
        return None
    if text := environment.get(variable):
        try:
            return Key(text, f"environment variable {variable}")
        except KeyProblem as problem:
            raise KeyProblem(f"{problem} (environment variable {variable})") from None
    if required:
        raise KeyProblem(
            f"there is no key: put it into the environment variable {variable}, "
            "or into a file and name that with --key-file"
        )
    return None


def check_base_url(url: str, *, insecure: bool) -> str:
    """Returns the URL without a final slash. Raises KeyProblem if it is not safe for a key."""
    if not is_http(url) or "?" in url or "#" in url:
        shown = shown_url(url)
        raise KeyProblem(f"--base-url must be such as https://api.example.com/v1, got {shown!r}")
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise KeyProblem("--base-url must be without a user and a password")
    if parts.scheme == "http" and not insecure and not is_loopback(url):
        raise KeyProblem(
            f"--base-url must begin with https, got {url!r}: the key would be sent in the clear. "
            "Where that is no matter, give --insecure"
        )
    return url.rstrip("/")


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
