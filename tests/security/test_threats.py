"""The threat table, attempt by attempt.

What concerns outbound HTTP is tested beside the policy, in tests/integration/http and tests/unit/runtime;
forged rows and identities in test_isolation.py and test_identity.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import errors

from durasql.errors import SchemaMissing
from durasql.store.install import install

DENIED = errors.InsufficientPrivilege


@pytest.fixture
def run(database: Any, worker_process: Callable[..., Any]) -> Callable[..., tuple[str, Any]]:
    """`run(role, step)` has a worker that serves all execute one SQL step: (status, rows or error)."""
    server = database.role("server", grant=False)
    with database.connect() as owner:
        owner.execute("SELECT df.grant_worker(%s)", (server,))
    worker_process(server)

    def one(role: str, step: str) -> tuple[str, Any]:
        with database.connect(role) as connection:
            id = connection.execute("SELECT df.start(df.sql(%s))", (step,)).fetchone()[0]
            status = connection.execute("SELECT df.await_instance(%s, 60)", (id,)).fetchone()[0]
            found = connection.execute(
                "SELECT result, error FROM df.nodes WHERE instance_id = %s AND left_node IS NULL", (id,)
            ).fetchone()
        return status, found[1] if status == "failed" else found[0]["rows"]

    return one


class TestP6StepsRunAsTheirRole:
    """A step's session was opened as the submitter; there is nothing to fall back to."""

    @pytest.mark.parametrize(
        "escape",
        [
            "RESET ROLE",
            "RESET SESSION AUTHORIZATION",
            "SET SESSION AUTHORIZATION DEFAULT",
            "SET ROLE NONE",
            "DO $$ BEGIN EXECUTE 'RESET ROLE'; END $$",
            "SELECT set_config('role', 'none', false)",
        ],
    )
    def test_going_back_leads_nowhere(self, database: Any, run: Any, escape: str) -> None:
        role = database.role()
        status, rows = run(role, f"{escape}; SELECT current_user::text AS c, session_user::text AS s")
        assert (status, rows) == ("completed", [{"c": role, "s": role}])

    def test_becoming_somebody_else_is_refused(self, database: Any, run: Any) -> None:
        role, stronger = database.role(), database.role("stronger")
        for attempt in (
            f"SET ROLE {stronger}",
            f"SET SESSION AUTHORIZATION {stronger}",
            f"SET ROLE {database.owner}",
            f"DO $$ BEGIN EXECUTE 'SET SESSION AUTHORIZATION {database.owner}'; END $$",
            f"SELECT set_config('session_authorization', '{stronger}', false)",
        ):
            status, error = run(role, attempt)
            assert status == "failed", attempt
            assert "permission denied" in error

    def test_a_role_set_in_one_step_is_gone_in_the_next(self, database: Any, run: Any) -> None:
        role, group = database.role(), database.role("team")
        database.cluster.execute(f"GRANT {group} TO {role}")
        assert run(role, f"SET ROLE {group}; SELECT current_user::text AS c")[1] == [{"c": group}]
        assert run(role, "SELECT current_user::text AS c")[1] == [{"c": role}]

    def test_a_step_cannot_write_the_journal_or_other_instances(self, database: Any, run: Any) -> None:
        role = database.role()
        for attempt in (
            "UPDATE df.journal SET value = '1'",
            "INSERT INTO df.journal (instance_id, node, seq, state) VALUES ('00000000', 0, 0, 'done')",
            "UPDATE df.instances SET output = 'x'",
            "DELETE FROM df.instances",
            "SELECT token_hash FROM df._workers",
        ):
            status, error = run(role, attempt)
            assert (status, "permission denied" in error) == ("failed", True), attempt

    def test_a_step_cannot_record_without_the_workers_secret(self, database: Any, run: Any) -> None:
        role = database.role()
        for call in (
            "df._heartbeat(1, 'guess', true, 0)",
            "df._claim(1, 'guess', 10)",
            "df._reap(1, 'guess')",
        ):
            status, error = run(role, f"SELECT {call}")
            assert (status, "is not registered" in error) == ("failed", True), call

    def test_a_step_sees_only_its_roles_instances(self, database: Any, run: Any) -> None:
        one, other = database.role(), database.role()
        run(one, "SELECT 'private'")
        query = "SELECT (SELECT count(*) FROM df.nodes) AS n, (SELECT count(*) FROM df.journal) AS j"
        assert run(other, query) == ("completed", [{"n": 1, "j": 0}])

    def test_privileges_are_judged_when_the_step_runs(self, database: Any, run: Any) -> None:
        rich, poor = database.role(), database.role()
        database.cluster.execute(f"CREATE SCHEMA vault AUTHORIZATION {rich}", database.name)
        with database.connect(rich) as connection:
            connection.execute("CREATE TABLE vault.gold AS SELECT 1 AS coin")
            assert run(poor, "SELECT * FROM vault.gold")[0] == "failed"
            connection.execute(f"GRANT USAGE ON SCHEMA vault TO {poor}; GRANT SELECT ON vault.gold TO {poor}")
        assert run(poor, "SELECT * FROM vault.gold") == ("completed", [{"coin": 1}])

    def test_search_path_of_the_starter_cannot_shadow_the_engine(self, database: Any, run: Any) -> None:
        """Functions of the same names in a schema of the role's own change nothing about recording."""
        role = database.role()
        database.cluster.execute(f"CREATE SCHEMA trap AUTHORIZATION {role}", database.name)
        with database.connect(role) as connection:
            for name in (
                "clock_timestamp()",
                "sha256(bytea)",
                "quote_ident(name)",
                "set_config(text, text, boolean)",
            ):
                connection.execute(
                    f"CREATE FUNCTION trap.{name} RETURNS text LANGUAGE plpgsql"
                    " AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$"
                )
            connection.execute("SET search_path = trap, pg_catalog, public")
            id = connection.execute("SELECT df.start('SELECT 1')").fetchone()[0]
            assert connection.execute("SELECT df.await_instance(%s, 60)", (id,)).fetchone() == ("completed",)
            for query in (
                "SELECT count(*) FROM df.nodes",
                "SELECT df.explain('SELECT 1')",
                "SELECT count(*) FROM df.list_instances()",
                "SELECT count(*) FROM df.list_instances(NULL, 1, NULL)",
                "SELECT df.setvar('a', 'b')",
            ):
                connection.execute(query)


