"""A tree of the prompts in a window of calls. It knows which of them begin alike, and how far.

A prompt is a row of rolling digests, one for each chunk of its text: CHUNK bytes of it, or all
between two cache marks where only marked prefixes are cached. Each stands for the whole prompt up
to there. So two prompts are alike as far as their digests are, and where they part can be found by
bisection. A node holds the digests of one stretch that all prompts below it have.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

from xtremeflow._core import rolling_digests

CHUNK = 512
"""Bytes of UTF-8: some 128 tokens, the unit of most caches."""

Digests: TypeAlias = "array[int]"

_BRANCH = 2  # of CHUNK; what shorter stretches have in common is chance: "What is the ..."


def digests_of(settings: bytes, text: bytes) -> Digests:
    """Returns the digests of a prompt; the last chunk may be shorter."""
    return array("Q", rolling_digests(settings, text, CHUNK))


def digests_at(marks: Sequence[int], settings: bytes, text: bytes) -> Digests:
    """Returns the digests of a prompt up to each of these places, which ascend from above 0."""
    found = array("Q")
    start, before = 0, settings
    for mark in marks:
        before = rolling_digests(before, text[start:mark], mark - start)
        found.frombytes(before)
        start = mark
    return found


class Node:
    """A stretch of prompts.

    parent   the stretch before it
    digests  those of its chunks
    end      the chunks from the prompt's start to its end
    calls    the calls of the window whose prompts have it
    """

    __slots__ = ("calls", "children", "digests", "end", "parent")

    def __init__(self, parent: Node | None, digests: Digests, calls: int) -> None:
        self.parent = parent
        self.digests = digests
        self.end: int = len(digests) + (0 if parent is None else parent.end)
        self.calls = calls
        self.children: dict[int, Node] = {}

    @property
    def digest(self) -> int:
        """The digest of the prompt up to its end."""
        return self.digests[-1]


class Window:
    """The last `size` calls, by their prompts."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._root = Node(None, array("Q"), 0)
        self._ends: deque[Node] = deque()

    def __len__(self) -> int:
        return len(self._ends)

    def add(self, digests: Digests) -> Node:
        """Adds a call. Returns the node at which its prompt ends. O(log n) for each node on the
        way, however many others there are."""
        if len(self._ends) >= self._size:
            _leave(self._ends.popleft())
        node, at = self._root, 0
        node.calls += 1
        while at < len(digests):
            child = node.children.get(digests[at])
            if child is None:
                node.children[digests[at]] = child = Node(node, digests[at:], 0)
            elif child.end > len(digests) or child.digests[-1] != digests[child.end - 1]:
                child = _split(child, _alike(child.digests, digests, at))
            child.calls += 1
            at = child.end
            node = child
        self._ends.append(node)
        return node


def shared(end: Node, least: int, branch: int = _BRANCH) -> Node | None:
    """Returns the longest stretch that a prompt which ends at `end` has in common with another one
    of the window, of `least` chunks or more; None if there is none. One that goes on from a shorter
    one for less than `branch` chunks is not worth it."""
    least = max(least, 1)
    node: Node | None = end
    while node is not None and node.calls < 2:
        node = node.parent
    while node is not None and node.parent is not None and len(node.digests) < branch:
        if node.parent.end < least:
            break
        node = node.parent
    return None if node is None or node.end < least else node


def _alike(stretch: Digests, digests: Digests, at: int) -> int:
    """Returns how many digests of a stretch are those of `digests` from `at` on, one at least."""
    low, high = 1, min(len(stretch), len(digests) - at)
    while low < high:  # each stands for all before it
        middle = (low + high + 1) // 2
        if stretch[middle - 1] == digests[at + middle - 1]:
            low = middle
        else:
            high = middle - 1
    return low


def _split(node: Node, at: int) -> Node:
    """Splits a node after so many digests. Returns the upper part; the node is the lower one."""
    upper = Node(node.parent, node.digests[:at], node.calls)
    assert node.parent is not None
    node.parent.children[upper.digests[0]] = upper
    node.digests = node.digests[at:]
    node.parent = upper
    upper.children[node.digests[0]] = node
    return upper


def _leave(end: Node) -> None:
    """Takes a call away whose prompt ends there."""
    node: Node | None = end
    while node is not None:
        node.calls -= 1
        if not node.calls and node.parent is not None:
            del node.parent.children[node.digests[0]]
        node = node.parent
