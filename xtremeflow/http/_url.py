"""URLs: joined, encoded for sending, and shown without secrets."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlencode, urlsplit

Param = str | int | float | bool
Params = Mapping[str, Param | Sequence[Param]]

_ASCII = "".join(map(chr, range(128)))
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_MOST_SHOWN = 500  # characters
_AUTHORITY = re.compile(r"(\[[^]]*]|[^][:]*)(:\d*)?")


def shown_url(url: str) -> str:
    """Returns a URL for messages: without user, password, query and fragment, and without any part
    that might be one of these. A long URL is cut."""
    text = _bare(url)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _bare(url: str) -> str:
    scheme, there, rest = re.split(r"[?#]", url, maxsplit=1)[0].partition("://")
    if not there:
        return scheme.rpartition("@")[2]
    authority, slash, path = rest.partition("/")
    authority = authority.rpartition("@")[2]
    if not _AUTHORITY.fullmatch(authority):
        return f"{scheme}://..."
    return f"{scheme}://{authority}{slash}{path}"


def checked_base(url: object) -> str:
    """Returns a client's base_url without its final slash. Raises ValueError if it is none."""
    if not isinstance(url, str):
        raise TypeError(f"base_url must be a str, not a {type(url).__name__}")
    if not url:
        return url
    if "?" in url or "#" in url:
        raise ValueError(
            f"base_url must be without a query and a fragment: {shown_url(url)!r} has one"
        )
    if not is_http(url):
        raise ValueError(
            f"base_url must be a URL such as 'https://api.example.com/v1', not {shown_url(url)!r}"
        )
    return url.rstrip("/")


def is_http(url: str) -> bool:
    """Whether requests can be sent to this URL, as far as its text shows."""
    return has_scheme(url, {"http", "https"}) and not re.search(r"[\0-\x20\x7f]", url)


def has_scheme(url: str, schemes: set[str]) -> bool:
    """Whether the URL has one of these schemes and names a host."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.hostname)


def full_url(base: str, url: str, params: Params | None) -> str:
    """Joins the base and a URL without a host, and the parameters to the query. All behind the host
    is ASCII."""
    if not isinstance(url, str):
        raise TypeError(f"url must be a str, not a {type(url).__name__}")
    if base and not _ABSOLUTE.match(url):
        url = base + ("" if url[:1] in ("", "/", "?", "#") else "/") + url
    if params is not None:
        url, hash_, fragment = url.partition("#")
        if query := _query(params):
            url += ("&" if "?" in url else "?") + query
        url += hash_ + fragment
    if not url.isascii():
        scheme, there, rest = url.partition("://")
        host = re.split(r"[/?#]", rest, maxsplit=1)[0]
        url = scheme + there + host + quote(rest[len(host) :], safe=_ASCII)
    return url


def _query(params: Params) -> str:
    if not isinstance(params, Mapping):
        raise TypeError(
            f"params must be a mapping of names to values, not a {type(params).__name__}"
        )
    return urlencode(
        [
            (name, _text(name, value))
            for name, values in params.items()
            for value in (values if isinstance(values, (list, tuple)) else (values,))
        ]
    )


def _text(name: object, value: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"params must have names of type str, not {name!r}")
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, (str, int, float)):  # the error omits the value, maybe a secret
        raise TypeError(
            f"params[{name!r}] must be a str, a number, a bool, or a list of them, "
            f"not a {type(value).__name__}; leave out what has no value"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"params[{name!r}] must be a finite number, not {value!r}")
    return str(value)
