"""Scripts as users of psql paste them, with ON_ERROR_STOP: they start, wait, look, signal and cancel."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import sql


@pytest.fixture(scope="module")
def role(database: Any, worker: Any) -> str:
    """A role whose instances are run."""
    name: str = database.role()
    database.cluster.execute(f"GRANT CREATE ON SCHEMA public TO {name}", database.name)
    worker(name)
    return name


def lines(database: Any, role: str, script: str) -> list[str]:
    shown: str = database.psql(script, role)
    return shown.splitlines()


def test_start_await_result_explain(database: Any, role: str) -> None:
    shown = lines(
        database,
        role,
        r"""
        SELECT df.start('SELECT 1 AS answer', 'first') AS id \gset
        SELECT df.await_instance(:'id');
        SELECT df.status(:'id'), df.result(:'id');
        SELECT replace(df.explain(:'id'), :'id', 'ID');
        """,
    )
    assert shown == [
        "completed",
        'completed|{"rows": [{"answer": 1}], "row_count": 1}',
        "Instance: ID (first)",
        "Status:   ✓ Completed",
        'Output:   {"rows":[{"answer":1}],"row_count":1}',
        "",
        "SQL: SELECT 1 AS answer ✓    ",
    ]


def test_the_shown_failure_says_where_it_stopped(database: Any, role: str) -> None:
    """The worked example of a failed instance, to the character."""
    shown = lines(
        database,
        role,
        r"""
        SELECT df.start('SELECT 1/0' ~> 'SELECT 42') AS id \gset
        SELECT df.await_instance(:'id');
        SELECT replace(df.explain(:'id'), :'id', 'a1b2c3d4');
        SELECT df.result(:'id') IS NULL, df.error(:'id');
        """,
    )
    assert shown == [
        "failed",
        "Instance: a1b2c3d4",
        "Status:   ✗ Failed",
        "Output:   SQL execution failed: error returned from database: divis...",
        "",
        "SQL: SELECT 1/0 ✗     ",
        "→ SQL: SELECT 42 ⊘    ",
        "t|SQL execution failed: error returned from database: division by zero",
    ]


def test_a_function_and_a_do_block_start_workflows(database: Any, role: str) -> None:
    """E14: variables and start in one DO block; a function's caller need not know the graph."""
    shown = lines(
        database,
        role,
        r"""
        CREATE TABLE started (id text);
        CREATE FUNCTION launch(n int) RETURNS text LANGUAGE plpgsql AS $$
        BEGIN
            RETURN df.start(format('SELECT %s AS n', n) |=> 'x' ~> 'SELECT $x + 1 AS m', 'launch-' || n);
        END $$;
        DO $$
        BEGIN
            PERFORM df.setvar('tail', '7');
            INSERT INTO started VALUES (df.start('SELECT {tail} AS n')), (launch(1));
        END $$;
        SELECT df.await_instance(id) FROM started;
        SELECT df.result(id) FROM started ORDER BY 1;
        SELECT label, status FROM df.instances WHERE label = 'launch-1';
        """,
    )
    assert shown == [
        "completed",
        "completed",
        '{"rows": [{"m": 2}], "row_count": 1}',
        '{"rows": [{"n": 7}], "row_count": 1}',
        "launch-1|completed",
    ]


def test_only_what_commits_runs(database: Any, role: str) -> None:
    """P5: the caller's transaction decides, savepoints included."""
    shown = lines(
        database,
        role,
        r"""
        BEGIN;
        SELECT df.start('SELECT 1', 'kept') AS kept \gset
        SAVEPOINT s;
        SELECT df.start('SELECT 2', 'gone') AS gone \gset
        ROLLBACK TO s;
        COMMIT;
        SELECT df.await_instance(:'kept'), df.status(:'gone') IS NULL;
        """,
    )
    assert shown == ["completed|t"]


def test_temporary_tables_stay_in_their_session(database: Any, role: str) -> None:
    shown = lines(
        database,
        role,
        r"""
        CREATE TEMP TABLE mine (a int);
        SELECT df.start('SELECT * FROM mine') AS id \gset
        SELECT df.await_instance(:'id');
        SELECT df.error(:'id');
        """,
    )
    assert shown == [
        "failed",
        'SQL execution failed: error returned from database: relation "mine" does not exist',
    ]


def test_steps_find_what_the_starters_search_path_finds(database: Any, role: str) -> None:
    """E11."""
    database.cluster.execute(f"CREATE SCHEMA shop AUTHORIZATION {role}", database.name)
    shown = lines(
        database,
        role,
        r"""
        CREATE TABLE shop.orders AS SELECT 5 AS n;
        SET search_path = shop, public;
        SELECT df.start('SELECT n FROM orders') AS id \gset
        RESET search_path;
        SELECT df.await_instance(:'id'), df.result(:'id');
        """,
    )
    assert shown == ['completed|{"rows": [{"n": 5}], "row_count": 1}']


