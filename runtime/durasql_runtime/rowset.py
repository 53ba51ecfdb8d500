"""`$name.*` in SQL: a result's rows as a FROM item.

Comes in: the JSON array of rows, and the column names and types when they are known. Goes out: `(VALUES
(1,'a'::text)) AS "name"("id", "val")`. Column names and types are those that the rows would have, also when
there are no rows (L7): a statement that plans with rows must plan without them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

from durasql_runtime import jsontext

Column = tuple[str, str]
"""Name and SQL type of a column."""


def row_count(rows: str, enough: int) -> int:
    """How many rows a JSON array has; 0 when its length alone says that they are no more than `enough`."""
    if len(rows) <= enough * len("{},"):
        return 0
    return sum(1 for _ in jsontext.elements(rows))


def row_set(name: str, rows: str, columns: Sequence[Column], write: Callable[[str], str]) -> str:
    """The FROM item, alias included. `write` makes an expression of a JSON value."""
    records = [jsontext.members(row) if row[0] == "{" else {} for row in jsontext.elements(rows)]
    if not records:
        return f"{_empty(columns)} AS {_quoted(name)}"
    names = list(records[0])
    if not names:
        return f"(SELECT FROM pg_catalog.generate_series(1, {len(records)})) AS {_quoted(name)}"
    types = dict(columns)
    first = ",".join(_typed(records[0][column], types.get(column), write) for column in names)
    others = (
        ",".join(_typed(row.get(column, "null"), None, write) for column in names)
        for row in islice(records, 1, None)
    )
    values = ", ".join(f"({row})" for row in (first, *others))
    return f"(VALUES {values}) AS {_quoted(name)}({', '.join(map(_quoted, names))})"


def _typed(value: str, type_name: str | None, write: Callable[[str], str]) -> str:
    """One value. A NULL in the first row gets its column's type, or the whole column could end up as text."""
    if value == "null":
        return f"NULL::{type_name}" if type_name else "NULL"
    text = write(value)
    return f"{text}::text" if value[0] in '"{[' else text


def _empty(columns: Sequence[Column]) -> str:
    if not columns:
        return "(SELECT NULL WHERE false)"
    selected = ", ".join(f"NULL::{type_name} AS {_quoted(column)}" for column, type_name in columns)
    return f"(SELECT {selected} WHERE false)"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
