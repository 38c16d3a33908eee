"""Follows redirects without sending credentials to another host."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit

from xtremeflow import _http
from xtremeflow.http._errors import RedirectError, TooManyRedirects
from xtremeflow.http._url import is_http, shown_url

if TYPE_CHECKING:
    from xtremeflow.http._response import Response

# The headers that may go to another host. Any other may be a credential: x-api-key, cookies, ...
_HARMLESS = {b"accept", b"accept-encoding", b"accept-language", b"content-type", b"user-agent"}
_PRINTABLE = "".join(map(chr, range(33, 127)))


def harmless(headers: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    """Returns the headers that may go to a host other than the intended one."""
    return tuple(pair for pair in headers if pair[0].lower() in _HARMLESS)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), port


def _next(request: _http.Outgoing, response: Response) -> _http.Outgoing:
    location = response.headers.get_all("location")[0].encode("latin-1")
    url = urljoin(request.url, quote(location, safe=_PRINTABLE))
    if not is_http(url):
        raise RedirectError(f"{shown_url(request.url)} redirects to {shown_url(url)}: not followed")
    here, there = _origin(request.url), _origin(url)
    if here[0] == "https" and there[0] == "http":
        raise RedirectError(
            f"{shown_url(request.url)} redirects from https to {shown_url(url)}: not followed"
        )
    if here != there:  # for good, also if a later step leads back
        headers = harmless(_http.check_headers(request.headers))
        request = request.replace(headers=headers, bare=True, foreign=True)
    if response.status == 303 or (response.status in {301, 302} and request.method == "POST"):
        method = "HEAD" if request.method == "HEAD" else "GET"
        request = request.replace(method=method, body=None, json=False)
    return request.replace(url=url)


async def follow(
    send: Callable[[_http.Outgoing], Awaitable[Response]],
    request: _http.Outgoing,
    response: Response,
    limit: int,
) -> Response:
    """Follows up to `limit` redirects from the answer to the first request."""
    for _ in range(limit):
        if not _redirects(response):
            return response
        request = _next(request, response)
        response = await send(request)
    if _redirects(response):
        raise TooManyRedirects(f"{shown_url(request.url)} redirects on after {limit} redirects")
    return response


def _redirects(response: Response) -> bool:
    return response.status in {301, 302, 303, 307, 308} and "location" in response.headers
