"""Prefixes that calls share, found by the client itself: see docs/prefixes.md.

Calls that come in one turn of the loop are seen together before any of them is queued. The call
that leads its group is sent as a stream, if that can be done, so that the others follow its first
event; its caller gets the whole answer all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from xtremeflow import _http
from xtremeflow.http._admission import Admission, Sending
from xtremeflow.http._json import decode
from xtremeflow.http._leading import Assembled, as_grouped, of_leader, put_together
from xtremeflow.http._options import Options
from xtremeflow.http._response import Response
from xtremeflow.http._terms import CallTerms
from xtremeflow.http._usage import usage_in
from xtremeflow.learning.costs.estimates import Estimate
from xtremeflow.prefixes.groups import Grouped, Groups
from xtremeflow.values.usage import Usage


def make_auto(options: Options, admission: Admission | None) -> Auto | None:
    """Makes an Auto, or returns None if the client is not to look at prefixes."""
    if options.prefixes is None or admission is None:
        return None
    return Auto(options, admission)


class Prepared:
    """A call of a group, ready for the queue.

    grouped  its part in the group
    terms    those of its admission
    content  its body
    """

    def __init__(self, grouped: Grouped, terms: CallTerms, content: bytes) -> None:
        self.grouped = grouped
        self.terms = terms
        self.content = content


class Auto:
    """The prefixes of a client's calls."""

    def __init__(self, options: Options, admission: Admission) -> None:
        assert options.prefixes is not None
        self._admission = admission
        self._max_event = options.max_event
        self._max_body = options.max_body
        self._groups = Groups(options.prefixes, decode, admission.now, admission.scheduler)

    async def prepared(self, terms: CallTerms, url: str, content: Any) -> Prepared | None:
        """Returns the call's part in a group, once those that have come with it are seen; None if
        it has none."""
        seen = self._groups.see(url, content) if isinstance(content, bytes) else None
        if seen is None:
            return None
        await asyncio.sleep(0)
        terms = self._admission.priced(terms, url, content)
        cost = terms.estimate
        grouped = self._groups.grouped(seen, cost.input if isinstance(cost, Estimate) else None)
        if grouped is None:
            return None
        content = as_grouped(grouped, content)
        terms = terms._replace(
            prefix=grouped.key, prefix_tokens=grouped.tokens, prefix_life=grouped.life
        )
        return Prepared(grouped, terms, content)

    # ---- its answer ----

    async def whole(
        self,
        first: _http.Transfer,
        call: Callable[[_http.Outgoing], _http.Transfer],
        request: _http.Outgoing,
        send: Sending | None,
        terms: CallTerms,
    ) -> Response:
        """Does the work of `Admission.whole`, which describes the arguments."""
        prepared = await self.prepared(terms, request.url, request.body)
        if prepared is None:
            return await self._admission.whole(first, call, request, send, terms)
        if prepared.content is not request.body:
            first.close()
            request = request.replace(body=prepared.content)
            first = call(request)

        async def sent(transfer: _http.Transfer, request: _http.Outgoing) -> Response:
            content = of_leader(prepared.grouped, prepared.content) if send is None else None
            if content is not None:
                transfer.close()
                transfer = call(request.replace(body=content, stream=True))
                await transfer
                response = await self._response(prepared, transfer)
            else:
                response = await (transfer if send is None else send(transfer, request))
            if response.status < 400 and (usage := usage_in(response.body)) is not None:
                self.used(prepared, usage)
            return response

        return await self._admission.whole(first, call, request, sent, prepared.terms)

    def used(self, prepared: Prepared, usage: Usage) -> None:
        """Notes the usage of the answer."""
        self._groups.answered(prepared.grouped, usage)

    async def _response(self, prepared: Prepared, transfer: _http.Transfer) -> Response:
        answer = await self.put_together(prepared, transfer)
        return Response(
            transfer.url, transfer.method, answer.status, answer.head, answer.body,
            transfer.http_version, 0.0, transfer.times,
        )  # fmt: skip

    async def put_together(self, prepared: Prepared, transfer: _http.Transfer) -> Assembled:
        """See `xtremeflow.http._leading.put_together`."""
        api = prepared.grouped.seen.place.api
        return await put_together(api, transfer, self._max_event, self._max_body)
