"""The answer to an admitted call over time: the wait for the first token, then piece by piece."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xtremeflow.serve.apis import Api
from xtremeflow.serve.cache import Lookup
from xtremeflow.serve.faults import Fault
from xtremeflow.serve.inquiry import CHARACTERS_PER_TOKEN, Inquiry, ServedAnswer
from xtremeflow.serve.profiles import Rejection
from xtremeflow.serve.responder import ConnectionCut, Responder
from xtremeflow.simulation.charge import CallRequest
from xtremeflow.simulation.latency import Latency
from xtremeflow.simulation.provider import CompletionUsage, Reservation

if TYPE_CHECKING:
    from xtremeflow.serve.service import Service

SLICE = 1.0  # seconds of production; an answer that is no stream is charged after each


@dataclass(frozen=True)
class Production:
    """An admitted call, and the parts of its answer."""

    api: Api
    inquiry: Inquiry
    call: CallRequest
    answer: ServedAnswer
    lookup: Lookup
    latency: Latency
    fault: Fault | None
    reservation: Reservation

    def wants(self, kind: str) -> Fault | None:
        """Returns the call's fault if it is of that kind, else None."""
        return self.fault if self.fault is not None and self.fault.kind == kind else None


async def produce(service: Service, job: Production, responder: Responder) -> None:
    """Answers the call. Once work on it begins, this takes the time of its latency.

    Raises Rejection, ConnectionCut."""
    async with service.provider.working():
        await _work(service, job, responder)


async def _work(service: Service, job: Production, responder: Responder) -> None:
    at = service.provider.now() + job.latency.first_token + job.latency.downlink
    if stall := job.wants("stall"):
        at += stall.seconds
    _store(service, job, "scheduled")
    await _first_token(service, job, responder, at)
    _store(service, job, "answered")
    if job.fault is not None and job.fault.status is not None:
        message = "The server had an error while processing your request."
        raise Rejection(job.fault.status, service.profile.error(job.fault.status, message))
    if job.inquiry.stream:
        await _stream(service, job, responder, at)
    else:
        await _whole(service, job, responder, at)


async def _stream(service: Service, job: Production, responder: Responder, at: float) -> None:
    stream = job.api.stream(job.inquiry, job.answer, service.profile)
    responder.event(stream.begin())
    pieces = _pieces(job.answer.text, service.settings.tokens_per_event)
    for number, piece in enumerate(pieces):
        if number == len(pieces) // 2:
            if job.wants("cut"):
                await responder.flush()
                raise ConnectionCut
            if job.wants("break"):
                responder.event(stream.fail(service.overload().body))
                await responder.flush(more=False)
                job.reservation.fail()
                return
            if pause := job.wants("pause"):
                at += pause.seconds
        at += job.latency.generation / len(pieces)
        await _until(service, at, responder)
        _settle(service, job, (number + 1) / len(pieces))
        responder.event(stream.piece(piece))
    _complete(service, job)
    responder.event(stream.end())
    await responder.flush(more=False)


async def _whole(service: Service, job: Production, responder: Responder, at: float) -> None:
    slices = 1
    if service.profile.as_produced:
        slices = max(1, math.ceil(job.latency.generation / SLICE))
    for number in range(1, slices + 1):
        at += job.latency.generation / slices
        await _until(service, at)
        _settle(service, job, number / slices)
    if pause := job.wants("pause"):
        await asyncio.sleep(pause.seconds)
    body = job.api.body(job.inquiry, job.answer, service.profile)
    if job.wants("cut"):
        await responder.half(body)
        raise ConnectionCut
    if job.wants("break"):
        raise service.overload()
    _complete(service, job)
    await responder.whole(body)


async def _first_token(service: Service, job: Production, responder: Responder, at: float) -> None:
    every = service.keep_alive
    while every is not None and at - service.provider.now() > every:
        await asyncio.sleep(every)
        await responder.keep_alive(stream=job.inquiry.stream)
    await _until(service, at)


async def _until(service: Service, at: float, responder: Responder | None = None) -> None:
    """Waits until `at`. If that takes a time, it sends the content of `responder` first; else the
    content is sent later, with more."""
    wait = at - service.provider.now()
    if wait > 0:
        if responder is not None:
            await responder.flush()
        await asyncio.sleep(wait)


def _pieces(text: str, tokens: int) -> Sequence[str]:
    size = tokens * CHARACTERS_PER_TOKEN
    return [text[start : start + size] for start in range(0, len(text), size)]


def _store(service: Service, job: Production, when: str) -> None:
    rules = job.lookup.rules
    if rules is not None and rules.usable == when:
        service.cache.store(job.lookup, service.provider.now())


def _settle(service: Service, job: Production, share: float) -> None:
    """Charges the produced share, if this provider charges an answer while it is produced."""
    if service.profile.as_produced:
        _charge(service, job, round(share * job.call.completion_tokens))


def _complete(service: Service, job: Production) -> None:
    _charge(service, job, job.call.completion_tokens)
    job.reservation.complete(
        CompletionUsage(job.answer.prompt_tokens, job.answer.completion_tokens)
    )
    service.cached_tokens += job.answer.cached_tokens


def _charge(service: Service, job: Production, produced: int) -> None:
    costs = service.profile.settle(job.call, produced)
    if costs is not None:
        job.reservation.settle(costs)
