"""Tokens, without decoding a body: what a request asks for, and what its answer has used."""

from __future__ import annotations

from collections.abc import Callable

from xtremeflow import _http
from xtremeflow.answers.usage import Usage
from xtremeflow.learning.estimates import embeds
from xtremeflow.values.limits import Cost

#: Gives the estimate for a request from its URL and its body (b"" if it has none): a number of
#: tokens, or a mapping of limit names to amounts.
Estimate = Callable[[str, bytes], Cost]


def measured(url: str, body: bytes) -> tuple[str, int, int | None]:
    """The model that a request names, the size of its body, and the most tokens that its answer
    may have, if it says that."""
    model, most = _http.asked(body)
    if most is None and embeds(url):
        most = 0
    return model, len(body), most


def usage_in(body: bytes) -> Usage | None:
    """What the body of an answer, whole, says that it has used."""
    used = _http.usage_in(body)
    return None if used is None else Usage(*used)


class Tap(_http.Tap):
    """Sees a streamed answer go by and reads its usage wherever it stands."""

    __slots__ = ()

    def usage(self) -> Usage | None:
        """What the answer has said so far."""
        used = self.used()
        return None if used is None else Usage(*used)
