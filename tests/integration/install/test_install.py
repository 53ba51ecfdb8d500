"""Installing schema df: numbered, idempotent, concurrent, by an ordinary database owner (design §8)."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from durasql.errors import DatabaseUnreachable, PermissionDenied, SchemaMissing, StoreError
from durasql.store import install as schema
from durasql_runtime.claims import Control


def one(dsn: str, query: str) -> Any:
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(query).fetchone()  # type: ignore[arg-type]
        return row[0] if row else None


def test_an_ordinary_owner_installs_everything(empty_database: str) -> None:
    applied = schema.install(empty_database)
    assert [m.version for m in applied] == [m.version for m in schema.migrations()]
    assert schema.status(empty_database).healthy


def test_a_second_install_does_nothing(empty_database: str) -> None:
    schema.install(empty_database)
    assert schema.install(empty_database) == []


def test_concurrent_installs_apply_each_migration_once(empty_database: str) -> None:
    done: list[int] = []
    threads = [
        threading.Thread(target=lambda: done.extend(m.version for m in schema.install(empty_database)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [m.version for m in schema.migrations()]


def test_an_old_schema_is_upgraded_in_place(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = schema.migrations()
    monkeypatch.setattr(schema, "migrations", lambda: everything[:1])
    schema.install(empty_database)
    monkeypatch.undo()
    assert [m.version for m in schema.status(empty_database).pending] == [m.version for m in everything[1:]]
    assert schema.install(empty_database) == list(everything[1:])


async def test_a_worker_does_not_begin_on_an_older_schema(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = schema.migrations()
    monkeypatch.setattr(schema, "migrations", lambda: everything[:-1])
    schema.install(empty_database)
    monkeypatch.undo()
    with pytest.raises(SchemaMissing, match=r"is at migration \d{4}, this worker needs"):
        await Control.sign_on(empty_database, "new")


def test_a_failing_migration_names_its_line_and_leaves_the_ones_before(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = schema.Migration(2, "bad", "CREATE TABLE df.extra (id integer);\n\nSELECT nonsense;\n")
    good = schema.migrations()[:1]
    monkeypatch.setattr(schema, "migrations", lambda: (*good, bad))
    with pytest.raises(StoreError, match=r"0002_bad\.sql:3: column \"nonsense\" does not exist"):
        schema.install(empty_database)
    assert one(empty_database, "SELECT max(version) FROM df.migrations") == 1
    assert one(empty_database, "SELECT to_regclass('df.extra')") is None


def test_a_newer_schema_is_refused(empty_database: str) -> None:
    schema.install(empty_database)
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("INSERT INTO df.migrations (version, name, checksum) VALUES (9000, 'later', 'x')")
    with pytest.raises(SchemaMissing, match="newer than this durasql: it has migration 9000_later"):
        schema.install(empty_database)
    assert not schema.status(empty_database).healthy


def test_a_changed_migration_is_reported(empty_database: str) -> None:
    schema.install(empty_database)
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("UPDATE df.migrations SET checksum = 'other' WHERE version = 1")
    assert [m.version for m in schema.status(empty_database).changed] == [1]


def test_somebody_elses_schema_df_is_left_alone(empty_database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA df")
    assert schema.status(empty_database).foreign
    with pytest.raises(SchemaMissing, match="did not create"):
        schema.install(empty_database)
    with pytest.raises(SchemaMissing, match="did not create"):
        schema.uninstall(empty_database)


def test_uninstall_takes_the_operators_along(empty_database: str) -> None:
    operators = "SELECT count(*) FROM pg_operator WHERE oprnamespace = 'public'::regnamespace"
    assert schema.uninstall(empty_database) is False
    schema.install(empty_database)
    assert schema.uninstall(empty_database) is True
    assert one(empty_database, "SELECT to_regnamespace('df')") is None
    assert one(empty_database, operators) == 0
    assert schema.install(empty_database)


def test_the_script_for_psql_is_the_same_installation(empty_database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute(schema.script().encode())
    assert schema.status(empty_database).healthy


def test_a_role_without_rights_is_told_what_it_needs(empty_database: str, bare_cluster: Any) -> None:
    name = psycopg.conninfo.conninfo_to_dict(empty_database)["dbname"]
    bare_cluster.execute(f"CREATE ROLE {name}_guest LOGIN")
    with pytest.raises(PermissionDenied, match="permission denied for database") as caught:
        schema.install(bare_cluster.dsn(name, f"{name}_guest"))
    assert "owner of the database" in (caught.value.hint or "")
    bare_cluster.execute(f"DROP ROLE {name}_guest")


def test_an_unreachable_database_is_told_apart() -> None:
    with pytest.raises(DatabaseUnreachable):
        schema.install("host=/nonexistent dbname=x connect_timeout=1")


def test_every_function_has_a_comment(empty_database: str) -> None:
    schema.install(empty_database)
    missing = one(
        empty_database,
        "SELECT array_agg(oid::regprocedure::text) FROM pg_proc"
        " WHERE pronamespace = 'df'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL",
    )
    assert missing is None
