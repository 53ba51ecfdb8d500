"""Secrets out of whatever comes back. In: texts and bytes of a server or a library. Out: the same without
secrets.

Servers echo URLs and headers, in their own encodings and mixtures of them, and libraries quote what they were
given. So a secret is looked for as a pattern in which every character that encodings touch may be plain,
percent-encoded, escaped as in JSON or HTML, or misread from UTF-8; and as literals for encodings of the
whole. This hides echoes; it is no defence against a server that wants to smuggle a secret into its answer,
which could just keep it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from durasql_runtime.outcome import Failed
from durasql_runtime.secrets import SHORTEST

_TELLING = 8
"""Characters from which on a part of a secret is hidden by itself."""
_LONGEST_PATTERN = 4096
"""Longer pieces are looked for as they are: their patterns would take too long to compile."""
_NAMED_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"}
_JSON_ESCAPES = {
    "\n": "n",
    "\r": "r",
    "\t": "t",
    "\b": "b",
    "\f": "f",
    '"': '"',
    "\\": "\\",
    "/": "/",
    "'": "'",
}


@dataclass(frozen=True, slots=True)
class _Shape:
    """How to find one piece of a secret. `core` is in every match, so most texts need no search at all."""

    pattern: re.Pattern[str]
    core: str
    stand_in: str

    def remove(self, text: str) -> str:
        return self.pattern.sub(lambda _: self.stand_in, text) if self.core in text else text


class Redactor:
    """Takes the secrets of one request out of texts, leaving `{secret:name}`."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._shapes = [
            shape for name, value in values.items() for shape in _shapes_of(value, f"{{secret:{name}}}")
        ]
        self._in_failures: list[_Shape] = []

    def hide(self, text: str) -> None:
        """Take out one more text, made of secrets."""
        self._shapes.append(_literal(text, "***"))

    def hide_in_failures(self, text: str) -> None:
        """Take out one more text, but only of failures: results may well speak of it."""
        self._in_failures.append(_literal(text, "***"))

    def text(self, text: str) -> str:
        """The text without secrets."""
        for shape in self._shapes:
            text = shape.remove(text)
        return text

    def data(self, data: bytes) -> bytes:
        """The same for bytes: Latin 1 shows each, and UTF-8 misread as Latin 1 is among the encodings."""
        return self.text(data.decode("latin-1")).encode("latin-1") if self._shapes else data

    def failed(self, failed: Failed) -> Failed:
        """The failure without secrets and without characters that PostgreSQL cannot store."""
        return replace(
            failed,
            message=self._clean(failed.message),
            detail=failed.detail and self._clean(failed.detail),
            hint=failed.hint and self._clean(failed.hint),
        )

    def _clean(self, text: str) -> str:
        text = self.text(text)
        for shape in self._in_failures:
            text = shape.remove(text)
        return text.replace("\x00", "\\x00").encode("utf-8", "replace").decode()


def _shapes_of(value: str, stand_in: str) -> Iterator[_Shape]:
    """Long pieces first, so that none is broken up by a piece inside it."""
    for piece in sorted(set(_pieces(value)), key=len, reverse=True):
        if len(piece) <= _LONGEST_PATTERN:
            pattern = "".join(_character(char) for char in piece)
            yield _Shape(re.compile(pattern), _core(piece), stand_in)
        yield from (_literal(text, stand_in) for text in _encodings(piece) if len(text) >= SHORTEST)


def _literal(text: str, stand_in: str) -> _Shape:
    return _Shape(re.compile(re.escape(text)), text, stand_in)


def _pieces(value: str) -> Iterator[str]:
    """The value, and parts of it that are as telling: lines, what follows a host, what base64 hides."""
    yield from (piece for piece in (value, value.strip()) if piece)
    yield from (line.strip() for line in value.splitlines() if len(line.strip()) >= _TELLING)
    _, found, rest = value.partition("://")
    if found:
        path = rest.partition("/")[2]
        yield from (piece for piece in (path, path.partition("?")[2]) if len(piece) >= _TELLING)
    with suppress(ValueError):
        decoded = base64.b64decode(value, validate=True).decode("utf-8")
        if len(decoded) >= _TELLING:
            yield decoded


def _encodings(piece: str) -> Iterator[str]:
    """Encodings that leave no character as it is; lower case is what becomes of a host name."""
    raw = piece.encode("utf-8", "replace")
    yield from (piece, piece.lower(), raw.hex(), raw.hex().upper())
    for shift in range(3):
        # Inside something longer, say `user:secret`, base64 looks differently for each remainder of three.
        whole = (len(raw) + shift) // 3 * 4
        inner = base64.b64encode(bytes(shift) + raw)[(0, 2, 3)[shift] : whole].decode()
        if len(inner) >= _TELLING:
            yield from (inner, inner.replace("+", "-").replace("/", "_"))


def _core(piece: str) -> str:
    """The longest run of characters that no encoding touches."""
    runs: list[str] = re.findall(r"[A-Za-z0-9]*", piece)
    return max(runs, key=len)


def _character(char: str) -> str:
    """A pattern for one character in any of its forms."""
    if char.isascii() and char.isalnum():
        return char
    forms = [
        re.escape(char),
        _percent(char),
        _unicode_escape(char),
        rf"&#{ord(char)};",
        rf"&#[xX]0*{_hex(ord(char))};",
    ]
    if char in _JSON_ESCAPES:
        forms.append(r"\\+" + re.escape(_JSON_ESCAPES[char]))
    if char in _NAMED_ENTITIES:
        forms.append(re.escape(_NAMED_ENTITIES[char]))
    if char == " ":
        forms.append(r"\+")
    if not char.isascii():
        forms.append("".join(_misread(byte) for byte in char.encode("utf-8", "replace")))
    # Longer forms first: a backslash must not match alone where it begins an escape.
    return "(?:" + "|".join(sorted(forms, key=len, reverse=True)) + ")"


def _percent(char: str) -> str:
    return "".join("%" + _hex(byte, 2) for byte in char.encode("utf-8", "replace"))


def _unicode_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(r"\\+u" + _hex(units[at] << 8 | units[at + 1], 4) for at in range(0, len(units), 2))


def _misread(byte: int) -> str:
    """One byte of UTF-8 that was taken for a character of Latin 1, and perhaps escaped then."""
    return f"(?:{re.escape(chr(byte))}|{_unicode_escape(chr(byte))})"


def _hex(number: int, digits: int = 0) -> str:
    """Hexadecimal digits in either case, as a pattern."""
    return "".join(f"[{d}{d.upper()}]" if d.isalpha() else d for d in f"{number:0{digits}x}")
