"""Diagnostics as plain text and as JSON. The command line adds colour; nothing here knows a terminal.

In: a `Diagnostic`. Out: the text of a message as the best compilers print it:

    error[E114]: => does not name a result
      --> nightly.dsql:1:12
       |
     1 | 'SELECT 1' => 'a'
       |            ^^ did you mean '|=>'?
"""

from __future__ import annotations

import unicodedata
from typing import Any, Final

from durasql.codes import CODES
from durasql.errors import Diagnostic
from durasql.source import Source, Span

MAX_WIDTH: Final = 160
"""Columns of a source line that are shown; a longer line is cut around the caret."""


def render(diagnostic: Diagnostic) -> str:
    """The message with its source line, a caret range and the hint."""
    head = f"{diagnostic.severity}[{diagnostic.code}]: {diagnostic.message}"
    if diagnostic.span is None:
        return "\n".join([head, f"  --> {diagnostic.source.name}", *_hint(diagnostic)])
    gutter = " " * len(str(diagnostic.source.position(diagnostic.span.start).line))
    return "\n".join([head, *excerpt(diagnostic.source, diagnostic.span), *_hint(diagnostic, gutter)])


def excerpt(source: Source, span: Span | None) -> list[str]:
    """The place and the line of a text with carets below it; without a span, its first line alone."""
    at = source.position(span.start if span else 0)
    gutter = " " * len(str(at.line))
    place = f"{source.name}:{at.line}:{at.column}" if span else source.name
    line, carets = _underlined(source, span or Span(0, 1))
    shown = [f"{gutter} --> {place}", f"{gutter} |", f"{at.line} | {line}"]
    return [*shown, f"{gutter} | {carets}"] if span else shown


def _hint(diagnostic: Diagnostic, gutter: str = " ") -> list[str]:
    return [f"{gutter} = help: {diagnostic.hint}"] if diagnostic.hint else []


def _underlined(source: Source, span: Span) -> tuple[str, str]:
    """The line where the span begins, cut to fit, and the carets below it."""
    at = source.position(span.start)
    line = source.line(at.line)
    start = at.column - 1
    end = max(start + 1, min(len(line), start + span.end - span.start))
    if len(line) > MAX_WIDTH:
        first = max(0, min(start - MAX_WIDTH // 3, len(line) - MAX_WIDTH))
        line, start, end = line[first : first + MAX_WIDTH], start - first, min(end - first, MAX_WIDTH)
        line = ("…" if first else line[:1]) + line[1:]
    shown = "".join(char if char.isprintable() else " " for char in line)
    indent = sum(_width(char) for char in shown[:start])
    width = sum(_width(char) for char in shown[start:end])
    return shown.rstrip(), " " * indent + "^" * max(1, width)


def _width(char: str) -> int:
    """Columns a terminal gives a character."""
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def as_json(diagnostic: Diagnostic) -> dict[str, Any]:
    """The diagnostic for editors and CI: lines and columns from 1, the end exclusive."""
    found: dict[str, Any] = {
        "code": diagnostic.code,
        "severity": str(diagnostic.severity),
        "title": CODES[diagnostic.code].title,
        "message": diagnostic.message,
        "hint": diagnostic.hint,
        "file": diagnostic.source.name,
        "range": None,
    }
    if diagnostic.span is not None:
        start = diagnostic.source.position(diagnostic.span.start)
        end = diagnostic.source.position(max(diagnostic.span.end, diagnostic.span.start))
        found["range"] = {
            "start": {"line": start.line, "column": start.column, "offset": diagnostic.span.start},
            "end": {"line": end.line, "column": end.column, "offset": diagnostic.span.end},
        }
    return found