def test_a_roles_own_worker_gets_only_its_instances(database: Any) -> None:
    mine, other = database.role(), database.role()
    with database.connect(other) as connection:
        connection.execute("SELECT df.start('SELECT 1')")
    with database.connect(mine) as connection:
        worker = connection.execute("SELECT df._hello('w', 'h', 1, '0', 'token')").fetchone()[0]
        assert connection.execute("SELECT id FROM df._claim(%s, 'token', 10)", (worker,)).fetchall() == []
        connection.execute("SELECT df.start('SELECT 2')")
        assert len(connection.execute("SELECT id FROM df._claim(%s, 'token', 10)", (worker,)).fetchall()) == 1


def test_anothers_worker_cannot_be_impersonated(database: Any) -> None:
    """Neither with its number and a guessed token, nor with the right token from another role's session."""
    mine, other = database.role(), database.role()
    with database.connect(mine) as connection, database.connect(other) as thief:
        worker = connection.execute("SELECT df._hello('w', 'h', 1, '0', 'token')").fetchone()[0]
        with pytest.raises(psycopg.Error, match="is not registered"):
            thief.execute("SELECT df._claim(%s, 'guess', 10)", (worker,))
        with pytest.raises(DENIED, match="belongs to another role"):
            thief.execute("SELECT df._claim(%s, 'token', 10)", (worker,))


def test_owner_functions_cannot_be_hung_on_a_table_of_ones_own(database: Any) -> None:
    """A trigger function acts with its owner's rights on whatever row it is given."""
    with database.connect(database.role()) as connection:
        connection.execute("CREATE TEMP TABLE t (id text, status text, epoch bigint, due text, worker int)")
        for function in ("_on_cancel", "_on_signal", "_before_program"):
            with pytest.raises(DENIED):
                connection.execute(
                    f"CREATE TRIGGER x BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION df.{function}()"
                )


def test_sql_through_a_result_name(database: Any) -> None:
    names = ["a b", "1a", "", "a'; DROP TABLE df.vars; --", 'a"', "ä", "a.b", "a\nb"]
    with database.connect(database.role()) as connection:
        for name in names:
            with pytest.raises(errors.InvalidName, match="result name"):
                connection.execute("SELECT df.as('SELECT 1', %s)", (name,))
            graph = {"node_type": "SQL", "query": "SELECT 1", "result_name": name}
            with pytest.raises(psycopg.Error):
                connection.execute("SELECT df.start(%s)", (json.dumps(graph),))
        assert connection.execute("SELECT count(*) FROM df.instances").fetchone() == (0,)


