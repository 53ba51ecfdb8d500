"""Truthiness: whether a condition's result lets an IF take its then-branch or a LOOP go round again.

Comes in: the JSON text of a result. Goes out: a bool. Pure; the rules are the language's, see
docs/language.md.
"""

from __future__ import annotations

import re

from durasql_runtime import jsontext

_EMPTY = re.compile(r"\{[ \t\n\r]*\}|\[[ \t\n\r]*\]")
# What a number looks like to the reference, which is less than what Python's float() takes.
_NUMBER = re.compile(r"[+-]?(?:inf|infinity|nan|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?)")


def truthy(value: str) -> bool:
    """Judge a result: a row set by the first column of its first row, anything else by itself.

    A row set without rows is false, unless it is a statement's that affected rows (L10). Text that is no
    JSON is judged as a string.
    """
    if value.startswith('{"rows":['):
        return _rows(jsontext.outline(value))
    text = jsontext.parsed(value)
    if text is None:
        return _string(value)
    result = jsontext.outline(text)
    return _rows(result) if result.is_rows else _json(text)


def _rows(result: jsontext.Outline) -> bool:
    if result.first is None:
        return result.affected is not None and float(result.affected) > 0
    for first_column in result.first.values():
        return _json(first_column)
    return True  # rows without columns: the result as a whole, which is not empty


def _json(text: str) -> bool:
    """Judge one JSON value by its text, whose first character tells its type."""
    match text[0]:
        case "t":
            return True
        case "f" | "n":
            return False
        case '"':
            return _string(jsontext.string(text))
        case "{" | "[":
            return _EMPTY.fullmatch(text) is None
    return float(text) != 0


def _string(text: str) -> bool:
    word = text.strip().lower()
    if word in ("", "false", "f", "no"):
        return False
    return float(word) != 0 if _NUMBER.fullmatch(word) else True
