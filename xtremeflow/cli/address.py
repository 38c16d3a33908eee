"""Addresses to listen on, as options take them."""

from __future__ import annotations

import ipaddress
from argparse import ArgumentTypeError
from typing import NamedTuple

LOOPBACK = "127.0.0.1"


class Address(NamedTuple):
    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address(text: str) -> Address:
    """Reads ``PORT`` or ``HOST:PORT``; an IPv6 address is in brackets. The default host is
    loopback. Raises ArgumentTypeError."""
    host, separator, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ArgumentTypeError(f"must have an IPv6 address in brackets, [::1]:9100, got {text!r}")
    is_port = port.isascii() and port.isdigit() and int(port) <= 65535
    if not is_port or (separator and not host):
        raise ArgumentTypeError(
            "must be a port from 0 to 65535, or a host and a port such as 0.0.0.0:9100, "
            f"got {text!r}"
        )
    return Address(host or LOOPBACK, int(port))
