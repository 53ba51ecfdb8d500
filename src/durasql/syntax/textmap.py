"""Where the characters of a decoded literal stand in the source.

In: what `strings` noted while it decoded a literal. Out: a `TextMap` that turns an offset inside the decoded
text (say, of a SQL syntax error) into a place in the file, across doubled quotes, escapes and continuation
lines.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from durasql.source import Span


@dataclass(frozen=True, slots=True)
class TextMap:
    """A piecewise shift: decoded offset `starts[k]` stands at source offset `targets[k]`, and so on until
    the next.

    `span` is the whole literal with its quotes; `length` counts the decoded characters.
    """

    span: Span
    starts: tuple[int, ...]
    targets: tuple[int, ...]
    length: int

    def place(self, offset: int) -> int:
        """The source offset of decoded character `offset`."""
        piece = max(0, bisect_right(self.starts, offset) - 1)
        return self.targets[piece] + offset - self.starts[piece]

    def span_of(self, start: int, end: int) -> Span:
        """The source characters that decoded characters `start` to `end` came from."""
        if end <= start:
            return Span(self.place(start), self.place(start))
        return Span(self.place(start), self.place(end - 1) + 1)

    @property
    def body(self) -> Span:
        """The text between the quotes."""
        return self.span_of(0, self.length)

    def through(self, outer: TextMap) -> TextMap:
        """This map for a literal that itself stood inside the decoded text of `outer`."""
        starts: list[int] = []
        targets: list[int] = []
        ends = (*self.starts[1:], self.length)
        for start, target, end in zip(self.starts, self.targets, ends, strict=True):
            last = target + end - start
            inside = [at for at in outer.starts if target < at < last]
            for at in (target, *inside):
                starts.append(start + at - target)
                targets.append(outer.place(at))
        return TextMap(
            outer.span_of(self.span.start, self.span.end), tuple(starts), tuple(targets), self.length
        )

    def followed_by(self, other: TextMap) -> TextMap:
        """The map of two literals joined by `||`."""
        return TextMap(
            self.span.cover(other.span),
            self.starts + tuple(self.length + start for start in other.starts),
            self.targets + other.targets,
            self.length + other.length,
        )
