"""A statement's result -> the value of its SQL node.

Comes in: libpq results in text format, whole or in chunks. Goes out: `StepResult`, compact JSON text
`{"rows":[{"id":1}],"row_count":1}` with columns in select order, or
`{"rows":[],"row_count":0,"affected":3}` for a statement without result rows (L10). Values never become
Python objects: bytes are decoded and converted by type.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from json.encoder import encode_basestring as quote
from typing import Final

from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from durasql.errors import RunError
from durasql.limits import MAX_RESULT_BYTES
from durasql_runtime.catalog import Catalog, written_type
from durasql_runtime.pgtext import Convert


class ResultTooLarge(RunError):
    """A step's result is larger than `limit` bytes of JSON."""

    code = "R621"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the result is larger than {limit} bytes, the limit of one step",
            hint="Return fewer rows or columns, or raise max_result_bytes in df.settings.",
        )
        self.limit = limit


@dataclass(frozen=True, slots=True)
class StepResult:
    """What an SQL step came to: the value as JSON text, and its columns as (name, SQL type in `$name.*`)."""

    value: str
    columns: tuple[tuple[str, str], ...] = ()


_WITH_ROWS: Final = frozenset({ExecStatus.TUPLES_OK, ExecStatus.SINGLE_TUPLE, ExecStatus.TUPLES_CHUNK})
_BUILTIN: Final = Catalog()


def type_oids(result: PGresult) -> list[int]:
    """The types of a result's columns, for `Catalog.unknown`."""
    return [result.ftype(column) for column in range(result.nfields)]


def step_result(
    chunks: Sequence[PGresult], catalog: Catalog = _BUILTIN, limit: int = MAX_RESULT_BYTES
) -> StepResult:
    """The value of a statement whose result came in `chunks` (one, unless rows were streamed).

    Columns of types that `catalog` does not know come as PostgreSQL's text. Raises ResultTooLarge.
    """
    first = chunks[0]
    if first.status not in _WITH_ROWS:
        return StepResult(_without_rows(chunks[-1].command_tuples))
    columns = _columns(
        tuple([(first.fname(column) or b"", first.ftype(column)) for column in range(first.nfields)])
    )
    writer = RowWriter(columns, catalog, limit)
    for chunk in chunks:
        writer.add(chunk)
    return StepResult(writer.finish(), columns.described)


def _without_rows(affected: int | None) -> str:
    """Commands that count nothing (CREATE TABLE, DO, an empty text) have no `affected`."""
    count = "" if affected is None else f',"affected":{affected}'
    return f'{{"rows":[],"row_count":0{count}}}'


class RowWriter:
    """Writes rows as they arrive and stops at the limit: an endless result must not fill the memory."""

    def __init__(self, columns: Columns, catalog: Catalog, limit: int) -> None:
        self._fields = columns.fields(catalog)
        self._limit = limit
        self._size = len('{"rows":[],"row_count":}')
        self._rows: list[str] = []

    def add(self, chunk: PGresult) -> None:
        """Write the rows of one result or one chunk of it. Raises ResultTooLarge."""
        value = chunk.get_value
        for number in range(chunk.ntuples):
            row = [_member(key, value(number, column), convert) for column, key, convert in self._fields]
            text = "{" + ",".join(row) + "}"
            self._size += 1 + (len(text) if text.isascii() else len(text.encode()))
            if self._size > self._limit:
                raise ResultTooLarge(self._limit)
            self._rows.append(text)

    def finish(self) -> str:
        """The value of the node."""
        return f'{{"rows":[{",".join(self._rows)}],"row_count":{len(self._rows)}}}'


def _member(key: str, raw: bytes | None, convert: Convert) -> str:
    """One column of one row. Bytes that are no UTF-8 (only SQL_ASCII databases have them) become U+FFFD."""
    return key + ("null" if raw is None else convert(raw.decode(errors="replace")))


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a result: JSON keys and types. Equal shapes share one object."""

    keys: tuple[str, ...]
    oids: tuple[int, ...]
    described: tuple[tuple[str, str], ...]

    def fields(self, catalog: Catalog) -> list[tuple[int, str, Convert]]:
        """Column number, JSON key with its colon, converter."""
        converters = [catalog.converters.get(oid, quote) for oid in self.oids]
        return list(zip(range(len(self.keys)), self.keys, converters, strict=True))


@lru_cache(maxsize=1024)
def _columns(described: tuple[tuple[bytes, int], ...]) -> Columns:
    names = unique_names([name.decode(errors="replace") for name, _ in described])
    oids = tuple(oid for _, oid in described)
    types = (written_type(oid) for oid in oids)
    return Columns(tuple(f"{quote(name)}:" for name in names), oids, tuple(zip(names, types, strict=True)))


def unique_names(names: Iterable[str]) -> list[str]:
    """Column names with later duplicates numbered `_2`, `_3`, never onto another column's own name (L12)."""
    given = list(names)
    taken = set(given)
    seen: set[str] = set()
    unique: list[str] = []
    for name in given:
        new = _next_free(name, taken) if name in seen else name
        seen.add(name)
        taken.add(new)
        unique.append(new)
    return unique


def _next_free(name: str, taken: set[str]) -> str:
    number = 2
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"
