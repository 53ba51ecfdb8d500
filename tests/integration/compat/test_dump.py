"""pg_dump and pg_restore of a database with schema df: everything comes back, and workers go on with it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

_OBJECTS = """
    SELECT 'function ' || oid::regprocedure || ' ' || pg_get_functiondef(oid) || coalesce(proacl::text, '')
    FROM pg_proc WHERE pronamespace = 'df'::regnamespace
    UNION ALL SELECT 'relation ' || relname || ' ' || coalesce(relacl::text, '') || relrowsecurity
    FROM pg_class WHERE relnamespace = 'df'::regnamespace
    UNION ALL SELECT 'operator ' || oid::regoperator || obj_description(oid, 'pg_operator') FROM pg_operator
    WHERE oprnamespace IN ('df'::regnamespace, 'public'::regnamespace)
    UNION ALL SELECT 'constraint ' || conname || pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'df'::regnamespace
    UNION ALL SELECT 'trigger ' || pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT 'policy ' || policyname || coalesce(qual, '') || coalesce(with_check, '')
    FROM pg_policies
    ORDER BY 1
"""


@pytest.fixture
def programs(cluster: Any) -> Path:
    """Where pg_dump and pg_restore of the server's version are."""
    if not (cluster.bin_dir / "pg_dump").exists():
        pytest.skip("this server comes without pg_dump")
    folder: Path = cluster.bin_dir
    return folder


@pytest.fixture
def restore(database: Any, programs: Path) -> Iterator[Callable[[], Any]]:
    """Dump the module's database, restore it as the same owner, and return the new one."""
    copy = type(database)(database.cluster, f"{database.name}_restored")
    execute = database.cluster.execute

    def go() -> Any:
        execute(f"CREATE DATABASE {copy.name} OWNER {copy.owner} TEMPLATE template0")
        dump = subprocess.run(
            [programs / "pg_dump", "-Fc", "-d", database.owner_dsn], check=True, capture_output=True
        )
        subprocess.run(
            [programs / "pg_restore", "--exit-on-error", "-d", copy.owner_dsn], input=dump.stdout, check=True
        )
        return copy

    yield go
    copy.drop()


def rows(database: Any, query: str, role: str | None = None) -> list[Any]:
    with database.connect(role) as connection:
        return connection.execute(query).fetchall()  # type: ignore[no-any-return]


def ask(connection: psycopg.Connection[Any], query: str, *values: Any) -> Any:
    row = connection.execute(query, values or None).fetchone()  # type: ignore[arg-type]
    return row[0] if row else None


def test_a_restored_database_goes_on_where_the_dump_was_taken(
    database: Any, worker: Any, restore: Callable[[], Any]
) -> None:
    role = database.role()
    worker(role)
    with database.connect(role) as user:
        ask(user, "SELECT df.setvar('who', 'world')")
        done = ask(user, "SELECT df.start('SELECT ''hello {who}'' AS text', 'done')")
        waits = ask(
            user,
            "SELECT df.start('SELECT 2 AS two' |=> 'a' ~> (df.wait_for_signal('go') |=> 's')"
            " ~> 'SELECT $a AS a, $s.data AS s', 'waits')",
        )
        ask(user, "SELECT df.await_instance(%s)", done)
        user.execute(
            "DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM df.waiting WHERE kind = 'signal')"
            " LOOP PERFORM pg_sleep(0.01); COMMIT; END LOOP; END $$"
        )
    copy = restore()
    assert rows(copy, _OBJECTS) == rows(database, _OBJECTS)
    for table in ("programs", "instances", "journal", "vars", "settings", "migrations"):
        query = f"SELECT t::text FROM df.{table} t ORDER BY 1"
        assert rows(copy, query) == rows(database, query), table

    process = copy.worker(role)
    try:
        with copy.connect(role) as user:
            assert ask(user, "SELECT df.result(%s)::jsonb->'rows'->0->>'text'", done) == "hello world"
            ask(user, "SELECT df.signal(%s, 'go', '7')", waits)
            assert ask(user, "SELECT df.await_instance(%s, 60)", waits) == "completed"
            assert ask(user, "SELECT df.result(%s)::jsonb->'rows'->0->>'a'", waits) == "2"
            started = ask(user, "SELECT df.start('SELECT 1' ~> 'SELECT df.getvar(''who'') AS w')")
            assert ask(user, "SELECT df.await_instance(%s, 60)", started) == "completed"
            assert ask(user, "SELECT df.result(%s)::jsonb->'rows'->0->>'w'", started) == "world"
    finally:
        process.kill()
        process.communicate()
    # What the copy did, the original did not.
    assert rows(database, f"SELECT df.status('{waits}')", role) == [("running",)]
