"""SQL string literals: 'text', E'text', U&'text', $tag$text$tag$, with continuation lines.

In: a text and the place where a literal begins. Out: its decoded value with the map back to the source, or a
`LiteralError`. The rules are PostgreSQL's with standard_conforming_strings on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from durasql.source import Span
from durasql.syntax.textmap import TextMap

_CONTINUED: Final = re.compile(r"[ \t\f]*(?:--[^\n\r]*)?[\n\r](?:[ \t\n\r\f]|--[^\n\r]*[\n\r])*'")
"""Two literals with a line end between them are one; comments may stand in between."""
_PLAIN: Final = re.compile(r"[^']+")
_ESCAPED: Final = re.compile(r"[^'\\]+")
_ESCAPE: Final = re.compile(
    r"\\(?:u(?P<u>[0-9A-Fa-f]{4})|U(?P<U>[0-9A-Fa-f]{8})|x(?P<x>[0-9A-Fa-f]{1,2})|(?P<o>[0-7]{1,3})|(?P<c>.))",
    re.DOTALL,
)
_UNICODE: Final = re.compile(r"\\(?:(?P<u>[0-9A-Fa-f]{4})|\+(?P<U>[0-9A-Fa-f]{6})|(?P<c>\\))")
_SIMPLE: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True, slots=True)
class Literal:
    """A decoded literal; `end` is the offset after its closing quote."""

    value: str
    end: int
    map: TextMap


class LiteralError(Exception):
    """A literal that cannot be read; scanning may go on at `resume`."""

    def __init__(self, code: str, message: str, span: Span, resume: int, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.span = span
        self.resume = resume
        self.hint = hint


def read_dollar(text: str, start: int, tag: str) -> Literal | None:
    """A dollar-quoted literal that opens with `tag`; None when it is never closed."""
    body = start + len(tag)
    close = text.find(tag, body)
    if close < 0:
        return None
    end = close + len(tag)
    return Literal(text[body:close], end, TextMap(Span(start, end), (0,), (body,), close - body))


def read_quoted(text: str, start: int) -> Literal:
    """A literal in single quotes with its optional prefix. Raises `LiteralError`."""
    quote = text.index("'", start)
    prefix = text[start:quote].upper()
    if prefix in ("B", "X", "N"):
        message = f"{prefix}'…' is not a text"
        raise LiteralError("E109", message, Span(start, quote + 1), quote, "remove the prefix")
    return _Reader(text, start, prefix).read(quote + 1)


class _Reader:
    """Decodes piece by piece; every piece that is not copied as it stands starts a new stretch of the map."""

    def __init__(self, text: str, start: int, prefix: str) -> None:
        self.text = text
        self.start = start
        self.run = _PLAIN if not prefix else _ESCAPED
        self.escape = _ESCAPE if prefix == "E" else _UNICODE
        self.out: list[str] = []
        self.length = 0
        self.starts: list[int] = []
        self.targets: list[int] = []

    def read(self, at: int) -> Literal:
        self._mark(at)
        while True:
            found = self.run.match(self.text, at)
            if found:
                self._put(found.group())
                at = found.end()
            elif self.text.startswith("''", at):
                self._put("'")
                at += 2
                self._mark(at)
            elif self.text.startswith("\\", at):
                at = self._escape(at)
            elif not self.text.startswith("'", at):
                self._unclosed()
            elif more := _CONTINUED.match(self.text, at + 1):
                at = more.end()
                self._mark(at)
            else:
                span = Span(self.start, at + 1)
                map_ = TextMap(span, tuple(self.starts), tuple(self.targets), self.length)
                return Literal("".join(self.out), at + 1, map_)

    def _unclosed(self) -> None:
        quote = Span(self.start, self.text.index("'", self.start) + 1)
        hint = "end it with '; a quote inside the text is written twice: ''"
        raise LiteralError("E101", "this string is never closed", quote, len(self.text), hint)

    def _mark(self, source_offset: int) -> None:
        if self.starts and self.starts[-1] == self.length:
            self.targets[-1] = source_offset
            return
        self.starts.append(self.length)
        self.targets.append(source_offset)

    def _put(self, piece: str) -> None:
        self.out.append(piece)
        self.length += len(piece)

    def _escape(self, at: int) -> int:
        """Decode one escape, or a row of byte escapes that spell one character in UTF-8."""
        found = self.escape.match(self.text, at)
        if not found:
            raise self._wrong(at, "invalid escape", at + 2)
        groups = found.groupdict()
        if groups.get("x") or groups.get("o"):
            end, char = self._bytes(at)
        elif groups["c"] is not None:
            end, char = self._character(found)
        else:
            end, char = self._code_point(at, found)
        if char == "\0":
            raise self._wrong(at, "a text cannot contain the character zero", end)
        self._put(char)
        self._mark(end)
        return end

    def _character(self, found: re.Match[str]) -> tuple[int, str]:
        """`\\n` and the like; any other character stands for itself."""
        char = found["c"]
        if self.escape is _ESCAPE and char in "uU":
            raise self._wrong(
                found.start(), "invalid Unicode escape", found.end(), "write \\uXXXX or \\UXXXXXXXX"
            )
        return found.end(), _SIMPLE.get(char, char) if self.escape is _ESCAPE else char

    def _code_point(self, at: int, found: re.Match[str]) -> tuple[int, str]:
        value, end = int(found["u"] or found["U"], 16), found.end()
        if 0xD800 <= value < 0xDC00:
            low = self.escape.match(self.text, end)
            digits = (low["u"] or low["U"]) if low else None
            if low is None or digits is None or not 0xDC00 <= int(digits, 16) < 0xE000:
                raise self._wrong(at, "invalid Unicode surrogate pair", end)
            return low.end(), chr(0x10000 + ((value - 0xD800) << 10) + int(digits, 16) - 0xDC00)
        if 0xDC00 <= value < 0xE000 or value > 0x10FFFF:
            raise self._wrong(at, "invalid Unicode escape value", end)
        return end, chr(value)

    def _bytes(self, at: int) -> tuple[int, str]:
        raw, end = bytearray(), at
        while (found := _ESCAPE.match(self.text, end)) and (found["x"] or found["o"]):
            raw.append((int(found["x"], 16) if found["x"] else int(found["o"], 8)) & 0xFF)
            end = found.end()
            try:
                return end, raw.decode()
            except UnicodeDecodeError as error:
                if error.reason != "unexpected end of data":
                    break
        raise self._wrong(at, "invalid byte sequence for encoding UTF8", max(end, at + 2))

    def _wrong(self, at: int, message: str, end: int, hint: str | None = None) -> LiteralError:
        """The error, and scanning goes on after the literal's closing quote."""
        resume = re.compile(r"(?:[^'\\]|''|\\.)*'?", re.DOTALL).match(self.text, at)
        after = resume.end() if resume else len(self.text)
        return LiteralError("E109", message, Span(at, end), max(after, at + 1), hint)
