"""df.start: one row in the caller's transaction (P5), as the calling role (P6), after documented checks."""

from __future__ import annotations

import re
import threading
from typing import Any

import psycopg
import pytest
from psycopg import sql

ID = re.compile(r"[0-9a-f]{8}")


def instances(user: psycopg.Connection[Any], columns: str = "id") -> list[Any]:
    return user.execute(f"SELECT {columns} FROM df.instances ORDER BY created_at, id").fetchall()


def test_signature(user: psycopg.Connection[Any]) -> None:
    rows = user.execute(
        "SELECT pg_get_function_arguments(oid), proisstrict, prosecdef, prorettype::regtype::text FROM"
        " pg_proc WHERE pronamespace = 'df'::regnamespace AND proname = 'start'"
    ).fetchall()
    arguments = (
        "fut text, label text DEFAULT NULL::text, database text DEFAULT NULL::text, transaction_mode text"
        " DEFAULT 'caller'::text, "
    )
    ((found, *rest),) = rows
    assert found.startswith(arguments)  # what follows is ours: test_start_policy.py
    assert rest == [False, False, "text"]


def test_a_start_is_a_pending_row_with_what_the_run_needs(
    user: psycopg.Connection[Any], ask: Any, role: str
) -> None:
    user.execute("SET search_path = 'odd, \"Schema', public")
    ask("df.setvar('a', 'x'), df.setvar('b', 'y')")
    user.execute("INSERT INTO df.vars (name) VALUES ('nothing')")
    made = ask("df.start('SELECT 1', 'la''bel', current_database())")
    assert ID.fullmatch(made)
    columns = (
        "id, label, root_node, status, submitted_by::text, database = current_database(), search_path, vars,"
        " epoch, worker, output"
    )
    vars_ = {"a": "x", "b": "y"}
    assert instances(user, columns) == [
        (made, "la'bel", "00000000", "pending", role, True, '"odd, ""Schema", public', vars_, 0, None, None)
    ]


def test_positional_and_named_arguments(ask: Any, user: psycopg.Connection[Any]) -> None:
    for call in (
        "'a'",
        "'a', 'l'",
        "'a', 'l', NULL",
        "'a', 'l', NULL, 'CALLER'",
        "label => 'l', fut => 'a'",
        "'a', transaction_mode => 'Caller'",
    ):
        assert ID.fullmatch(ask(f"df.start({call})"))
    assert len(instances(user)) == 6


def test_a_rollback_leaves_nothing(user: psycopg.Connection[Any], ask: Any) -> None:
    """P5"""
    with user.transaction(force_rollback=True):
        ask("df.start('SELECT 1')")
    assert instances(user) == []
    assert user.execute("SELECT count(*) FROM df.programs").fetchone() == (0,)


def test_a_savepoint_decides_alone(user: psycopg.Connection[Any], ask: Any) -> None:
    """P5"""
    with user.transaction():
        kept = ask("df.start('SELECT 1')")
        with user.transaction(force_rollback=True):
            ask("df.start('SELECT 2')")
        again = ask("df.start('SELECT 2')")
    assert {row[0] for row in instances(user)} == {kept, again}


def test_two_starts_of_one_program_are_two_instances(user: psycopg.Connection[Any], ask: Any) -> None:
    envelope = ask("'SELECT 1' ~> 'SELECT 2'")
    with user.transaction():
        assert ask("df.start(%s)", envelope) != ask("df.start(%s)", envelope)
    assert user.execute("SELECT count(*) FROM df.programs").fetchone() == (1,)


def test_concurrent_first_starts_of_one_program_agree(
    database: Any, role: str, user: psycopg.Connection[Any], ask: Any
) -> None:
    made: list[Any] = []
    with database.connect(role) as other, user.transaction():
        ask("df.start('SELECT 42')")
        waiting = threading.Thread(
            target=lambda: made.append(other.execute("SELECT df.start('SELECT 42')").fetchone())
        )
        waiting.start()
    waiting.join(30)
    assert len(made) == 1 and len(instances(user)) == 2
    assert user.execute("SELECT count(*) FROM df.programs").fetchone() == (1,)