HOSTILE = "it's'); DROP TABLE df.instances; --"


@pytest.mark.parametrize(
    "call",
    [
        "df.start('SELECT 1', %(x)s)",
        "df.status(%(x)s)",
        "df.result(%(x)s)",
        "df.error(%(x)s)",
        "df.explain(%(x)s)",
        "df.setvar(%(x)s, %(x)s)",
        "df.getvar(%(x)s)",
        "df.unsetvar(%(x)s)",
        "df.instance_info(%(x)s)",
        "df.instance_nodes(%(x)s)",
        "df.instance_executions(%(x)s)",
        "df.list_instances(%(x)s)",
        "df.list_instances(%(x)s, 1, %(x)s)",
        "df.sql(%(x)s)",
        "df.break(%(x)s)",
        "df.wait_for_signal(%(x)s)",
    ],
)
def test_text_is_never_executed_as_sql(database: Any, call: str) -> None:
    with database.connect(database.role()) as connection:
        connection.execute(f"SELECT {call}", {"x": HOSTILE})
        connection.execute("SELECT count(*) FROM df.instances")


@pytest.mark.parametrize(
    "call",
    [
        "df.start('SELECT 1', database => %(x)s)",
        "df.start('SELECT 1', transaction_mode => %(x)s)",
        "df.cancel(%(x)s)",
        "df.signal(%(x)s, 'go')",
        "df.await_instance(%(x)s)",
        "df.wait_for_schedule(%(x)s)",
        "df.wait_for_schedule('* * * * *', %(x)s)",
        "df.as('SELECT 1', %(x)s)",
        "df.list_instances(NULL, 1, NULL, %(x)s)",
    ],
)
def test_hostile_arguments_are_refused(database: Any, call: str) -> None:
    with database.connect(database.role()) as connection:
        with pytest.raises(psycopg.Error) as refused:
            connection.execute(f"SELECT {call}", {"x": HOSTILE})
        assert not isinstance(refused.value, errors.SyntaxError | errors.UndefinedTable)
        assert connection.execute("SELECT count(*) FROM df.instances").fetchone() == (0,)


def test_objects_made_before_the_installation_are_not_adopted(empty_database: str) -> None:
    """A schema df that is there already may hold traps; the installer refuses it."""
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA df")
        connection.execute(
            "CREATE FUNCTION df.setting(text) RETURNS text LANGUAGE sql AS $$ SELECT 'trap' $$"
        )
    with pytest.raises(SchemaMissing):
        install(empty_database)


def test_anybody_may_notify_but_nothing_follows(database: Any, run: Any) -> None:
    """NOTIFY cannot be restricted: workers treat a notification as a hint and look for themselves."""
    role, other = database.role(), database.role()
    with database.connect(role) as connection, database.connect(other) as stranger:
        id = connection.execute("SELECT df.start(df.sql('SELECT pg_sleep(0.5)'))").fetchone()[0]
        for payload in (f"c:{id}", f"s:{id}", "w", "", "c:", "x" * 7000, "c:zzzzzzzz"):
            stranger.execute("SELECT pg_notify('df', %s)", (payload,))
        assert connection.execute("SELECT df.await_instance(%s, 60)", (id,)).fetchone() == ("completed",)


def test_graph_bombs_are_refused_quickly(database: Any) -> None:
    step = '{"node_type":"SQL","query":"x"}'
    deep = '{"node_type":"LOOP","left_node":' * 20_000 + step + "}" * 20_000
    wide = (
        f'{{"node_type":"JOIN","left_node":{step},"right_node":{step},"extra_nodes":['
        + ",".join([step] * 10_000)
        + "]}"
    )
    with database.connect(database.role()) as connection:
        for graph, limit in ((deep, "maximum nesting depth of 256"), (wide, "maximum node count of 10000")):
            with pytest.raises(psycopg.Error, match=limit):
                connection.execute("SELECT df.start(%s)", (graph,))
        assert connection.execute("SELECT count(*) FROM df.programs").fetchone() == (0,)
