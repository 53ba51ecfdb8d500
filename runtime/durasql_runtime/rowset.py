"""`$name.*` in SQL: a result's rows as a FROM item.

Comes in: the JSON array of rows, and the column names and types when they are known. Goes out:
`(VALUES (1,'a'::text)) AS "name"("id", "val")`. Column names and types are those that the rows would have,
also when there are no rows (L7): a statement that plans with rows must plan without them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TypeAlias

from durasql_runtime import jsontext

Column: TypeAlias = tuple[str, str]
"""Name and SQL type of a column."""

Quote: TypeAlias = Callable[[str], str]
"""From text to a literal."""


class _Number(str):
    """The digits of a JSON number."""

    __slots__ = ()


class _Nested(str):
    """The text of a JSON object or array."""

    __slots__ = ()


_Value: TypeAlias = "str | bool | list[_Value] | dict[str, _Value] | None"
_Row: TypeAlias = dict[str, _Value]

_decoder = json.JSONDecoder(parse_int=_Number, parse_float=_Number)


def row_count(rows: str, enough: int) -> int:
    """How many rows a JSON array has; 0 when its length alone says that they are no more than `enough`."""
    if len(rows) <= enough * len("{},"):
        return 0
    return sum(1 for _ in jsontext.elements(rows))


def row_set(name: str, rows: str, columns: Sequence[Column], quote: Quote) -> str:
    """The FROM item, alias included. `columns` may be empty."""
    records = _records(rows)
    if not records:
        return f"{_empty(columns)} AS {_quoted_name(name)}"
    names = list(records[0])
    if not names:
        return f"(SELECT FROM pg_catalog.generate_series(1, {len(records)})) AS {_quoted_name(name)}"
    lines = [",".join([_expression(row.get(column), quote) for column in names]) for row in records]
    lines[0] = _first_line(records[0], dict(columns), quote)
    header = ", ".join(map(_quoted_name, names))
    return f"(VALUES ({'), ('.join(lines)})) AS {_quoted_name(name)}({header})"


def _records(rows: str) -> list[_Row]:
    """The rows as objects; what is nested in them stays text, with its keys and numbers as they were."""
    try:
        records = [row if isinstance(row, dict) else {} for row in _decoder.decode(rows)]
    except RecursionError:
        records = [{"deep": []}]
    if any(isinstance(value, list | dict) for row in records for value in row.values()):
        return [_with_nested_text(row) for row in jsontext.elements(rows)]
    return records


def _with_nested_text(row: str) -> _Row:
    if row[0] != "{":
        return {}
    return {
        name: _Nested(jsontext.compact(text)) if text[0] in "{[" else _decoder.decode(text)
        for name, text in jsontext.members(row).items()
    }


def _first_line(row: _Row, types: dict[str, str], quote: Quote) -> str:
    """The first row decides the columns' types, so a NULL in it is cast when its column's type is known."""
    return ",".join(
        f"NULL::{types[column]}" if value is None and column in types else _expression(value, quote)
        for column, value in row.items()
    )


def _expression(value: _Value, quote: Quote) -> str:
    if isinstance(value, _Number):
        return f"({value})" if value[0] == "-" else value
    if isinstance(value, str):
        return quote(value) + "::text"
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else "NULL"


def _empty(columns: Sequence[Column]) -> str:
    if not columns:
        return "(SELECT NULL WHERE false)"
    selected = ", ".join(f"NULL::{type_name} AS {_quoted_name(column)}" for column, type_name in columns)
    return f"(SELECT {selected} WHERE false)"


def _quoted_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
