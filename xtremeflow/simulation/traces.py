"""The requests of the demo: a sample of a real trace, shipped with the package."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

SAMPLE = "azure_conv_sample.csv"


@dataclass(frozen=True)
class TraceRequest:
    """One request of a trace. `index` is its place there."""

    index: int
    prompt_tokens: int
    output_tokens: int

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.output_tokens


def load_trace(path: Path | None = None) -> tuple[TraceRequest, ...]:
    """Reads a CSV with the columns ContextTokens and GeneratedTokens; by default the sample.

    Lines that begin with # are comments. Raises ValueError naming the line that is wrong.
    """
    if path is not None:
        with path.open(newline="", encoding="utf-8") as lines:
            return _parse(lines, str(path))
    text = files("xtremeflow.simulation").joinpath(SAMPLE).read_text(encoding="utf-8")
    return _parse(text.splitlines(), SAMPLE)


def _parse(lines: Iterable[str], name: str) -> tuple[TraceRequest, ...]:
    numbered = ((n, line) for n, line in enumerate(lines, 1) if not line.startswith("#"))
    requests: list[TraceRequest] = []
    prompt_column = output_column = None
    for number, line in numbered:
        row = next(csv.reader([line]))
        try:
            if prompt_column is None or output_column is None:
                prompt_column = row.index("ContextTokens")
                output_column = row.index("GeneratedTokens")
                continue
            prompt, output = int(row[prompt_column]), int(row[output_column])
        except (ValueError, IndexError) as error:
            raise ValueError(f"{name}, line {number}: {error}: {line.strip()!r}") from None
        if prompt < 0 or output < 0:
            raise ValueError(f"{name}, line {number}: negative length: {line.strip()!r}")
        requests.append(TraceRequest(len(requests), prompt, output))
    if not requests:
        raise ValueError(f"{name}: no requests")
    return tuple(requests)
