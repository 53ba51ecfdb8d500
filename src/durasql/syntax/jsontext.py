"""JSON the way PostgreSQL reads and writes it, without recursion.

In: JSON text, or values of `ast.Json`. Out: the other one. The reader is as strict as PostgreSQL's (no NaN,
no raw control characters, no `\\u0000`) and keeps the digits of numbers; `compact` writes what jsonb holds,
without whitespace, and `spaced` what `jsonb::text` prints. Python's own `json` is not used for reading
because it recurses, accepts NaN and forgets digits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Final

from durasql.syntax.ast import Json

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORDS: Final[dict[str, Json]] = {"null": None, "true": True, "false": False}
_MAX_EXPONENT: Final = 16_383
"""Digits PostgreSQL's numeric keeps after the point."""

_scan_string: Final[Callable[[str, int, bool], tuple[str, int]]] = json.decoder.scanstring  # type: ignore[attr-defined]

Pairs = Callable[[list[tuple[str, Json]]], Json]


class JsonError(ValueError):
    """A text that PostgreSQL would not take as JSON; `offset` counts characters from its start."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


def quote(text: str) -> str:
    """A JSON string as `to_json(text)` writes it: only `"`, `\\` and control characters are escaped."""
    return json.dumps(text, ensure_ascii=False)


def read(text: str, pairs: Pairs = dict) -> Json:
    """The value of a JSON text; `pairs` makes an object of its members (the last of equal keys wins).

    Raises `JsonError`.
    """
    return _Reader(text, pairs).document()


class _Reader:
    """A pushdown reader: `stack` holds the open arrays and objects."""

    def __init__(self, text: str, pairs: Pairs) -> None:
        self.text = text
        self.pairs = pairs
        self.at = 0
        self.stack: list[list[Json] | list[tuple[str, Json]]] = []
        self.keys: list[str | None] = []

    def document(self) -> Json:
        while True:
            opened, value = self._value()
            while not opened:
                if not self.stack:
                    self._end()
                    return value
                opened, value = self._attach(value)

    def _value(self) -> tuple[bool, Json]:
        """One value, or (True, None) when an array or object was opened and its first value is due."""
        char = self._peek()
        if char == '"':
            return False, self._string()
        if char in "[{" and char:
            return self._open(char)
        for word, value in _WORDS.items():
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return False, value
        return False, self._number()

    def _open(self, char: str) -> tuple[bool, Json]:
        self.at += 1
        if self._peek() == ("]" if char == "[" else "}"):
            self.at += 1
            return False, [] if char == "[" else self.pairs([])
        self.stack.append([])
        self.keys.append(self._key() if char == "{" else None)
        return True, None

    def _attach(self, value: Json) -> tuple[bool, Json]:
        """Put a value into the innermost container; (False, container) when that ends it."""
        key = self.keys[-1]
        self.stack[-1].append(value if key is None else (key, value))  # type: ignore[arg-type]
        char = self._peek()
        if char == ",":
            self.at += 1
            if key is not None:
                self.keys[-1] = self._key()
            return True, None
        if char != ("]" if key is None else "}"):
            raise JsonError("expected ',' or the closing bracket", self.at)
        self.at += 1
        self.keys.pop()
        done = self.stack.pop()
        return False, done if key is None else self.pairs(done)  # type: ignore[return-value, arg-type]

    def _key(self) -> str:
        if self._peek() != '"':
            raise JsonError("expected a key in double quotes", self.at)
        key = self._string()
        if self._peek() != ":":
            raise JsonError("expected ':' after the key", self.at)
        self.at += 1
        return key

    def _string(self) -> str:
        start = self.at
        try:
            value: str
            value, self.at = _scan_string(self.text, start + 1, True)
        except json.JSONDecodeError as error:
            raise JsonError("the string is not closed or has a wrong character", error.pos) from None
        if "\\u" in self.text[start : self.at] and any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value):
            raise JsonError("unsupported Unicode escape sequence", start)
        return value

    def _number(self) -> Json:
        found = _NUMBER.match(self.text, self.at)
        if not found or self.text[found.end() : found.end() + 1].isalnum():
            raise JsonError("expected a JSON value", self.at)
        try:
            value = number(found.group())
        except ValueError:
            raise JsonError("value overflows numeric format", self.at) from None
        self.at = found.end()
        return value

    def _peek(self) -> str:
        self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
        return self.text[self.at : self.at + 1]

    def _end(self) -> None:
        if self._peek():
            raise JsonError("expected the end of the JSON text", self.at)


def number(digits: str) -> int | Decimal:
    """A number with the digits PostgreSQL's numeric keeps: `1e2` is 100, `1.10` stays 1.10, `-0` is 0."""
    mantissa, _, exponent = digits.lower().partition("e")
    power = int(exponent or "0") if len(exponent) < 8 else 10**8
    places = len(mantissa.partition(".")[2]) - power
    if abs(power) > _MAX_EXPONENT or places > _MAX_EXPONENT or len(mantissa) > 131_072:
        raise ValueError("value overflows numeric format")
    if places <= 0 and "." not in mantissa and not power and len(mantissa) < 4_000:
        return int(mantissa)
    try:
        value = Decimal(digits)
    except InvalidOperation as error:
        raise ValueError(str(error)) from None
    if not value:
        return Decimal(f"0E-{max(0, places)}")
    return Decimal(format(value, "f"))


def compact(value: Json) -> str:
    """The text of a jsonb value without whitespace: keys by byte length and bytes, PostgreSQL's digits."""
    return "".join(_write(value, ",", ":"))


def spaced(value: Json) -> str:
    """The text `jsonb::text` gives: as `compact`, with a blank after each comma and colon."""
    return "".join(_write(value, ", ", ": "))


def scalar(value: Json) -> str:
    """The text of a number, boolean, null or string."""
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if value is None:
        return "null"
    return str(value).lower()


def _write(root: Json, comma: str, colon: str) -> Iterator[str]:
    """The pieces of the text; the stack holds what is still to come, texts as they are."""
    stack: list[tuple[bool, Json]] = [(False, root)]
    while stack:
        literal, value = stack.pop()
        if literal:
            yield str(value)
        elif isinstance(value, dict):
            stack.extend(reversed(_object(value, comma, colon)))
        elif isinstance(value, list):
            stack.extend(reversed(_array(value, comma)))
        else:
            yield scalar(value)


def _object(value: dict[str, Json], comma: str, colon: str) -> list[tuple[bool, Json]]:
    out: list[tuple[bool, Json]] = [(True, "{")]
    for index, key in enumerate(sorted(value, key=_jsonb_order)):
        out.append((True, (comma if index else "") + quote(key) + colon))
        out.append((False, value[key]))
    return [*out, (True, "}")]


def _array(value: list[Json], comma: str) -> list[tuple[bool, Json]]:
    out: list[tuple[bool, Json]] = [(True, "[")]
    for index, item in enumerate(value):
        if index:
            out.append((True, comma))
        out.append((False, item))
    return [*out, (True, "]")]


def _jsonb_order(key: str) -> tuple[int, bytes]:
    encoded = key.encode()
    return len(encoded), encoded
