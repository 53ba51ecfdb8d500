"""A session that describes and explains statements and executes none. In: SQL. Out: columns, or a refusal.

Every statement gets a READ ONLY transaction of its own, which the next one rolls back: no lock stays, and one
refusal spoils nothing. Locks and planning are not waited for longer than a moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import psycopg
from psycopg import pq, sql
from psycopg.conninfo import make_conninfo

from durasql.errors import DatabaseUnreachable
from durasql.store.failures import translated
from durasql.store.queries import named

_EXPLAIN: Final = "EXPLAIN (COSTS OFF) "
_LIMITS: Final = (
    "SET LOCAL lock_timeout = '2s'; SET LOCAL statement_timeout = '10s'; "
    "SET LOCAL standard_conforming_strings = on"
)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a result; `oid` is its type's."""

    name: str
    oid: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """The server's error; `offset` counts characters of the statement from 0."""

    sqlstate: str
    message: str
    offset: int | None = None
    hint: str | None = None


class Session:
    """A connection to one database, for planning only."""

    def __init__(self, dsn: str, database: str | None = None, role: str | None = None) -> None:
        with translated():
            self._connection = psycopg.connect(
                make_conninfo(dsn, **({"dbname": database} if database else {})),
                autocommit=True,
                application_name="durasql check",
                client_encoding="utf8",
            )
            begin = f"ROLLBACK; BEGIN READ ONLY; {_LIMITS}"
            if role is not None:
                begin += (
                    sql.SQL("; SET LOCAL ROLE {}").format(sql.Identifier(role)).as_string(self._connection)
                )
            self._begin = begin.encode()
            self._connection.add_notice_handler(lambda _: None)
            self._must(self._begin)

    def close(self) -> None:
        """Close the connection, and with it the open transaction."""
        self._connection.close()

    @cached_property
    def user(self) -> str:
        """The role whose rights the statements are planned with."""
        return str(self._rows("user")[0][0])

    @cached_property
    def variables(self) -> dict[str, str]:
        """The role's own workflow variables; none where schema df is missing."""
        if not self._rows("has_variables")[0][0]:
            return {}
        return {str(name): str(value) for name, value in self._rows("variables")}

    @cached_property
    def relations(self) -> list[str]:
        """What a FROM clause could name."""
        return [str(row[0]) for row in self._rows("relations")]

    @cached_property
    def columns(self) -> list[tuple[str, str]]:
        """Names of relations, without schemas, and of their columns."""
        return [(str(row[0]), str(row[1])) for row in self._rows("columns")]

    @cached_property
    def functions(self) -> list[str]:
        """What could be called."""
        return [str(row[0]) for row in self._rows("functions")]

    def plan(self, statement: str, *, explain: bool) -> tuple[Column, ...] | Refusal:
        """The columns of the statement's result, without executing it; or why the server refuses it."""
        self._must(self._begin)
        server = self._connection.pgconn
        answer = server.prepare(b"", statement.encode())
        if answer.status == pq.ExecStatus.COMMAND_OK:
            answer = server.describe_prepared(b"")
        if answer.status != pq.ExecStatus.COMMAND_OK:
            return self._refused(answer, 0)
        columns = tuple(
            Column((answer.fname(at) or b"").decode(), answer.ftype(at)) for at in range(answer.nfields)
        )
        if explain:
            # Not exec_: the extended protocol takes one statement only, however the server cuts the text.
            explained = server.exec_params((_EXPLAIN + statement).encode(), None)
            if explained.status != pq.ExecStatus.TUPLES_OK:
                return self._refused(explained, len(_EXPLAIN))
        return columns

    def _refused(self, answer: pq.abc.PGresult, prefix: int) -> Refusal:
        refusal = _refusal(answer, prefix)
        if self._connection.pgconn.status != pq.ConnStatus.OK:
            raise DatabaseUnreachable(f"lost the database while it planned: {refusal.message}")
        return refusal

    def _must(self, command: bytes) -> None:
        answer = self._connection.pgconn.exec_(command)
        if answer.status != pq.ExecStatus.COMMAND_OK:
            refusal = self._refused(answer, 0)
            raise psycopg.errors.lookup(refusal.sqlstate)(refusal.message)

    def _rows(self, name: str) -> list[Any]:
        self._must(self._begin)
        return self._connection.execute(named("explaining")[name]).fetchall()


def _refusal(answer: pq.abc.PGresult, prefix: int) -> Refusal:
    def field(which: pq.DiagnosticField) -> str | None:
        value = answer.error_field(which)
        return value.decode(errors="replace") if value is not None else None

    position = field(pq.DiagnosticField.STATEMENT_POSITION)
    return Refusal(
        field(pq.DiagnosticField.SQLSTATE) or "",
        field(pq.DiagnosticField.MESSAGE_PRIMARY) or "the connection was lost",
        max(0, int(position) - 1 - prefix) if position else None,
        field(pq.DiagnosticField.MESSAGE_HINT),
    )
