"""The text of a request's prompt, and the places in it that the request marks for the cache."""

from __future__ import annotations

from typing import Any

from xtremeflow.serve.fields import content_text
from xtremeflow.values.forms import is_array, is_object


class PromptText:
    """A prompt that is read part by part.

    field  of a part that marks its end for the cache
    marks  the places that are marked, in characters from the start
    asked  the values of `field` there
    ends   the ends of all parts, counted as `marks`
    """

    def __init__(self, field: str) -> None:
        self.field = field
        self.marks: list[int] = []
        self.asked: list[Any] = []
        self.ends: list[int] = []
        self._texts: list[str] = []
        self._length = 0

    @property
    def text(self) -> str:
        return "".join(self._texts)

    def add(self, text: str, part: Any = None) -> None:
        """Adds the text of a part, and the mark that the part may have."""
        self._texts.append(text)
        self._length += len(text)
        self.ends.append(self._length)
        if is_object(part):
            self.mark(part.get(self.field))

    def mark(self, asked: Any) -> None:
        """Marks the end of the last part, unless nothing is asked."""
        if asked:
            self.marks.append(self._length)
            self.asked.append(asked)

    def add_content(self, content: Any) -> None:
        """Adds the parts of a content, which may also be a single one."""
        for part in content if is_array(content) else [content]:
            self.add(content_text(part), part)
