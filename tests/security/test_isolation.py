"""What one role can do with another role's instances, and with its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg import errors

DENIED = errors.InsufficientPrivilege


@dataclass
class Pair:
    """Alice has a running instance with a journal; Bob is another granted role."""

    database: Any
    alice: str
    bob: str
    id: str

    def ask(self, role: str | None, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self.database.connect(role) as connection:
            cursor = connection.execute(query, parameters)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def pair(database: Any) -> Pair:
    alice, bob = database.role("alice"), database.role("bob")
    with database.connect(alice) as connection:
        connection.execute("SELECT df.setvar('secret', 'hers')")
        id = connection.execute(
            "SELECT df.start('SELECT 42' ~> df.wait_for_signal('go'), 'hers')"
        ).fetchone()[0]
    with database.connect() as owner:
        owner.execute("UPDATE df.instances SET status = 'running', epoch = 1, due = NULL")
        owner.execute(
            "INSERT INTO df.journal (instance_id, node, seq, state, value) VALUES"
            " (%(id)s, 1, 1, 'done', %(value)s), (%(id)s, 2, 2, 'waiting', 'go')",
            {"id": id, "value": '{"rows":[{"v":42}],"row_count":1}'},
        )
        owner.execute("INSERT INTO df.signals (instance_id, name, data) VALUES (%s, 'other', '1')", (id,))
    return Pair(database, alice, bob, id)


FOREIGN_READS = [
    "SELECT * FROM df.instances",
    "SELECT * FROM df.instances WHERE id = '{id}'",
    "SELECT * FROM df.nodes",
    "SELECT * FROM df.nodes WHERE instance_id = '{id}'",
    "SELECT * FROM df._nodes WHERE instance_id = '{id}'",
    "SELECT * FROM df.programs",
    "SELECT * FROM df.journal",
    "SELECT * FROM df.signals",
    "SELECT * FROM df.vars",
    "SELECT * FROM df.waiting",
    "SELECT * FROM df.instance_info('{id}')",
    "SELECT * FROM df.instance_nodes('{id}')",
    "SELECT * FROM df.instance_nodes('{id}', 1)",
    "SELECT * FROM df.instance_executions('{id}')",
    "SELECT * FROM df.list_instances()",
    "SELECT * FROM df.list_instances(NULL, 10, 'hers')",
    "SELECT 1 WHERE df.status('{id}') IS NOT NULL",
    "SELECT 1 WHERE df.result('{id}') IS NOT NULL",
    "SELECT 1 WHERE df.error('{id}') IS NOT NULL",
    "SELECT 1 WHERE df.getvar('secret') IS NOT NULL",
    "SELECT 1 WHERE df._node_value('{id}', 1) IS NOT NULL",
    "SELECT 1 FROM df._node_states('{id}', '[{{}}, {{\"p\":0}}]', true) WHERE status = 'completed'",
]


def test_p6_nobody_reads_anothers_instances(pair: Pair) -> None:
    for query in FOREIGN_READS:
        assert pair.ask(pair.bob, query.format(id=pair.id)) == [], query


def test_the_role_itself_reads_them(pair: Pair) -> None:
    for query in FOREIGN_READS:
        if query.startswith("SELECT *"):
            assert pair.ask(pair.alice, query.format(id=pair.id)) != [], query


def test_owner_superuser_and_bypassrls_see_all(pair: Pair) -> None:
    auditor = pair.database.role("auditor", "LOGIN BYPASSRLS")
    for table in ("instances", "nodes", "journal", "vars", "programs", "waiting"):
        for role in (None, "postgres", auditor):
            assert pair.ask(role, f"SELECT * FROM df.{table}") != [], (role, table)


@pytest.mark.parametrize("call", ["df.cancel(%s)", "df.signal(%s, 'go')"])
def test_acting_on_a_foreign_instance_is_like_acting_on_none(pair: Pair, call: str) -> None:
    told = []
    for id in (pair.id, "00000000"):
        with pytest.raises(psycopg.Error, match=f"Instance not found or access denied: {id}") as refused:
            pair.ask(pair.bob, f"SELECT {call}", id)
        diag = refused.value.diag
        told.append(
            (diag.sqlstate, str(diag.message_primary).replace(id, ""), diag.message_detail, diag.message_hint)
        )
    assert told[0] == told[1]
    assert pair.ask(None, "SELECT status FROM df.instances") == [("running",)]
    assert pair.ask(None, "SELECT count(*) FROM df.signals") == [(1,)]


def test_awaiting_a_foreign_instance_does_not_wait(pair: Pair) -> None:
    with pytest.raises(psycopg.Error, match=f"Instance not found: {pair.id}"):
        pair.ask(pair.bob, "SELECT df.await_instance(%s)", pair.id)


def test_updating_a_foreign_status_touches_no_row(pair: Pair) -> None:
    assert pair.ask(pair.bob, "UPDATE df.instances SET status = 'completed' RETURNING id") == []
    assert pair.ask(pair.bob, "UPDATE df.vars SET value = 'x' RETURNING name") == []
    assert pair.ask(pair.bob, "SELECT df.clearvars()") == [("OK",)]


def test_membership_is_not_enough_but_set_role_is(pair: Pair) -> None:
    pair.ask("postgres", f"GRANT {pair.alice} TO {pair.bob}")
    assert pair.ask(pair.bob, "SELECT id FROM df.instances") == []
    with pair.database.connect(pair.bob) as connection:
        connection.execute(f"SET ROLE {pair.alice}")
        assert connection.execute("SELECT id FROM df.instances").fetchall() == [(pair.id,)]
        assert connection.execute("SELECT count(*) FROM df.nodes").fetchone() == (3,)


def test_views_follow_set_role_inside_one_session(pair: Pair) -> None:
    with pair.database.connect("postgres") as connection:
        connection.execute(f"SET ROLE {pair.bob}")
        assert connection.execute("SELECT count(*) FROM df.nodes").fetchone() == (0,)
        connection.execute(f"SET ROLE {pair.alice}")
        assert connection.execute("SELECT count(*) FROM df.nodes").fetchone() == (3,)


class TestOwnRows:
    def test_the_status_may_be_written(self, pair: Pair) -> None:
        changed = pair.ask(
            pair.alice, "UPDATE df.instances SET status = 'failed', updated_at = now() RETURNING status"
        )
        assert changed == [("failed",)]

    def test_nothing_else_may(self, pair: Pair) -> None:
        columns = """id label root_node submitted_by database created_at completed_at program search_path vars
            output due worker epoch"""
        with pair.database.connect(pair.alice) as connection:
            for column in columns.split():
                with pytest.raises(DENIED):
                    connection.execute(f"UPDATE df.instances SET {column} = {column}")

    def test_rows_may_not_be_deleted(self, pair: Pair) -> None:
        tables = "instances programs journal signals _workers settings secrets receipts migrations"
        with pair.database.connect(pair.alice) as connection:
            for table in tables.split():
                for statement in ("DELETE FROM", "TRUNCATE"):
                    with pytest.raises(DENIED):
                        connection.execute(f"{statement} df.{table}")

    def test_identity_and_engine_columns_may_not_be_inserted(self, pair: Pair) -> None:
        values = {
            "id": "'0000000a'",
            "submitted_by": "'postgres'::regrole",
            "status": "'completed'",
            "output": "'x'",
            "created_at": "now()",
            "completed_at": "now()",
            "due": "now()",
            "epoch": "7",
            "worker": "1",
        }
        with pair.database.connect(pair.alice) as connection:
            for column, value in values.items():
                with pytest.raises(DENIED):
                    connection.execute(
                        f"INSERT INTO df.instances (program, {column}) SELECT hash, {value} FROM df.programs"
                    )

    def test_a_program_is_only_its_graph(self, pair: Pair) -> None:
        with pair.database.connect(pair.alice) as connection:
            for column in ("owner", "nodes", "code", "format", "created_at"):
                with pytest.raises(DENIED):
                    connection.execute(
                        f"INSERT INTO df.programs (hash, graph, {column}) VALUES ('', '', NULL)"
                    )

    def test_a_stored_program_is_what_was_validated_whatever_was_claimed(self, pair: Pair) -> None:
        graph = '{"node_type":"SQL","query":"SELECT 7"}'
        pair.ask(pair.alice, "INSERT INTO df.programs (hash, graph) VALUES ('forged', %s)", graph)
        assert pair.ask(pair.alice, "SELECT count(*) FROM df.programs WHERE hash = 'forged'") == [(0,)]
        with pytest.raises(psycopg.Error, match="Unknown node_type"):
            pair.ask(
                pair.alice, "INSERT INTO df.programs (hash, graph) VALUES ('x', '{\"node_type\":\"X\"}')"
            )

    def test_e15_df_nodes_is_read_only(self, pair: Pair) -> None:
        for statement in (
            "INSERT INTO df.nodes (id, instance_id, node_type) VALUES ('0000000a', '0000000a', 'SQL')",
            "UPDATE df.nodes SET query = 'SELECT 2'",
            "DELETE FROM df.nodes",
        ):
            with pytest.raises(psycopg.Error):
                pair.ask(pair.alice, statement)

    def test_the_journal_is_read_only(self, pair: Pair) -> None:
        for statement in (
            "INSERT INTO df.journal (instance_id, node, seq, state) VALUES ('00000000', 0, 0, 'done')",
            "UPDATE df.journal SET value = '1'",
        ):
            with pytest.raises(DENIED):
                pair.ask(pair.alice, statement)

    def test_signals_to_foreign_instances_are_refused_by_the_table_too(self, pair: Pair) -> None:
        with pytest.raises(DENIED, match="row-level security"):
            pair.ask(
                pair.bob, "INSERT INTO df.signals (instance_id, name, data) VALUES (%s, 'go', '1')", pair.id
            )

    @pytest.mark.parametrize("name", ["id", "sent_by", "sent_at"])
    def test_a_signal_cannot_be_signed_with_another_name(self, pair: Pair, name: str) -> None:
        with pytest.raises(psycopg.Error):
            pair.ask(
                pair.alice,
                f"INSERT INTO df.signals (instance_id, name, data, {name}) VALUES (%s, 'go', '1', NULL)",
                pair.id,
            )

    def test_variables_of_another_name_cannot_be_written(self, pair: Pair) -> None:
        with pytest.raises(DENIED):
            pair.ask(
                pair.bob,
                "INSERT INTO df.vars (owner, name, value) VALUES (%s::regrole, 'a', 'b')",
                pair.alice,
            )
        with pytest.raises(DENIED):
            pair.ask(pair.alice, "UPDATE df.vars SET owner = %s::regrole", pair.bob)

    def test_settings_are_the_owners(self, pair: Pair) -> None:
        for statement in (
            "UPDATE df.settings SET value = 'on' WHERE name = 'enable_superuser_instances'",
            "INSERT INTO df.settings VALUES ('x', 'y', 'z')",
            "SELECT * FROM df.settings",
        ):
            with pytest.raises(DENIED):
                pair.ask(pair.alice, statement)


def test_a_superusers_variables_are_its_own(pair: Pair) -> None:
    assert pair.ask("postgres", "SELECT df.getvar('secret')") == [(None,)]
    assert pair.ask("postgres", "SELECT df.clearvars()") == [("OK",)]
    assert pair.ask(pair.alice, "SELECT df.getvar('secret')") == [("hers",)]
