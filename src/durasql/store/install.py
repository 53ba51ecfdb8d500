"""Stage 6: schema df in a database. In: a DSN and the numbered files of `durasql.schema`. Out: migrations.

Every migration runs in a transaction of its own, together with its row in df.migrations, so an install that
is interrupted is continued by the next one. Concurrent installs wait for each other on an advisory lock. A
migration's text is kept as a checksum: a file that changed after it was applied is reported, never re-run.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources

import psycopg
from psycopg import Connection, errors
from psycopg.rows import TupleRow

from durasql.errors import PermissionDenied, SchemaMissing, StoreError
from durasql.source import Source
from durasql.store.failures import translate

OLDEST_SERVER = 140000
"""The oldest `server_version_num` that schema df is written for."""

_FILE = re.compile(r"(\d{4})_(\w+)\.sql")

# One installer at a time per database: the key is "durasql" read as a number.
_LOCK = b"SELECT pg_catalog.pg_advisory_xact_lock(28276631792742764)"

# A pinned search_path makes an unqualified name in a migration an error instead of an accident.
_PIN = b"SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL check_function_bodies = on"

_CREATE_MIGRATIONS = """\
CREATE TABLE IF NOT EXISTS df.migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE df.migrations IS 'Migrations of schema df that were applied, written by durasql db install.';
ALTER TABLE df.migrations ENABLE ROW LEVEL SECURITY;
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file of the schema."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def filename(self) -> str:
        return f"{self.version:04}_{self.name}.sql"


@dataclass(frozen=True, slots=True)
class Applied:
    """One row of df.migrations."""

    version: int
    name: str
    checksum: str
    applied_at: datetime


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """What a database holds, compared with what this durasql knows."""

    server_version: str
    applied: tuple[Applied, ...]
    pending: tuple[Migration, ...]
    changed: tuple[Migration, ...]
    """Applied migrations whose file reads differently now."""
    newer: tuple[Applied, ...]
    """Applied migrations that this durasql does not know: the schema comes from a newer one."""
    foreign: bool
    """Schema df exists but durasql did not create it."""

    @property
    def installed(self) -> bool:
        return bool(self.applied)

    @property
    def healthy(self) -> bool:
        return self.installed and not (self.pending or self.changed or self.newer or self.foreign)


@cache
def migrations() -> tuple[Migration, ...]:
    """All migrations of this durasql, in order of their numbers."""
    found = []
    for file in resources.files("durasql").joinpath("schema").iterdir():
        match = _FILE.fullmatch(file.name)
        if match:
            found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    return tuple(sorted(found, key=lambda migration: migration.version))


def install(dsn: str) -> list[Migration]:
    """Bring schema df of a database up to this durasql and return the migrations that were applied.

    Raises DatabaseUnreachable, PermissionDenied, SchemaMissing (a df that is newer, or not durasql's) or
    StoreError (a migration failed; the ones before it stay).
    """
    done = []
    with _connected(dsn) as connection:
        _require_server(connection)
        while (migration := _apply_next(connection)) is not None:
            done.append(migration)
    return done


def status(dsn: str) -> SchemaStatus:
    """What is installed; changes nothing. Raises DatabaseUnreachable."""
    with _connected(dsn) as connection:
        return _status(connection)


def uninstall(dsn: str) -> bool:
    """Drop schema df and with it the operators in public; False if there was none.

    Refuses a schema df that durasql did not create (SchemaMissing).
    """
    with _connected(dsn) as connection, connection.transaction():
        connection.execute(_LOCK)
        found = _status(connection)
        if found.foreign:
            raise _foreign_schema()
        if not found.installed:
            return False
        # The operators in public depend on functions in df, so CASCADE takes exactly what durasql created
        # and whatever users built upon it.
        connection.execute("DROP SCHEMA df CASCADE")
        return True


def script() -> str:
    """The whole installation as one text for psql, for databases that durasql cannot reach itself."""
    parts = ["BEGIN;", "SET LOCAL search_path = pg_catalog, pg_temp;"]
    for migration in migrations():
        parts += [f"-- {migration.filename}", migration.text.rstrip()]
        if migration.version == 1:
            parts.append(_CREATE_MIGRATIONS.rstrip())
        parts.append(
            "INSERT INTO df.migrations (version, name, checksum)"
            f" VALUES ({migration.version}, '{migration.name}', '{migration.checksum}');"
        )
    return "\n\n".join([*parts, "COMMIT;"]) + "\n"


