"""The job: the requests of a trace as a file, and the provider that receives them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from xtremeflow.simulation.latency import LatencyModel
from xtremeflow.simulation.traces import TraceRequest
from xtremeflow.values.limits import Limit

MODEL = "gpt-5.6-mini"
_CHARACTERS = 4  # of a token of the simulated provider
_AROUND = len("user\n\n")  # it counts these characters of a message beside its text
_TEXT = "Better to know when the door opens, and to be there in that moment. "


@dataclass(frozen=True)
class Workload:
    """Requests, and a simulated OpenAI with limits per minute, whose time runs `speed` times
    faster.

    It charges a call at its arrival, the larger of the prompt and `max_completion_tokens`.
    """

    requests: Sequence[TraceRequest]
    tpm: int
    rpm: int
    speed: float

    @property
    def minute(self) -> float:
        """The length of the provider's minute, in seconds."""
        return 60.0 / self.speed

    @property
    def most(self) -> int:
        """Returns the `max_completion_tokens` of each request: no answer of the trace is longer."""
        return 500 * max(1, math.ceil(max(r.output_tokens for r in self.requests) / 500))

    def limits(self) -> list[Limit]:
        """Returns the provider's buckets, which start full."""
        return [
            Limit("tokens", self.tpm, per=self.minute, capacity=self.tpm),
            Limit("requests", self.rpm, per=self.minute, capacity=self.rpm),
        ]

    def costs(self) -> list[Mapping[str, int]]:
        """Returns the provider's charge for each request."""
        return [{"tokens": max(self.most, r.prompt_tokens), "requests": 1} for r in self.requests]

    def serve_options(self) -> list[str]:
        """Returns the provider as options of `xtremeflow serve`."""
        return [
            *("--profile", "openai", "--tpm", f"{self.tpm}", "--rpm", f"{self.rpm}"),
            *("--speed", f"{self.speed:g}"),
        ]

    def run_options(self) -> list[str]:
        """Returns the limits as options of `xtremeflow run`, whose minutes are those of the clock.

        The burst is that of the preset: a minute less a second, which the network may take. The run
        does not follow the limits per minute in the answers, because they mean the provider's
        minute.
        """
        tpm, rpm = self.tpm * self.speed, self.rpm * self.speed
        return [
            *("--provider", "openai", "--tpm", f"{tpm / 1e6:.10g}M", "--rpm", f"{rpm:.10g}"),
            *("--burst", f"{59 / self.speed:.3g}", "--adapt", "no"),
        ]

    def busy(self) -> float:
        """Returns the calls at a time that the limit on tokens can keep busy."""
        latency = LatencyModel()
        seconds = mean(
            latency.round_trip
            + latency.first_token
            + latency.per_prompt_token * request.prompt_tokens
            + latency.per_output_token * request.output_tokens
            for request in self.requests
        )
        return self.tpm / 60.0 / mean(cost["tokens"] for cost in self.costs()) * seconds

    def write(self, path: Path, *, new: bool = False) -> None:
        """Writes the requests in OpenAI's Batch format, with prompts as long as in the trace.

        The simulated provider reads the length of the answer from `metadata`. With `new` it raises
        FileExistsError if the file exists.
        """
        with path.open("x" if new else "w", encoding="utf-8") as file:
            for request in self.requests:
                file.write(json.dumps(self._line(request)) + "\n")

    def _line(self, request: TraceRequest) -> Mapping[str, object]:
        length = max(1, _CHARACTERS * request.prompt_tokens - _AROUND)
        text = f"Request {request.index + 1} of the trace. " + _TEXT * (length // len(_TEXT) + 1)
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": text[:length]}],
            "max_completion_tokens": self.most,
            "metadata": {"output_tokens": str(request.output_tokens)},
        }
        return {
            "custom_id": f"trace-{request.index + 1}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": body,
        }