def test_a_definer_function_starts_as_its_owner(database: Any, role: str) -> None:
    """The caller neither becomes the owner's steps nor sees the instance."""
    caller = database.role()
    database.psql(
        "CREATE FUNCTION as_owner() RETURNS text LANGUAGE sql SECURITY DEFINER"
        " AS $$ SELECT df.start('SELECT current_user AS u') $$",
        role,
    )
    (id,) = lines(database, caller, "SELECT as_owner()")
    assert lines(database, caller, f"SELECT df.status('{id}') IS NULL") == ["t"]
    assert lines(database, role, f"SELECT df.await_instance('{id}'), df.result('{id}')") == [
        f'completed|{{"rows": [{{"u": "{role}"}}], "row_count": 1}}'
    ]


def test_signals_and_cancelling_from_psql(database: Any, role: str) -> None:
    shown = lines(
        database,
        role,
        r"""
        SELECT df.start(df.wait_for_signal('go') |=> 'sig' ~> 'SELECT $sig.data AS d') AS id \gset
        SELECT df.signal(:'id', 'go', '{"by":"me"}');
        SELECT df.await_instance(:'id');
        SELECT df.result(:'id');
        SELECT df.start(df.sleep(600), 'long') AS id \gset
        SELECT replace(df.cancel(:'id', 'enough'), :'id', 'ID');
        SELECT replace(df.cancel(:'id'), :'id', 'ID');
        SELECT status, output FROM df.instance_info(:'id');
        SELECT status, output FROM df.list_instances('cancelled', 5, 'long');
        """,
    )
    assert shown == [
        "OK",
        "completed",
        '{"rows": [{"d": "{\\"by\\":\\"me\\"}"}], "row_count": 1}',
        "Instance ID cancelled: enough",
        "Instance ID cancelled: Cancelled by user",
        "cancelled|canceled: enough",
        "cancelled|canceled: enough",
    ]


def test_describing_the_schema_in_psql(database: Any, role: str) -> None:
    for command in (r"\d df.instances", r"\d df.nodes", r"\df df.start", r"\dt df.*", r"\dp df.*", r"\do ~>"):
        assert lines(database, role, command)


@pytest.mark.parametrize("name", ["Mixed Case", 'a"quote', "SELECT", "ünïcode", "x'y"])
def test_roles_whose_names_need_quoting(database: Any, worker: Any, name: str) -> None:
    name = f"{name} {database.name}"
    superuser = database.cluster.execute
    superuser(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
    try:
        database.grant_usage(name)
        worker(name)
        with database.connect(name) as user:
            id = _one(user, "SELECT df.start('SELECT current_user::text AS me')")
            assert _one(user, "SELECT df.await_instance(%s)", id) == "completed"
            assert _one(user, "SELECT df.result(%s)::jsonb->'rows'->0->>'me'", id) == name
            assert _one(
                user, "SELECT submitted_by::oid::regrole = quote_ident(%s)::regrole FROM df.nodes", name
            )
            assert _one(user, "SELECT df.setvar('a', 'b') || df.getvar('a')") == "OKb"
    finally:
        database.cluster.execute(sql.SQL("DROP OWNED BY {0}").format(sql.Identifier(name)), database.name)


def _one(connection: psycopg.Connection[Any], query: str, *values: Any) -> Any:
    row = connection.execute(query, values or None).fetchone()  # type: ignore[arg-type]
    return row[0] if row else None


def test_nothing_but_looking_is_needed_in_a_read_only_transaction(database: Any, role: str) -> None:
    """Dashboards on standbys and in READ ONLY sessions."""
    with database.connect(role) as user:
        id = _one(user, "SELECT df.start('SELECT 1' ~> df.sleep(600))")
        user.execute("BEGIN READ ONLY")
        for looking in (
            f"df.status('{id}')",
            f"df.explain('{id}')",
            "df.explain($$'a' ~> 'b'$$)",
            "'a' ~> 'b'",
            "(SELECT count(*) FROM df.list_instances(NULL, 10, NULL))",
            f"(SELECT count(*) FROM df.instance_nodes('{id}'))",
            f"(SELECT count(*) FROM df.nodes WHERE instance_id = '{id}')",
            f"(SELECT count(*) FROM df.instance_executions('{id}'))",
            "(SELECT count(*) FROM df.waiting)",
        ):
            assert _one(user, f"SELECT {looking}") is not None, looking
        user.execute("COMMIT")
