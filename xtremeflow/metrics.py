"""Metrics of schedulers for Prometheus; needs prometheus_client, the extra ``metrics``."""

from xtremeflow.telemetry.prometheus import Collector

__all__ = ["Collector"]
