"""The log of the package as JSON."""

from xtremeflow.telemetry.events import JSONFormatter

__all__ = ["JSONFormatter"]
