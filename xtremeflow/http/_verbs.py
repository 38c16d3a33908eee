"""The methods of HTTP as methods of a client. Each repeats its arguments, so that an editor can
show them. `Client.request` describes them."""

from __future__ import annotations

from collections.abc import AsyncIterable, Coroutine
from types import EllipsisType
from typing import Any

from xtremeflow.http._options import HeadersInput, Seconds
from xtremeflow.http._response import Response
from xtremeflow.http._url import Params
from xtremeflow.values.limits import Cost

NO_JSON: Any = object()

Content = bytes | bytearray | memoryview | str | AsyncIterable[bytes]


class Verbs:
    """`request` by the names of its methods."""

    def _send(
        self,
        method: str,
        url: str,
        json: Any,
        content: Content | None,
        headers: HeadersInput | None,
        params: Params | None,
        timeout: Seconds | EllipsisType,
        idle_timeout: Seconds | EllipsisType,
        connect_timeout: Seconds | EllipsisType,
        idempotent: bool | None,
        priority: int,
        admission_timeout: Seconds,
        estimate: Cost | None,
    ) -> Coroutine[Any, Any, Response]:
        raise NotImplementedError

    def post(
        self,
        url: str,
        *,
        json: Any = NO_JSON,
        content: Content | None = None,
        headers: HeadersInput | None = None,
        params: Params | None = None,
        timeout: Seconds | EllipsisType = ...,
        idle_timeout: Seconds | EllipsisType = ...,
        connect_timeout: Seconds | EllipsisType = ...,
        idempotent: bool | None = None,
        priority: int = 0,
        admission_timeout: Seconds = None,
        estimate: Cost | None = None,
    ) -> Coroutine[Any, Any, Response]:
        """Sends a POST: ``request("POST", ...)``."""
        return self._send("POST", url, json, content, headers, params, timeout, idle_timeout,
                          connect_timeout, idempotent, priority, admission_timeout,
                          estimate)  # fmt: skip

    def get(
        self,
        url: str,
        *,
        headers: HeadersInput | None = None,
        params: Params | None = None,
        timeout: Seconds | EllipsisType = ...,
        idle_timeout: Seconds | EllipsisType = ...,
        connect_timeout: Seconds | EllipsisType = ...,
        priority: int = 0,
        admission_timeout: Seconds = None,
        estimate: Cost | None = None,
    ) -> Coroutine[Any, Any, Response]:
        """Sends a GET: ``request("GET", ...)``."""
        return self._send("GET", url, NO_JSON, None, headers, params, timeout, idle_timeout,
                          connect_timeout, None, priority, admission_timeout, estimate)  # fmt: skip

    def put(
        self,
        url: str,
        *,
        json: Any = NO_JSON,
        content: Content | None = None,
        headers: HeadersInput | None = None,
        params: Params | None = None,
        timeout: Seconds | EllipsisType = ...,
        idle_timeout: Seconds | EllipsisType = ...,
        connect_timeout: Seconds | EllipsisType = ...,
        idempotent: bool | None = None,
        priority: int = 0,
        admission_timeout: Seconds = None,
        estimate: Cost | None = None,
    ) -> Coroutine[Any, Any, Response]:
        """Sends a PUT: ``request("PUT", ...)``."""
        return self._send("PUT", url, json, content, headers, params, timeout, idle_timeout,
                          connect_timeout, idempotent, priority, admission_timeout,
                          estimate)  # fmt: skip

    def patch(
        self,
        url: str,
        *,
        json: Any = NO_JSON,
        content: Content | None = None,
        headers: HeadersInput | None = None,
        params: Params | None = None,
        timeout: Seconds | EllipsisType = ...,
        idle_timeout: Seconds | EllipsisType = ...,
        connect_timeout: Seconds | EllipsisType = ...,
        idempotent: bool | None = None,
        priority: int = 0,
        admission_timeout: Seconds = None,
        estimate: Cost | None = None,
    ) -> Coroutine[Any, Any, Response]:
        """Sends a PATCH: ``request("PATCH", ...)``."""
        return self._send("PATCH", url, json, content, headers, params, timeout, idle_timeout,
                          connect_timeout, idempotent, priority, admission_timeout,
                          estimate)  # fmt: skip

    def delete(
        self,
        url: str,
        *,
        json: Any = NO_JSON,
        content: Content | None = None,
        headers: HeadersInput | None = None,
        params: Params | None = None,
        timeout: Seconds | EllipsisType = ...,
        idle_timeout: Seconds | EllipsisType = ...,
        connect_timeout: Seconds | EllipsisType = ...,
        idempotent: bool | None = None,
        priority: int = 0,
        admission_timeout: Seconds = None,
        estimate: Cost | None = None,
    ) -> Coroutine[Any, Any, Response]:
        """Sends a DELETE: ``request("DELETE", ...)``."""
        return self._send("DELETE", url, json, content, headers, params, timeout, idle_timeout,
                          connect_timeout, idempotent, priority, admission_timeout,
                          estimate)  # fmt: skip
