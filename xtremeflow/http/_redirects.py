"""Follows redirects without sending credentials to another host."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from xtremeflow.http._errors import RedirectError, TooManyRedirects
from xtremeflow.http._url import is_http, shown

if TYPE_CHECKING:
    from xtremeflow.http._response import Response

# The headers that may go to another host. Any other may be a credential: x-api-key, cookies, ...
_HARMLESS = {b"accept", b"accept-encoding", b"accept-language", b"content-type", b"user-agent"}
_PRINTABLE = "".join(map(chr, range(33, 127)))


def harmless(headers: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    """Returns the headers that may go to a host other than the intended one."""
    return tuple(pair for pair in headers if pair[0].lower() in _HARMLESS)


class Step(NamedTuple):
    """A request on the way. `bare` says that it goes to another host, so without the client's own
    headers and certificate."""

    method: str
    url: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: Any
    json: bool
    bare: bool


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), port


def _next(step: Step, response: Response) -> Step:
    location = response.headers.get_all("location")[0].encode("latin-1")
    url = urljoin(step.url, quote(location, safe=_PRINTABLE))
    if not is_http(url):
        raise RedirectError(f"{shown(step.url)} redirects to {shown(url)}: not followed")
    here, there = _origin(step.url), _origin(url)
    if here[0] == "https" and there[0] == "http":
        raise RedirectError(f"{shown(step.url)} redirects from https to {shown(url)}: not followed")
    step = step._replace(url=url)
    if response.status == 303 or (response.status in {301, 302} and step.method == "POST"):
        method = "HEAD" if step.method == "HEAD" else "GET"
        step = step._replace(method=method, body=None, json=False)
    if here != there:  # for good, also if a later step leads back
        step = step._replace(headers=harmless(step.headers), bare=True)
    return step


async def follow(
    send: Callable[[Step], Awaitable[Response]], step: Step, response: Response, limit: int
) -> Response:
    """Follows up to `limit` redirects from the answer to the first step."""
    for _ in range(limit):
        if not _redirects(response):
            return response
        step = _next(step, response)
        response = await send(step)
    if _redirects(response):
        raise TooManyRedirects(f"{shown(step.url)} redirects on after {limit} redirects")
    return response


def _redirects(response: Response) -> bool:
    return response.status in {301, 302, 303, 307, 308} and "location" in response.headers
