"""Stage 0: a text with a name, and places in it.

A `Source` is what the user gave us: a file, standard input, `-e TEXT` or a string passed to `df.start`.
A `Span` is a half-open range of characters in it. Every AST node and every diagnostic carries one, so
that a message can always point.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` (inclusive) to `end` (exclusive) of a source, counted from 0."""

    start: int
    end: int

    def cover(self, other: Span) -> Span:
        """The smallest span that holds both."""
        return Span(min(self.start, other.start), max(self.end, other.end))


@dataclass(frozen=True, slots=True)
class Position:
    """A place as people count: line and column from 1, the column in characters."""

    line: int
    column: int


@dataclass(frozen=True)
class Source:
    """A text and the name messages show for it (`nightly.dsql`, `<stdin>`, `<-e>`)."""

    text: str
    name: str = "<text>"
    _line_starts: list[int] = field(init=False, repr=False, compare=False, default_factory=list)

    def __post_init__(self) -> None:
        self._line_starts.append(0)
        self._line_starts.extend(i + 1 for i, char in enumerate(self.text) if char == "\n")

    def position(self, offset: int) -> Position:
        """The line and column of a character offset; offsets past the end mean the end."""
        offset = max(0, min(offset, len(self.text)))
        line = bisect_right(self._line_starts, offset)
        return Position(line, offset - self._line_starts[line - 1] + 1)

    def line(self, number: int) -> str:
        """The text of line `number` (from 1), without its line end."""
        start = self._line_starts[number - 1]
        end = self._line_starts[number] - 1 if number < len(self._line_starts) else len(self.text)
        return self.text[start:end].rstrip("\r")
