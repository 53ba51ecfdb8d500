"""Durations: `30 s`, `1.5 h`, `1 min 30 s`, or a bare number of seconds.

In: a text. Out: seconds. df._seconds in SQL reads the same and refuses with the same words.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from durasql.limits import MAX_DURATION
from durasql.syntax.values import ConversionError

_BLANKS: Final = " \t\r\n"
_NUMBER: Final = r"[0-9]{1,12}(?:\.[0-9]{1,3})?"
_UNITS: Final = r"(?:ms|s|sec|seconds?|m|min|minutes?|h|hours?|d|days?)"
_ALONE: Final = re.compile(_NUMBER)
_PARTS: Final = re.compile(
    rf"(?:{_NUMBER}[{_BLANKS}]*{_UNITS}(?:[{_BLANKS}]+|(?=[0-9])|\Z))+", re.IGNORECASE | re.ASCII
)
_PART: Final = re.compile(r"([0-9.]+)[ \t\r\n]*([a-z]+)", re.IGNORECASE | re.ASCII)
_SECONDS: Final = {"d": Decimal(86_400), "h": Decimal(3600), "m": Decimal(60), "s": Decimal(1)}
_LONGEST: Final = 100
"""Characters of a duration; more are no duration."""
HINT: Final = (
    "write numbers with units, as in '500 ms', '30 s', '5 min', '1 h 30 min', '2 d', or a number of seconds"
)


def seconds(text: str) -> Decimal:
    """The seconds of a pause, from none to ten years. Raises `ConversionError` with what is wrong."""
    return _within(text, Decimal(0), "0")


def time_limit(text: str) -> Decimal:
    """The seconds of a timeout, which is at least a millisecond. Raises `ConversionError`."""
    return _within(text, Decimal("0.001"), "1 ms")


def _within(text: str, lowest: Decimal, shown: str) -> Decimal:
    found = _read(text)
    if not lowest <= found <= MAX_DURATION:
        days = MAX_DURATION // 86_400
        raise ConversionError(f"must be between {shown} and {days} days: '{text}'", "E220", HINT)
    return found


def _read(text: str) -> Decimal:
    spoken = text.strip(_BLANKS)
    if len(text) <= _LONGEST:
        if _ALONE.fullmatch(spoken):
            return Decimal(spoken)
        if _PARTS.fullmatch(spoken):
            return sum(
                (Decimal(part[1]) * _unit(part[2].lower()) for part in _PART.finditer(spoken)), Decimal(0)
            )
    raise ConversionError(f"is no duration: '{text[:_LONGEST]}'", "E220", HINT)


def _unit(word: str) -> Decimal:
    return Decimal("0.001") if word == "ms" else _SECONDS[word[0]]


def text(value: int | Decimal) -> str:
    """A duration that `seconds` reads back: one number, of the largest unit that needs no fraction."""
    exact = Decimal(value)
    for unit, word in (("d", "d"), ("h", "h"), ("m", "min"), ("s", "s")):
        if (exact or unit == "s") and exact % _SECONDS[unit] == 0:
            return f"{exact / _SECONDS[unit]:f} {word}"
    if exact < 1 or exact * 1000 % 1:
        return f"{(exact * 1000).normalize():f} ms"
    return f"{exact.normalize():f} s"
