"""JSON as text: look into a result without losing how it was written.

Comes in: the compact JSON text of a result. Goes out: slices of that same text, so numbers keep their
digits, objects their key order and duplicates. Only as much is read as is asked for: the first row of a 16
MB result costs as much as the first row of a small one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import NoReturn

Members = dict[str, str]
"""A JSON object: member name -> the JSON text of its value, in the order of the text."""

_WHITE = re.compile(r"[ \t\n\r]*+")
_SCALAR = re.compile(r'"(?:[^"\\]++|\\.)*+"|[^\s,\[\]{}"]++')
_STRUCTURE = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}]')
_SPACE_OUTSIDE_STRINGS = re.compile(r'("(?:[^"\\]++|\\.)*+")|[ \t\n\r]++')
_CACHED_LENGTH = 32_768


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# Numbers become plain text: nothing is rounded, and a number of 5000 digits is no error.
_decoder = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_no_constant)


def compact(text: str) -> str:
    """Valid JSON text without the white space between its tokens; everything else as it was."""
    return _SPACE_OUTSIDE_STRINGS.sub(r"\1", text)


def parsed(text: str) -> str | None:
    """`text` compacted when it is JSON, else None."""
    try:
        _decoder.decode(text)
    except (ValueError, RecursionError):
        return None
    return compact(text)


def string(text: str) -> str:
    """The characters that a JSON string (with its quotes) stands for."""
    return str(scanstring(text, 1, True)[0]) if "\\" in text else text[1:-1]


def members(text: str, at: int = 0) -> Members:
    """The members of the object that begins at `at`."""
    found: Members = {}
    at = _skip(text, at + 1)
    while text[at] != "}":
        name, at = scanstring(text, at + 1, True)
        start = _skip(text, _skip(text, at) + 1)
        at = _end(text, start)
        found[name] = text[start:at]
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return found


def elements(text: str) -> Iterator[str]:
    """The JSON texts of an array's elements, one after the other."""
    at = _skip(text, 1)
    while text[at] != "]":
        end = _end(text, at)
        yield text[at:end]
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    match = _WHITE.match(text, at)
    return match.end() if match else at


def _end(text: str, at: int) -> int:
    """Where the value that begins at `at` ends."""
    match = _SCALAR.match(text, at)
    if match:
        return match.end()
    try:
        return _decoder.raw_decode(text, at)[1]
    except RecursionError:
        return _end_by_counting(text, at)


def _end_by_counting(text: str, at: int) -> int:
    """As `_end`, for values nested deeper than Python's parser can go."""
    depth = 0
    for match in _STRUCTURE.finditer(text, at):
        token = match.group()
        depth += (token in "[{") - (token in "]}")
        if depth == 0:
            return match.end()
    raise ValueError("unterminated JSON value")


@dataclass(frozen=True, slots=True)
class Outline:
    """What the rules of the language ask about a result.

    `rows_at` is where the array of rows begins in `text` (None: the result is no row set), `first` the
    first row when there is one, `members` the top-level members of an object that is no row set or of a row
    set without rows.
    """

    text: str
    rows_at: int | None = None
    first: Members | None = None
    members: Members = field(default_factory=dict)

    @property
    def is_rows(self) -> bool:
        return self.rows_at is not None

    @property
    def is_object(self) -> bool:
        return self.text[:1] == "{"

    @property
    def affected(self) -> str | None:
        """The count of a statement that returns no rows (L10)."""
        return self.members.get("affected") if self.is_rows and self.first is None else None

    def rows(self) -> str:
        """The JSON text of the array of rows."""
        at = self.rows_at or 0
        return self.text[at : _end(self.text, at)]


def outline(text: str) -> Outline:
    """Look into a result; remembered for texts short enough that keeping them costs little."""
    return _outline_cached(text) if len(text) <= _CACHED_LENGTH else _outline(text)


def _outline(text: str) -> Outline:
    if text.startswith('{"rows":[{'):
        return Outline(text, 8, members(text, 9))
    stripped = text.strip(" \t\n\r")
    if stripped[:1] != "{":
        return Outline(stripped)
    found = members(stripped)
    rows = found.get("rows", "")
    return _row_set(stripped, rows, found) if rows[:1] == "[" else Outline(stripped, members=found)


def _row_set(text: str, rows: str, found: Members) -> Outline:
    """A row set without rows, or one that no SQL step wrote."""
    first = next(elements(rows), None)
    if first is None:
        return Outline(rows, 0, None, found)
    if first[0] != "{":
        return Outline(text, members=found)
    return Outline(rows, 0, members(first))


_outline_cached = lru_cache(maxsize=512)(_outline)
