"""psycopg's errors as durasql's. In: an error of the driver. Out: a StoreError that says what to do.

Used around every statement that a user's command or program causes, so that both see one error tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from durasql.errors import (
    DatabaseUnreachable,
    NotFound,
    PermissionDenied,
    RunTimedOut,
    SchemaMissing,
    StoreError,
)

_NO_SCHEMA = (errors.InvalidSchemaName, errors.UndefinedFunction, errors.UndefinedTable)
# SQLSTATEs of a lost or refused connection: 08 connection, 28 login, 3D000 no such database, 53300 too many,
# 57P0x shut down. (Others of psycopg's OperationalError, such as 55000, are of a server that is well.)
_UNREACHABLE = re.compile(r"08|28|3D000|53300|57P0")
_QUOTED_DSN = re.compile(r'"[^"]*(?:://|password)[^"]*"')
_MESSAGES = (
    (re.compile(r"Instance not found"), NotFound),
    (re.compile(r"Timeout after \d+s waiting for instance"), RunTimedOut),
)


@contextmanager
def translated() -> Iterator[None]:
    """Raise a DurasqlError in place of any psycopg error inside the block."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error) from error


def translate(error: psycopg.Error) -> StoreError | RunTimedOut:
    """The durasql error for one of psycopg's; the server's own words are kept."""
    said = error.diag.message_primary or str(error).strip() or type(error).__name__
    if isinstance(error, _NO_SCHEMA) and re.search(r"\bdf\b", said):
        return SchemaMissing(
            "the database has no schema df, or an older one",
            hint="Install it as the database's owner: durasql db install",
        )
    if isinstance(error, errors.InsufficientPrivilege):
        return PermissionDenied(
            said, hint="The owner of schema df grants access with SELECT df.grant_usage('your_role')."
        )
    if error.sqlstate is None or _UNREACHABLE.match(error.sqlstate):
        return _unreachable(error, said)
    for pattern, kind in _MESSAGES:
        if pattern.search(said):
            return kind(said, hint=error.diag.message_hint)
    return StoreError(_with_detail(said, error), hint=error.diag.message_hint)


def _unreachable(error: psycopg.Error, said: str) -> StoreError:
    if isinstance(error, psycopg.ProgrammingError):  # a DSN that libpq cannot read
        # libpq quotes what it cannot read, passwords included.
        return DatabaseUnreachable(f"not a usable DSN: {_QUOTED_DSN.sub('…', said)}")
    return DatabaseUnreachable(
        f"cannot reach the database: {_with_detail(said, error)}",
        hint="Check --dsn, DURASQL_DSN or the PG* variables; durasql db status shows which one is used.",
    )


def _with_detail(said: str, error: psycopg.Error) -> str:
    detail = error.diag.message_detail
    return f"{said}: {detail}" if detail else said
