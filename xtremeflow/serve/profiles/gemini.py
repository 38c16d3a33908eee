"""Gemini: requests and input tokens per minute, requests per day; only bodies tell of them.

A day begins at midnight in California, or at 8:00 UTC where no time zones are installed. A spent
day is terminal: `QuotaFailure` names a PerDay quota.

Source: https://ai.google.dev/gemini-api/docs/rate-limits
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone, tzinfo
from typing import ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from xtremeflow.providers.gemini import GEMINI
from xtremeflow.serve.inquiry import Json
from xtremeflow.serve.profiles.base import Account, AtOnce, RefusedCall, Rejection
from xtremeflow.simulation.enforcers import FixedWindow
from xtremeflow.values.limits import DAY

STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
METRIC = "generativelanguage.googleapis.com/generate_content_paid_tier_"
METRICS = {
    "rpm": ("requests", "GenerateRequestsPerMinutePerProjectPerModel-PaidTier"),
    "rpd": ("requests", "GenerateRequestsPerDayPerProjectPerModel-PaidTier"),
    "itpm": ("input_token_count", "GenerateContentPaidTierInputTokensPerModelPerMinute"),
}
HELP = "https://ai.google.dev/gemini-api/docs/rate-limits"


class Gemini(AtOnce):
    provider = GEMINI
    base_path = "/v1beta/openai"
    heads: ClassVar[Mapping[str, str]] = {
        "chat": "/v1beta/openai",
        "embeddings": "/v1beta/openai",
        "gemini": "/v1(alpha|beta)?/models/[^/]+",
        "models": "/v1beta/openai|/v1(alpha|beta)?",
    }
    models = ("gemini-3-pro", "gemini-3-flash", "gemini-embedding-001")
    usage_always = True

    def begin(self, account: Account) -> None:
        day = account.limits.get("rpd")
        if isinstance(day, FixedWindow):
            day.first_window(lambda: 1 - until_midnight(account.wall()) / DAY)

    def identify(self, request_id: str, milliseconds: int) -> dict[str, str]:
        return {"server-timing": f"gfet4t7; dur={milliseconds}"}

    def error(self, status: int, message: str, code: str | None = None) -> Json:
        return {
            "error": {
                "code": status,
                "message": message,
                "status": STATUSES.get(status, "UNKNOWN"),
            }
        }

    def refusal(self, refusal: RefusedCall) -> Rejection:
        if "rpd" in refusal.names:
            return self.spent()
        seconds = math.ceil(refusal.wait) if refusal.wait is not None else None
        body = self._exhausted(
            [
                {
                    "quotaMetric": METRIC + METRICS[name][0],
                    "quotaId": METRICS[name][1],
                    "quotaDimensions": {"location": "global", "model": refusal.model},
                    "quotaValue": str(refusal.account.amounts[name]),
                }
                for name in refusal.names
            ]
        )
        if seconds is not None:
            body["error"]["message"] += f" Please retry in {seconds}s."
            body["error"]["details"].append(
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{seconds}s"}
            )
        return Rejection(429, body, wait=seconds)

    def spent(self) -> Rejection:
        metric, quota = METRICS["rpd"]
        return Rejection(429, self._exhausted([{"quotaMetric": METRIC + metric, "quotaId": quota}]))

    def _exhausted(self, violations: list[Json]) -> Json:
        body = self.error(
            429,
            "You exceeded your current quota, please check your plan and billing details. For more "
            f"information on this error, head to: {HELP}.",
        )
        body["error"]["details"] = [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations},
            {
                "@type": "type.googleapis.com/google.rpc.Help",
                "links": [{"description": "Learn more about Gemini API quotas", "url": HELP}],
            },
        ]
        return body


def until_midnight(wall: float) -> float:
    """Returns the seconds from `wall` (seconds since the epoch) to the next midnight in California,
    at most a day.
    """
    zone: tzinfo
    try:
        zone = ZoneInfo("America/Los_Angeles")
    except ZoneInfoNotFoundError:
        zone = timezone(timedelta(hours=-8))
    tomorrow = datetime.fromtimestamp(wall, zone).date() + timedelta(days=1)
    midnight = datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=zone)
    return min(midnight.timestamp() - wall, DAY)
