"""Which converter a type has, by OID: built in, or learned from the server's catalog.

Comes in: OIDs of result columns. Goes out: converters. A step whose columns are of built-in types needs
nothing. For others the session runs `TYPE_QUERY` once, in the step's own transaction, and `learned`
remembers the answer for its database: arrays, enums, ranges and other types for good, composites only for
the result at hand, because ALTER TYPE and ALTER TABLE change them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from json.encoder import encode_basestring as quote
from typing import Final

from psycopg.postgres import types as builtin_types
from psycopg.pq.abc import PGresult

from durasql_runtime import pgtext
from durasql_runtime.jsontext import compact
from durasql_runtime.pgtext import Convert

TYPE_QUERY: Final = """
WITH RECURSIVE wanted(oid) AS (
    SELECT pg_catalog.unnest($1::pg_catalog.oid[])
    UNION
    SELECT part.oid
    FROM wanted
    JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) wanted.oid
    CROSS JOIN LATERAL (
        SELECT t.typelem WHERE t.typoutput OPERATOR(pg_catalog.=) 'pg_catalog.array_out'::pg_catalog.regproc
        UNION ALL
        SELECT t.typbasetype WHERE t.typtype OPERATOR(pg_catalog.=) 'd'
        UNION ALL
        SELECT a.atttypid FROM pg_catalog.pg_attribute a
        WHERE t.typtype OPERATOR(pg_catalog.=) 'c' AND a.attrelid OPERATOR(pg_catalog.=) t.typrelid
          AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
    ) AS part(oid)
)
SELECT t.oid,
       CASE WHEN t.typoutput OPERATOR(pg_catalog.=) 'pg_catalog.array_out'::pg_catalog.regproc THEN 'a'
            ELSE t.typtype::pg_catalog.text END,
       CASE WHEN t.typtype OPERATOR(pg_catalog.=) 'd' THEN t.typbasetype ELSE t.typelem END,
       t.typdelim,
       attributes.names,
       attributes.types
FROM wanted
JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) wanted.oid
CROSS JOIN LATERAL (
    SELECT pg_catalog.json_agg(a.attname ORDER BY a.attnum) AS names,
           pg_catalog.json_agg(a.atttypid::pg_catalog.int8 ORDER BY a.attnum) AS types
    FROM pg_catalog.pg_attribute a
    WHERE a.attrelid OPERATOR(pg_catalog.=) t.typrelid
      AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
) AS attributes
"""
"""Describes types and all types they are made of. One parameter, `type_parameter(oids)`; results in text
format. Operators are qualified, because the session's search_path is the user's."""


def type_parameter(oids: Iterable[int]) -> bytes:
    """The parameter of `TYPE_QUERY`."""
    return b"{%s}" % ",".join(map(str, oids)).encode()


_RECORD: Final = 2249
_SPECIAL: Final[dict[str, Convert]] = {
    "bool": pgtext.boolean,
    "int2": pgtext.as_is,
    "int4": pgtext.as_is,
    "int8": pgtext.as_is,
    "float4": pgtext.real,
    "float8": pgtext.double,
    "timestamp": pgtext.timestamp,
    "timestamptz": pgtext.timestamptz,
    "json": compact,
    "jsonb": compact,
    "record": pgtext.record,
}
_VOID: Final = 2278
_UNKNOWN: Final = 705


def _builtin() -> dict[int, Convert]:
    found: dict[int, Convert] = {_VOID: pgtext.void, _UNKNOWN: quote}
    for info in builtin_types:
        convert = _SPECIAL.get(info.name, quote)
        found[info.oid] = convert
        if info.array_oid:
            found[info.array_oid] = pgtext.array(convert, info.delimiter)
    return found


_BUILTIN: Final = _builtin()

_WRITTEN_AS: Final = {
    16: "boolean",
    20: "bigint",
    21: "integer",
    23: "integer",
    700: "numeric",
    701: "numeric",
}


def written_type(oid: int) -> str:
    """The SQL type that a column's values have when `$name.*` pastes them (L7)."""
    return _WRITTEN_AS.get(oid, "text")


@dataclass(frozen=True, slots=True)
class _Description:
    """One row of `TYPE_QUERY`."""

    kind: str
    element: int
    delimiter: str
    names: list[str]
    types: list[int]


@dataclass
class Catalog:
    """Converters of one database's types. Shared by its sessions."""

    converters: dict[int, Convert] = field(default_factory=lambda: dict(_BUILTIN))

    def unknown(self, oids: Iterable[int]) -> list[int]:
        """The OIDs that `TYPE_QUERY` has to be asked about; nearly always none."""
        return sorted({oid for oid in oids if oid not in self.converters})

    def learned(self, asked: Iterable[int], answer: PGresult) -> Catalog:
        """The catalog to convert with, after asking. What cannot change is remembered in this one too."""
        described = dict(_described(answer))
        fresh = Catalog(dict(self.converters))
        for oid in (*described, *asked):
            convert = fresh._make(oid, described)
            if not _reaches_composite(oid, described):
                self.converters[oid] = convert
        return fresh

    def _make(self, oid: int, described: dict[int, _Description]) -> Convert:
        convert = self.converters.get(oid)
        if convert is None:
            convert = self._assemble(described.get(oid), described)
            self.converters[oid] = convert
        return convert

    def _assemble(self, type_: _Description | None, described: dict[int, _Description]) -> Convert:
        match type_.kind if type_ else "":
            case "a":
                assert type_ is not None
                return pgtext.array(self._make(type_.element, described), type_.delimiter)
            case "d":
                assert type_ is not None
                return self._make(type_.element, described)
            case "c":
                assert type_ is not None
                parts = [self._make(part, described) for part in type_.types]
                return pgtext.composite(type_.names, parts)
        return quote


def _described(answer: PGresult) -> Iterable[tuple[int, _Description]]:
    for row in range(answer.ntuples):
        oid, kind, element, delimiter, names, types = (
            (answer.get_value(row, column) or b"").decode() for column in range(6)
        )
        yield (
            int(oid),
            _Description(kind, int(element), delimiter, json.loads(names or "[]"), json.loads(types or "[]")),
        )


def _reaches_composite(oid: int, described: dict[int, _Description]) -> bool:
    type_ = described.get(oid)
    if type_ is None or oid in _BUILTIN:
        return False
    if type_.kind == "c":
        return True
    return type_.kind in "ad" and _reaches_composite(type_.element, described)