def _apply_next(connection: Connection[TupleRow]) -> Migration | None:
    """Apply the first pending migration in one transaction; None when there is none."""
    with connection.transaction():
        connection.execute(_LOCK)
        found = _status(connection)
        if found.foreign:
            raise _foreign_schema()
        if found.newer:
            raise _newer_schema(found)
        if not found.pending:
            return None
        migration = found.pending[0]
        _run(connection, migration)
        return migration


def _run(connection: Connection[TupleRow], migration: Migration) -> None:
    connection.execute(_PIN)
    try:
        connection.execute(migration.text.encode())
        connection.execute(_CREATE_MIGRATIONS.encode())
        connection.execute(
            "INSERT INTO df.migrations (version, name, checksum) VALUES (%s, %s, %s)",
            (migration.version, migration.name, migration.checksum),
        )
    except errors.InsufficientPrivilege as error:
        raise PermissionDenied(
            f"{migration.filename}: {error.diag.message_primary}",
            hint="Install as the owner of the database, or as a role with CREATE on the database"
            " and on schema public.",
        ) from error
    except psycopg.Error as error:
        raise StoreError(f"{_place(error, migration)}: {error.diag.message_primary or error}") from error


def _place(error: psycopg.Error, migration: Migration) -> str:
    """`0003_dsl.sql:12` where the server says where, else the file."""
    if not error.diag.statement_position:
        context = f" ({error.diag.context.splitlines()[0]})" if error.diag.context else ""
        return migration.filename + context
    at = Source(migration.text).position(int(error.diag.statement_position) - 1)
    return f"{migration.filename}:{at.line}"


def _status(connection: Connection[TupleRow]) -> SchemaStatus:
    has_schema, has_table = _look(connection)
    applied = _applied(connection) if has_table else ()
    sums = {row.version: row.checksum for row in applied}
    known = migrations()
    return SchemaStatus(
        server_version=connection.execute("SHOW server_version").fetchone()[0],  # type: ignore[index]
        applied=applied,
        pending=tuple(m for m in known if m.version not in sums),
        changed=tuple(m for m in known if m.version in sums and sums[m.version] != m.checksum),
        newer=tuple(row for row in applied if row.version > known[-1].version),
        foreign=has_schema and not has_table,
    )


def _look(connection: Connection[TupleRow]) -> tuple[bool, bool]:
    row = connection.execute(
        "SELECT pg_catalog.to_regnamespace('df') IS NOT NULL, EXISTS (SELECT FROM pg_catalog.pg_class"
        " WHERE relname = 'migrations' AND relnamespace = pg_catalog.to_regnamespace('df'))"
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def _applied(connection: Connection[TupleRow]) -> tuple[Applied, ...]:
    try:
        rows = connection.execute(
            "SELECT version, name, checksum, applied_at FROM df.migrations ORDER BY version"
        )
        return tuple(Applied(*row) for row in rows)
    except errors.InsufficientPrivilege as error:
        raise PermissionDenied(
            "only the owner of schema df may see its migrations",
            hint="SELECT df.version() tells any granted role which durasql installed it.",
        ) from error


def _require_server(connection: Connection[TupleRow]) -> None:
    if connection.info.server_version < OLDEST_SERVER:
        raise StoreError(
            f"PostgreSQL {connection.info.server_version // 10000} is too old for durasql",
            hint=f"Use PostgreSQL {OLDEST_SERVER // 10000} or newer.",
        )
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise StoreError(
            f"durasql needs a database with encoding UTF8; {connection.info.dbname} has {encoding}",
            hint="Create one with: CREATE DATABASE … ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE template0",
        )


def _foreign_schema() -> SchemaMissing:
    return SchemaMissing(
        "the database has a schema df that durasql did not create",
        hint="Is the extension pg_durable installed here? Use another database, or drop that schema.",
    )


def _newer_schema(found: SchemaStatus) -> SchemaMissing:
    last = found.newer[-1]
    return SchemaMissing(
        f"schema df is newer than this durasql: it has migration {last.version:04}_{last.name}",
        hint="Upgrade durasql: pip install --upgrade durasql",
    )


@contextmanager
def _connected(dsn: str) -> Iterator[Connection[TupleRow]]:
    try:
        connection = psycopg.connect(dsn, autocommit=True, application_name="durasql install")
    except psycopg.Error as error:
        raise translate(error) from error
    with connection:
        connection.execute("SET client_min_messages = warning")
        yield connection
