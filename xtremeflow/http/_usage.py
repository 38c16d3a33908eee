"""The usage of an answer, without decoding its body."""

from __future__ import annotations

from collections.abc import Callable

from xtremeflow import _http
from xtremeflow.values.limits import Cost
from xtremeflow.values.usage import Usage

#: Returns the estimate for a request from its URL and its body (b"" if it has none): a number of
#: tokens, or a mapping of limit names to amounts.
Estimating = Callable[[str, bytes], Cost]


def usage_in(body: bytes) -> Usage | None:
    """Returns the usage in the whole body of an answer."""
    used = _http.usage_in(body)
    return None if used is None else Usage(*used)


class Tap(_http.Tap):
    """Reads the usage of a streamed answer as it passes, wherever it stands."""

    __slots__ = ()

    def usage(self) -> Usage | None:
        """Returns the usage that the answer has told so far."""
        used = self.used()
        return None if used is None else Usage(*used)
