"""PostgreSQL's text output of one value -> its JSON text, by type.

Comes in: the bytes libpq delivers in text format, from a session with TimeZone=UTC, DateStyle=ISO and
UTF-8. Goes out: the JSON of language.md §7.1, and of L11 for all other types: arrays and composites as
JSON, the rest as PostgreSQL's text. Nothing here asks the server; types it does not know are `catalog`'s
business.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from json.encoder import encode_basestring as quote
from math import isfinite
from typing import Final

Convert = Callable[[str], str]
"""From PostgreSQL's text of one value that is not NULL to JSON text."""


def as_is(text: str) -> str:
    """Integers are JSON already."""
    return text


def boolean(text: str) -> str:
    """`t` and `f`."""
    return "true" if text == "t" else "false"


def void(_: str) -> str:
    """The result of a function that returns nothing."""
    return "null"


def double(text: str) -> str:
    """The shortest digits that give the same double; `2.0` keeps its `.0`, so `$x/4` is not an integer's."""
    number = float(text)
    return repr(number) if isfinite(number) else "null"


def real(text: str) -> str:
    """A real is widened to double first, as pg_durable does it: 3.14 -> 3.140000104904175."""
    number = float(text)
    if not isfinite(number):
        return "null"
    widened: float = struct.unpack("f", struct.pack("f", number))[0]
    return repr(widened)


def date(text: str) -> str:
    """ISO already; infinity and BC stay PostgreSQL's text."""
    return quote(text)


_TIMESTAMP: Final = re.compile(
    r"(\d{4,}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?([+-]\d\d(?::\d\d){0,2})?"
)


def timestamp(text: str) -> str:
    """`2024-06-15T12:30:00`, with 3 or 6 digits of a second when there are any."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return quote(text)
    day, time, fraction, _ = match.groups()
    return f'"{day}T{time}{_fraction(fraction)}"'


def timestamptz(text: str) -> str:
    """RFC 3339 in UTC, also when the step itself changed TimeZone."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return quote(text)
    day, time, fraction, offset = match.groups()
    if offset in ("+00", "+00:00"):
        return f'"{day}T{time}{_fraction(fraction)}+00:00"'
    return _shifted(text, f"{day} {time}", fraction, offset or "+00")


def _fraction(digits: str | None) -> str:
    if digits is None:
        return ""
    return "." + digits.ljust(3 if len(digits) <= 3 else 6, "0")


def _shifted(text: str, local: str, fraction: str | None, offset: str) -> str:
    parts = [int(part) for part in offset[1:].split(":")]
    seconds = sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    zone = timezone(timedelta(seconds=-seconds if offset[0] == "-" else seconds))
    try:
        moment = datetime.fromisoformat(local).replace(tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return quote(text)
    return f'"{moment:%Y-%m-%dT%H:%M:%S}{_fraction(fraction)}+00:00"'


# An array's text may begin with the bounds of its dimensions, which JSON has no place for.
_BOUNDS: Final = re.compile(r"(?:\[-?\d+:-?\d+\])+=")


def array(element: Convert, delimiter: str = ",") -> Convert:
    """The converter of an array; more dimensions are nested lists."""
    mark = re.escape(delimiter)
    token = re.compile(rf'[{{}}]|{mark}|"(?:[^"\\]++|\\.)*+"|[^{{}}"\\{mark}]++', re.DOTALL)

    def convert(text: str) -> str:
        bounds = _BOUNDS.match(text)
        at = bounds.end() if bounds else 0
        return "".join([one(part) for part in token.findall(text, at)])

    def one(part: str) -> str:
        fixed = _BRACKETS.get(part) or ("," if part == delimiter else None)
        if fixed:
            return fixed
        if part[0] == '"':
            return element(_BACKSLASHED.sub(r"\1", part[1:-1]))
        return "null" if part.upper() == "NULL" else element(part)

    return convert


_BRACKETS: Final = {"{": "[", "}": "]"}
_BACKSLASHED: Final = re.compile(r"\\(.)", re.DOTALL)
_FIELD: Final = re.compile(r'"((?:[^"\\]++|""|\\.)*+)"|([^,()"\\]*+)', re.DOTALL)
_DOUBLED: Final = re.compile(r'""|\\(.)', re.DOTALL)


def fields_of(text: str) -> list[str | None]:
    """The fields of a composite's text `(1,"a b",)`; None is NULL."""
    found: list[str | None] = []
    at = 0
    while text[at] != ")":
        match = _FIELD.match(text, at + 1)
        assert match is not None
        quoted, bare = match.groups()
        found.append((bare or None) if quoted is None else _DOUBLED.sub(_undoubled, quoted))
        at = match.end()
    return [] if text == "()" else found


def _undoubled(match: re.Match[str]) -> str:
    return match[1] or '"'


def composite(names: Sequence[str], fields: Sequence[Convert]) -> Convert:
    """The converter of a composite: an object with the attributes' names."""
    keys = [quote(name) + ":" for name in names]

    def convert(text: str) -> str:
        values = fields_of(text) or [None] * len(keys)
        if len(values) != len(keys):
            return record(text)
        pairs = zip(keys, fields, values, strict=True)
        return "{" + ",".join([key + ("null" if v is None else field(v)) for key, field, v in pairs]) + "}"

    return convert


def record(text: str) -> str:
    """A composite whose attributes are unknown: values as text, named as PostgreSQL's to_json names them."""
    values = ["null" if value is None else quote(value) for value in fields_of(text)]
    return "{" + ",".join([f'"f{number}":{value}' for number, value in enumerate(values, 1)]) + "}"
