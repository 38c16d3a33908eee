"""Metrics and traces of schedulers for OpenTelemetry; needs its API, the extra ``otel``."""

from xtremeflow.telemetry.otel import instrument

__all__ = ["instrument"]