def test_an_id_that_is_taken_is_rolled_again(database: Any, owner: psycopg.Connection[Any], ask: Any) -> None:
    """Even if the other instance is another role's."""
    ask("df.start('SELECT 1')")
    with owner.transaction(force_rollback=True):
        owner.execute("CREATE SEQUENCE df.test_ids; GRANT USAGE ON df.test_ids TO PUBLIC")
        owner.execute(
            "ALTER TABLE df.instances ALTER id SET DEFAULT"
            " CASE WHEN nextval('df.test_ids') > 3 THEN 'ffffffff' ELSE 'eeeeeeee' END"
        )
        first = owner.execute("SELECT df.start('SELECT 1')").fetchone()
        second = owner.execute("SELECT df.start('SELECT 1')").fetchone()
        assert (first, second) == (("eeeeeeee",), ("ffffffff",))
        with pytest.raises(psycopg.Error, match="exhausted 10 attempts to generate a collision-free ID"):
            owner.execute("SELECT df.start('SELECT 1')")


def test_the_text_of_an_envelope_may_be_kept_and_started_often(
    user: psycopg.Connection[Any], ask: Any
) -> None:
    user.execute("CREATE TEMP TABLE kept AS SELECT df.sql('SELECT 1') AS workflow")
    user.execute("SELECT df.start(workflow) FROM kept, generate_series(1, 3)")
    assert len(instances(user)) == 3


# --- checks, in their order


REFUSED = {
    "NULL": ("df.start: fut must not be null", "22004"),
    "'a', transaction_mode => NULL": ("df.start: transaction_mode must not be null", "22004"),
    "'a', transaction_mode => 'x'": (
        "invalid transaction_mode \"x\" for df.start(): expected 'caller' or 'new'",
        "22023",
    ),
    "'a', transaction_mode => ''": (
        "invalid transaction_mode \"\" for df.start(): expected 'caller' or 'new'",
        "22023",
    ),
    "'a', database => 'nowhere'": ('database "nowhere" does not exist', "3D000"),
    "'a', database => ''": ('database "" does not exist', "3D000"),
    # the text is judged before the database, the graph after it
    "'{\"node_type\":\"FOO\"}', database => 'nowhere'": (
        "Invalid durable function: Unknown node_type 'FOO'. Valid types: ",
        "22023",
    ),
    "'{\"node_type\":\"SQL\"}', database => 'nowhere'": ('database "nowhere" does not exist', "3D000"),
}


@pytest.mark.parametrize("call", REFUSED)
def test_refused(user: psycopg.Connection[Any], refused: Any, call: str) -> None:
    error = refused(f"df.start({call})")
    message, state = REFUSED[call]
    assert error.diag.message_primary.startswith(message) and error.sqlstate == state
    assert instances(user) == []


def test_a_role_without_login_cannot_start(
    database: Any, user: psycopg.Connection[Any], role: str, refused: Any
) -> None:
    """P6"""
    group = database.role("group", "NOLOGIN")
    database.cluster.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), sql.Identifier(role)))
    user.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(group)))
    error = refused('df.start(\'{"node_type":"SQL"}\')')
    assert (
        error.diag.message_primary
        == f'current_user "{group}" does not have LOGIN privilege. The background worker must connect as this'
        " role to execute SQL. Grant LOGIN to this role or call df.start() as a role with LOGIN."
    )
    assert error.sqlstate == "28000"
    assert refused("df.start('a', database => 'nowhere')").sqlstate == "3D000"
    assert refused("df.start('a', transaction_mode => 'new')").sqlstate == "28000"


def test_superusers_start_only_where_the_setting_allows_it(
    database: Any, owner: psycopg.Connection[Any]
) -> None:
    """P6"""
    with database.connect("postgres") as superuser:
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as raised:
            superuser.execute("SELECT df.start('SELECT 1')")
        assert (
            raised.value.diag.message_primary
            == 'pg_durable: superuser instances are disabled. current_user "postgres" is a superuser, but'
            " pg_durable.enable_superuser_instances is off. Set pg_durable.enable_superuser_instances = on"
            " to allow this."
        )
        assert "df.settings" in str(raised.value.diag.message_hint)
        with owner.transaction(force_rollback=True):
            pass
        owner.execute("UPDATE df.settings SET value = 'on' WHERE name = 'enable_superuser_instances'")
        superuser.execute("SELECT df.start('SELECT 1')")
        owner.execute("UPDATE df.settings SET value = 'off' WHERE name = 'enable_superuser_instances'")


