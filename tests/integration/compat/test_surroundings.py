"""Databases that are not like the usual one: another encoding, no schema public, an older schema df."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from durasql.errors import StoreError
from durasql.store import install as schema


def ask(dsn: str, query: str, *values: Any) -> Any:
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(query, values or None).fetchone()  # type: ignore[arg-type]
        return row[0] if row else None


def test_another_encoding_than_utf8_is_refused_at_once(bare_cluster: Any) -> None:
    bare_cluster.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        dsn = bare_cluster.superuser_dsn("latin")
        with pytest.raises(StoreError, match="encoding UTF8; latin has LATIN1") as caught:
            schema.install(dsn)
        assert "ENCODING 'UTF8'" in (caught.value.hint or "")
        with psycopg.connect(dsn) as connection, pytest.raises(psycopg.Error, match="encoding UTF8"):
            connection.execute(schema.script().encode("latin1", "replace"))
        assert ask(dsn, "SELECT to_regnamespace('df')") is None
    finally:
        bare_cluster.execute("DROP DATABASE latin WITH (FORCE)")


def test_without_schema_public_the_operators_are_in_df(empty_database: str, bare_cluster: Any) -> None:
    name = psycopg.conninfo.conninfo_to_dict(empty_database)["dbname"]
    bare_cluster.execute("DROP SCHEMA public", name)
    schema.install(empty_database)
    with psycopg.connect(empty_database, autocommit=True) as owner:
        assert owner.execute("SELECT df.start($$ 'SELECT 1' ~> 'SELECT 2' $$)").fetchone()
        owner.execute("SET search_path = df")
        assert owner.execute("SELECT df.start('SELECT 1' ~> 'SELECT 2')").fetchone()
    assert schema.uninstall(empty_database) is True


def test_operators_with_another_search_path(empty_database: str) -> None:
    """public or df on the search_path finds them; without either the text form and OPERATOR() work."""
    schema.install(empty_database)
    wanted = ask(empty_database, "SELECT 'a' ~> 'b'")
    with psycopg.connect(empty_database, autocommit=True) as owner:
        for path in ("public", "df", "df, public", "public, df"):
            owner.execute(f"SET search_path = {path}")
            assert owner.execute("SELECT 'a' ~> 'b' & 'c' |=> 'n'").fetchone(), path
        owner.execute("SET search_path = pg_catalog")
        with pytest.raises(psycopg.errors.UndefinedFunction):
            owner.execute("SELECT 'a' ~> 'b'")
        assert owner.execute("SELECT 'a' OPERATOR(df.~>) 'b'").fetchone() == (wanted,)
        assert owner.execute("SELECT df.seq('a', 'b')").fetchone() == (wanted,)
        assert owner.execute("SELECT df.start($$ 'a' ~> 'b' $$)").fetchone()


def test_an_upgrade_keeps_instances_grants_variables_and_settings(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = schema.migrations()
    schema.install(empty_database)
    with psycopg.connect(empty_database, autocommit=True) as owner:
        owner.execute("SELECT df.setvar('a', 'b'), df.start('SELECT {a}' ~> df.sleep(600), 'kept')")
        owner.execute("UPDATE df.settings SET value = '7' WHERE name = 'retention_days'")
        before = _everything(owner)
    later = schema.Migration(9000, "later", "ALTER TABLE df.instances ADD COLUMN added text;")
    monkeypatch.setattr(schema, "migrations", lambda: (*everything, later))
    assert schema.status(empty_database).pending == (later,)
    assert schema.install(empty_database) == [later]
    with psycopg.connect(empty_database, autocommit=True) as owner:
        assert _everything(owner) == before
        assert owner.execute("SELECT label, added FROM df.instances").fetchall() == [("kept", None)]
        assert owner.execute("SELECT df.start('SELECT {a}' ~> df.sleep(600))").fetchone()


def _everything(owner: psycopg.Connection[Any]) -> list[Any]:
    tables = {
        "instances": "id, label, status, vars, program",
        "programs": "owner, hash, graph, nodes",
        "vars": "name, value",
        "settings": "name, value",
    }
    return [
        owner.execute(f"SELECT {columns} FROM df.{table} ORDER BY 1, 2").fetchall()
        for table, columns in tables.items()
    ]
