"""The simulated provider as a service: requests in, answers out, under any server."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from random import Random
from zlib import crc32

from xtremeflow.serve import admin
from xtremeflow.serve.apis import APIS, Api, api_at
from xtremeflow.serve.cache import Lookup, PrefixCache
from xtremeflow.serve.catalogue import models
from xtremeflow.serve.diagnoses import Diagnoses
from xtremeflow.serve.disclosure import Disclosure
from xtremeflow.serve.faults import Fault, FaultPlan
from xtremeflow.serve.fields import BadRequestError, length_of, object_in, parsed
from xtremeflow.serve.inquiry import CHARACTERS_PER_TOKEN, Inquiry, ServedAnswer, prose, tokens_in
from xtremeflow.serve.production import Production, produce
from xtremeflow.serve.profiles import PROFILES, Account, Rejection
from xtremeflow.serve.responder import Incoming, Responder, Sink
from xtremeflow.serve.schema import instance
from xtremeflow.serve.settings import Settings
from xtremeflow.simulation.charge import CallRequest
from xtremeflow.simulation.clock import Clock
from xtremeflow.simulation.provider import (
    RateLimitError,
    RequestTooLargeError,
    Reservation,
    SimulatedProvider,
)

OUTPUT_HEADER = "x-simulated-output-tokens"


class Service:
    """A simulated provider with its state.

    Args:
        clock: A function that returns seconds; by default the running loop's clock.
        wall: A function that returns seconds since the epoch.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.profile = PROFILES[settings.profile]
        self.limits = dict(settings.limits)  # may change while it runs, and so may quirks
        self.quirks = settings.quirks
        self._clock = clock
        self._wall = wall
        self._latency = settings.latency.faster(settings.speed)
        self.keep_alive = settings.keep_alive or self.profile.keep_alive
        self.ids = count(1)
        self.reset()

    def reset(self) -> None:
        """Starts anew: limits full, cache empty, counts at 0, the first faults on."""
        settings = self.settings
        amounts = self.profile.amounts(self.limits)
        enforcers = {
            name: self.profile.enforcer(name, amount, settings.minute)
            for name, amount in amounts.items()
        }
        quirks = self.quirks.faster(settings.speed)
        if quirks.refused_count is None:
            quirks = replace(quirks, refused_count=self.profile.provider.refused_count)
        self.provider = SimulatedProvider(
            enforcers.values(),
            latency=self._latency,
            charge=self.profile.charge,
            batch=settings.batch or self.profile.provider.batch,
            clock=self._clock,
            seed=settings.seed,
            record=False,
            quirks=quirks,
        )
        self.account = Account(enforcers, amounts, self.provider.now, self._wall)
        self.profile.begin(self.account)
        self.disclosure = Disclosure(self.profile, self.account, quirks)
        self.cache = PrefixCache(
            self.profile.provider.cache_of, settings.minute, settings.cache_room
        )
        self.diagnoses = Diagnoses()
        self.faults = FaultPlan(
            (Fault(f.kind, f.rate, f.count, f.seconds) for f in settings.faults), settings.seed
        )
        self.statuses: Counter[int] = Counter()
        self.cached_tokens = 0
        self.spent = False

    async def handle(self, request: Incoming, sink: Sink) -> None:
        """Answers one request. Raises ConnectionCut if the server must close the connection."""
        responder = Responder(self, sink)
        if request.path.startswith("/admin/"):
            status, answer = 401, {"error": "/admin/ needs the key, too: --only-key is set"}
            if self._knows_the_key(request):
                status, answer = admin.answer(self, request.method, request.path, request.body)
            await responder.plain(status, answer)
            return
        try:
            await self._answer(request, responder)
        except Rejection as rejection:
            await responder.reject(rejection)

    async def _answer(self, request: Incoming, responder: Responder) -> None:
        self._authorise(request)
        name = api_at(request.path, self.profile)
        if name is None:
            known = models(self.profile, self.settings.only_models, request.path)
            if known is None:
                message = (
                    f"Unknown request URL: {request.method} {request.path}. The base URL ends with "
                    f"{self.profile.base_path or 'the port'}."
                )
                raise self._rejection(404, message)
            await responder.whole(known)
        elif request.method != "POST":
            raise self._rejection(405, f"{request.path} takes POST, not {request.method}")
        else:
            await self._call(APIS[name], request, responder)

    async def _call(self, api: Api, request: Incoming, responder: Responder) -> None:
        counted = not request.path.endswith("/count_tokens")
        if counted:
            self.provider.arrive()
        inquiry = self._inquiry(api, request)
        if not counted:
            await responder.whole({"input_tokens": tokens_in(inquiry.prompt)})
            return
        responder.streams = inquiry.stream
        lookup = self._look_up(inquiry)
        call, answer = self._plan(inquiry, lookup)
        latency = self.provider.latency_of(call)
        fault = self.faults.draw()
        now = self.provider.now()
        try:
            reservation = self._admit(call, inquiry, fault)
        except Rejection as rejection:
            await asyncio.sleep(latency.downlink)
            if rejection.wait is not None:
                self.provider.announce(now + rejection.wait)
            raise
        self.diagnoses.keep(answer.id, inquiry)
        with reservation:
            job = Production(api, inquiry, call, answer, lookup, latency, fault, reservation)
            await produce(self, job, responder)

    # Before the admission.

    def _rejection(self, status: int, message: str, code: str | None = None) -> Rejection:
        return Rejection(status, self.profile.error(status, message, code))

    def overload(self, status: int | None = None) -> Rejection:
        """Returns the answer of an overloaded provider, by default with the provider's own
        status."""
        message = "The server is overloaded, please try again later."
        return self._rejection(
            status or self.profile.overloaded, message, self.profile.overloaded_code
        )

    def _authorise(self, request: Incoming) -> None:
        if not self._knows_the_key(request):
            raise self._rejection(401, "Incorrect API key provided.", "invalid_api_key")

    def _knows_the_key(self, request: Incoming) -> bool:
        key = self.settings.only_key
        if key is None:
            return True
        headers = request.headers
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        names = ("api-key", "x-api-key", "x-goog-api-key")
        return key in (bearer, *(headers.get(name) for name in names))

    def _inquiry(self, api: Api, request: Incoming) -> Inquiry:
        try:
            inquiry = api.inquiry(object_in(parsed(request.body), "body"), request.path)
            told = length_of(request.headers.get(OUTPUT_HEADER), OUTPUT_HEADER)
        except BadRequestError as error:
            raise self._rejection(400, str(error)) from None
        known = self.settings.only_models
        if known is not None and inquiry.model not in known:
            message = f"The model `{inquiry.model}` does not exist or you do not have access to it."
            raise self._rejection(404, message, "model_not_found")
        return inquiry if told is None else replace(inquiry, told=told)

    def _look_up(self, inquiry: Inquiry) -> Lookup:
        return self.cache.lookup(
            inquiry.model,
            inquiry.prompt,
            self.provider.now(),
            key=inquiry.cache_key,
            marks=inquiry.marks,
            only_marked=inquiry.only_marked,
            parts=inquiry.parts,
            lifetime=inquiry.cache_lifetime,
        )

    def _plan(self, inquiry: Inquiry, lookup: Lookup) -> tuple[CallRequest, ServedAnswer]:
        """Returns the call and its answer, which are the same for the same prompt."""
        schema = inquiry.tool.parameters if inquiry.tool else inquiry.schema
        text = None
        if schema is not None:
            try:
                text = json.dumps(instance(schema))
            except BadRequestError as error:
                raise self._rejection(400, f"Invalid schema: {error}") from None
            length = tokens_in(text)
        elif inquiry.told is not None:
            length = inquiry.told
        else:
            seed = self.settings.seed & 0xFFFFFFFF
            length = self.settings.answer_length(Random(crc32(inquiry.prompt.encode(), seed)))
        prompt_tokens = max(1, tokens_in(inquiry.prompt))
        call = CallRequest(prompt_tokens, length, inquiry.max_tokens, inquiry.answers, lookup.read)
        if text is None:
            text = prose(call.answer_tokens)
        answer = ServedAnswer(
            id=f"{next(self.ids):024d}",
            created=int(self._wall()),
            text=text[: CHARACTERS_PER_TOKEN * call.answer_tokens],
            tool=inquiry.tool,
            cut=call.answer_tokens < length,
            prompt_tokens=prompt_tokens,
            completion_tokens=call.completion_tokens,
            cached_tokens=lookup.read,
            cache_written_tokens=lookup.written,
            cache_lifetime=inquiry.cache_lifetime,
            diagnosis=self.diagnoses.diagnosis(inquiry, lookup.read),
        )
        return call, answer

    def _admit(self, call: CallRequest, inquiry: Inquiry, fault: Fault | None) -> Reservation:
        if fault is not None and fault.at_the_door:
            raise self.overload(fault.status)
        credit = self.settings.credit
        if self.spent or (credit is not None and self.provider.stats.tokens_served >= credit):
            raise self.profile.spent()
        try:
            return self.provider.admit(call)
        except (RateLimitError, RequestTooLargeError) as error:
            raise self.disclosure.refusal(error, inquiry.model) from None