def test_no_role_but_the_owner_changes_settings(user: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        user.execute("UPDATE df.settings SET value = 'on' WHERE name = 'enable_superuser_instances'")
    user.execute(
        "SET pg_durable.enable_superuser_instances = on"
    )  # anybody can set anything; it has no effect
    assert user.execute("SELECT df.setting('enable_superuser_instances')").fetchone() == ("off",)


# --- identity


def test_set_role_counts(database: Any, user: psycopg.Connection[Any], role: str, ask: Any) -> None:
    """P6"""
    other = database.role("other")
    database.cluster.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(other), sql.Identifier(role)))
    mine = ask("df.start('SELECT 1')")
    user.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(other)))
    assert ask("df.status(%s)", mine) is None
    ask("df.start('SELECT 1')")
    assert instances(user, "submitted_by::text") == [(other,)]


def test_a_security_definer_wrapper_starts_as_its_owner(
    database: Any, owner: psycopg.Connection[Any], user: psycopg.Connection[Any], ask: Any
) -> None:
    """P6"""
    owner.execute(
        "CREATE FUNCTION public.wrapped() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT"
        " df.start('SELECT 1') $$"
    )
    made = ask("public.wrapped()")
    assert ask("df.status(%s)", made) is None
    found = owner.execute("SELECT submitted_by::text FROM df.instances WHERE id = %s", (made,)).fetchone()
    assert found == (database.owner,)


@pytest.mark.parametrize(
    "name", ["Mixed Case", 'quo"te', "it's", "semi;colon", "ünï", "select", "$1", "a\\b"]
)
def test_role_names_that_need_quoting(database: Any, name: str) -> None:
    """P6"""
    database.cluster.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)), database.name)
    try:
        database.grant_usage(name)
        with database.connect(name) as user:
            user.execute("SELECT df.setvar('v', 'x'), df.start('SELECT 1')")
            row = user.execute(
                "SELECT r.rolname, i.vars, df.getvar('v'), df.status(i.id) FROM df.instances i JOIN pg_roles"
                " r ON r.oid = i.submitted_by"
            ).fetchone()
            assert row == (name, {"v": "x"}, "x", "pending")
    finally:
        database.cluster.execute(
            sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(name)), database.name
        )


@pytest.mark.parametrize(
    "column",
    [
        "id",
        "submitted_by",
        "root_node",
        "status",
        "due",
        "worker",
        "epoch",
        "output",
        "completed_at",
        "created_at",
    ],
)
def test_identity_and_engine_columns_are_nobodys_to_write(
    user: psycopg.Connection[Any], ask: Any, column: str
) -> None:
    """E15"""
    ask("df.start('SELECT 1')")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        user.execute(f"INSERT INTO df.instances (program, {column}) SELECT hash, NULL FROM df.programs")
    if column != "status":
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            user.execute(f"UPDATE df.instances SET {column} = NULL")


# --- texts from outside are data

NASTY = [
    "'; DROP TABLE df.instances; --",
    "$$",
    "\\'",
    '"',
    "%s %I %L",
    "a\nb",
    "\u202e",
    "x" * 5000,
    "NULL",
    "{v} $v",
]


@pytest.mark.parametrize("text", NASTY)
def test_labels_names_and_values_are_data(user: psycopg.Connection[Any], ask: Any, text: str) -> None:
    ask("df.setvar(%s, %s)", text, text)
    assert ask("df.getvar(%s)", text) == text
    made = ask("df.start(df.wait_for_signal(%s), %s)", text, text)
    assert ask("df.signal(%s, %s, %s)", made, text, text) == "OK"
    assert instances(user, "label, vars") == [(text, {text: text})]
    for call in ("df.status(%s)", "df.result(%s)", "df.error(%s)"):
        assert ask(call, text) is None
    for call in ("df.cancel(%s)", "df.signal(%s, 'a')"):
        with pytest.raises(psycopg.errors.NoDataFound) as raised:
            ask(call, text)
        assert raised.value.diag.message_primary == f"Instance not found or access denied: {text}"


def test_idle_workers_are_woken_when_the_transaction_commits(
    database: Any, owner: psycopg.Connection[Any], user: psycopg.Connection[Any], ask: Any
) -> None:
    with database.connect() as listener:
        listener.execute("LISTEN df")
        ask("df.start('SELECT 1')")
        assert list(listener.notifies(timeout=0.2)) == []
        owner.execute(
            "INSERT INTO df._workers (name, host, pid, version, role, token_hash, backend_pid, idle)"
            " VALUES ('w', 'h', 1, '0', current_user::regrole, '', 0, true)"
        )
        ask("df.start('SELECT 1')")
        assert [note.payload for note in listener.notifies(timeout=10, stop_after=1)] == ["w"]
        owner.execute("DELETE FROM df._workers")
