"""transaction_mode => 'new': a start that outlives the caller's transaction, through dblink."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

NEW = "transaction_mode => 'new'"


@pytest.fixture(scope="module")
def dblink(database: Any, cluster: Any) -> Iterator[Any]:
    """A database with the extension, and how to reach it."""
    with database.connect("postgres") as superuser:
        if not superuser.execute("SELECT name FROM pg_available_extensions WHERE name = 'dblink'").fetchone():
            pytest.skip("this server has no dblink")
        superuser.execute("CREATE EXTENSION dblink")
        superuser.execute("UPDATE df.settings SET value = '127.0.0.1' WHERE name = 'loopback_host'")
    yield database


@pytest.fixture
def launcher(dblink: Any, role: str, user: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """A role that may open sessions without a password."""
    dblink.cluster.execute(
        sql.SQL("GRANT EXECUTE ON FUNCTION dblink_connect_u(text, text) TO {}").format(sql.Identifier(role)),
        dblink.name,
    )
    return user


def slots(dblink: Any) -> int:
    row = dblink.cluster.execute(
        "SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory' AND classid = 1346982470 AND"
        " objsubid = 2",
        dblink.name,
    )[0]
    count: int = row[0]
    return count


def test_without_dblink_the_remedy_is_named(refused: Any) -> None:
    error = refused(f"df.start('SELECT 1', {NEW})")
    assert error.sqlstate == "0A000"
    assert (
        "needs the extension dblink" in error.diag.message_primary
        and "CREATE EXTENSION dblink" in error.diag.message_hint
    )


def test_the_launch_survives_a_rollback(launcher: psycopg.Connection[Any], ask: Any, role: str) -> None:
    launcher.execute("SET search_path = pg_catalog, public")
    ask("df.setvar('committed', 'x')")
    with launcher.transaction(force_rollback=True):
        ask("df.setvar('uncommitted', 'y')")
        made = ask(f"df.start('SELECT ''%%s'', \\\\1', 'it''s', NULL, {NEW.split(' => ')[1]})")
        assert ask("df.status(%s)", made) == "pending"
    row = launcher.execute(
        "SELECT id, label, submitted_by::text, vars, search_path FROM df.instances"
    ).fetchone()
    assert row == (made, "it's", role, {"committed": "x"}, "pg_catalog, public")


def test_operator_language_and_envelopes_pass_through(launcher: psycopg.Connection[Any], ask: Any) -> None:
    assert ask(f"df.start('SELECT 1' ~> $$it's$$, {NEW})") and ask(
        f"df.start($x$ 'SELECT 1' ~> $$it's$$ $x$, {NEW})"
    )
    assert launcher.execute("SELECT count(*) FROM df.programs").fetchone() == (1,)


FAILING = {
    "'a', database => 'nowhere'": (
        'df.start() on new transaction failed: database "nowhere" does not exist',
        "3D000",
    ),
    '\'{"node_type":"FOO"}\'': (
        "df.start() on new transaction failed: Invalid durable function: Unknown node_type 'FOO'",
        "22023",
    ),
    '\'{"node_type":"SQL"}\'': (
        'df.start() on new transaction failed: new row for relation "nodes" violates',
        "23514",
    ),
}


@pytest.mark.parametrize("call", FAILING)
def test_a_failing_launch_leaves_nothing_behind(
    launcher: psycopg.Connection[Any], dblink: Any, refused: Any, call: str
) -> None:
    error = refused(f"df.start({call}, {NEW})")
    message, state = FAILING[call]
    assert error.diag.message_primary.startswith(message) and error.sqlstate == state
    assert slots(dblink) == 0
    assert launcher.execute("SELECT cardinality(dblink_get_connections())").fetchone() in ((0,), (None,))
    assert launcher.execute("SELECT count(*) FROM df.instances").fetchone() == (0,)


def test_without_a_password_the_remedy_is_named(dblink: Any, refused: Any) -> None:
    error = refused(f"df.start('SELECT 1', {NEW})")
    assert error.diag.message_primary.startswith("df.start() on new transaction failed: password ")
    assert "df_loopback" in error.diag.message_hint
    assert slots(dblink) == 0


def test_launches_are_limited(dblink: Any, launcher: psycopg.Connection[Any], refused: Any, ask: Any) -> None:
    """P9"""
    with dblink.connect("postgres") as other:
        other.execute(
            "UPDATE df.settings SET value = '1' WHERE name IN ('max_new_transaction_starts',"
            " 'new_transaction_start_timeout')"
        )
        other.execute("SELECT pg_advisory_lock(1346982470, 1)")
        error = refused(f"df.start('SELECT 1', {NEW})")
        assert (
            error.diag.message_primary
            == "pg_durable: transaction_mode => 'new' launch limit reached (max_new_transaction_starts=1)."
            " Timed out after 1s waiting for a launch slot before opening the loopback session."
        )
        assert error.sqlstate == "53300"
        other.execute("SELECT pg_advisory_unlock(1346982470, 1)")
        assert ask(f"df.start('SELECT 1', {NEW})")
    assert slots(dblink) == 0


def test_a_cancelled_launch_gives_its_slot_back(
    dblink: Any, launcher: psycopg.Connection[Any], refused: Any, ask: Any
) -> None:
    """The second session waits for a lock; the caller's own timeout ends it."""
    with dblink.connect("postgres") as other, other.transaction():
        other.execute("LOCK TABLE df.instances IN ACCESS EXCLUSIVE MODE")
        launcher.execute("SET statement_timeout = '300ms'")
        assert refused(f"df.start('SELECT 1', {NEW})").sqlstate == "57014"
        launcher.execute("RESET statement_timeout")
        assert slots(dblink) == 0
    assert ask(f"df.start('SELECT 1', {NEW})")
