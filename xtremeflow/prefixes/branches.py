"""Prefixes that go on from shorter ones, which they have in common with others."""

from __future__ import annotations

from collections.abc import Hashable

from xtremeflow._core import Branch
from xtremeflow.values.arguments import check_int


def branch(trunk: Hashable, key: Hashable, *, trunk_tokens: int = 0) -> Branch:
    """Returns a ``prefix`` that goes on from a shorter one, as a document goes on from the system
    prompt that all documents come after.

        scheduler.submit(ask(document, question), prefix=branch("system", document))

    The first call writes both into the cache. The other calls with this trunk wait for it, also
    those of other documents. After that each document has a call that goes ahead.

    Args:
        trunk: The key of the shorter prefix, any hashable one. It may be a branch itself.
        key: The key of the longer one. The same key without a trunk is the same prefix. The first
            call with a key decides on its trunk.
        trunk_tokens: The length of the shorter prefix. Where the provider does not count tokens
            that are read from its cache, the call that goes ahead with a longer prefix is admitted
            for its cost without them. 0: unknown.

    Raises:
        TypeError: A key is None, or not hashable, or the length is no whole number.
        ValueError: The length is below 0.
    """
    for name, each in (("trunk", trunk), ("key", key)):
        if each is None or isinstance(each, (list, dict, set)):
            raise TypeError(f"{name} must be hashable and not None, got {each!r}")
    check_int("trunk_tokens", trunk_tokens, 0)
    return Branch((trunk, key, trunk_tokens))
