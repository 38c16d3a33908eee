"""The transport: XtremeFlow's native HTTP client."""

from __future__ import annotations

from collections.abc import Mapping

from xtremeflow._http import Outgoing, Transfer
from xtremeflow.http import (
    Client,
    CodingError,
    ConnectError,
    InvalidRequest,
    TooLarge,
    TransportError,
)
from xtremeflow.http._errors import invalid_request
from xtremeflow.http._leading import of_leader, put_together
from xtremeflow.http._url import full_url
from xtremeflow.prefixes.groups import Grouped
from xtremeflow.providers.joined import joined
from xtremeflow.run.input.requests import RequestLine
from xtremeflow.run.wire.transport import NoConnection, NoReply, Reply, Unfit

_MAX_EVENT, _MAX_BODY = 16 << 20, 1 << 30  # bytes, as the client's


class HTTPTransport:
    """Posts requests to `base_url`. `timeout` is that of one attempt, in seconds.

    `prefix` is removed from their paths: see `providers.Provider`.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        *,
        timeout: float,
        connections: int,
        prefix: str = "",
    ) -> None:
        self._base_url = base_url
        self._prefix = prefix
        self._addresses: dict[str, str] = {}
        self._client = Client(
            headers={"Content-Type": "application/json", **headers},
            timeout=timeout,
            max_idle_connections=connections,
            retries=0,  # the run's own attempts see each failure
        )
        self._call = self._client._call

    async def send(self, request: RequestLine) -> Reply:
        url = self._addresses.get(request.url) or self._address(request.url)
        try:
            if request.grouped is not None:
                content = of_leader(request.grouped, request.content)
                if content is not None:
                    return await self._led(url, content, request.grouped)
            response = await self._transfer(url, request.content)
        except InvalidRequest as error:
            raise Unfit(str(error), "invalid_request", is_sent=False) from None
        except TransportError as error:
            if error.status >= 400:  # its body broke off, but it is an answer
                return Reply(error.status, error._head, b"")
            raise _failure(error) from None
        return Reply(response.status, response._head, response.body)

    def _address(self, path: str) -> str:
        """Returns the URL of a path, and keeps it for the next line."""
        url = full_url("", joined(self._base_url, path, self._prefix), None)
        self._addresses[path] = url
        return url

    def _transfer(self, url: str, content: bytes) -> Transfer:
        """Does what `post` of the client does for a line, which has no other arguments."""
        try:
            return self._call(Outgoing("POST", url, None, content))
        except ValueError as error:
            raise invalid_request(error, "POST", url) from error

    async def _led(self, url: str, content: bytes, grouped: Grouped) -> Reply:
        """Makes an attempt of a call that leads its group, as a stream."""
        async with self._client.stream("POST", url, content=content) as stream:
            answer = await put_together(
                grouped.seen.place.api, stream._transfer, _MAX_EVENT, _MAX_BODY
            )
        return Reply(answer.status, answer.head, answer.body)

    async def aclose(self) -> None:
        await self._client.aclose()


def _failure(error: TransportError) -> NoReply | Unfit:
    said = str(error)
    if isinstance(error, ConnectError):
        return NoConnection(said)
    if isinstance(error, TooLarge):
        return Unfit(said, "answer_too_large", is_sent=True)
    if isinstance(error, CodingError):
        return Unfit(said, "answer_unreadable", is_sent=True, is_shared=True)
    return NoReply(said)
