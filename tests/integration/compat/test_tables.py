"""The tables that dashboards read: columns in order, types, keys, checks, indexes, policies."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import errors

_COLUMNS = """
    SELECT a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
        || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
    FROM pg_attribute a WHERE a.attrelid = %s::regclass AND a.attnum > 0 ORDER BY a.attnum
"""
_TIME = "timestamp with time zone"

INSTANCES = [
    "id character varying(8) NOT NULL",
    "label text",
    "root_node character varying(8) NOT NULL",
    "status text",
    "submitted_by regrole NOT NULL",
    "database text",
    f"created_at {_TIME}",
    f"updated_at {_TIME}",
    f"completed_at {_TIME}",
]
NODES = [
    "id character varying(8)",
    "instance_id character varying(8)",
    "node_type text",
    "query text",
    "result_name text",
    "left_node character varying(8)",
    "right_node character varying(8)",
    "status text",
    "result jsonb",
    "error text",
    "submitted_by regrole",
    "database text",
    f"created_at {_TIME}",
    f"updated_at {_TIME}",
    "status_details jsonb",
]
VARS = ["name text NOT NULL", "value text", "owner regrole NOT NULL"]
EPOCH = ["epoch_id uuid", f"started_at {_TIME}", f"last_seen_at {_TIME}"]


def ask(database: Any, query: str, *values: Any) -> list[Any]:
    with database.connect() as owner:
        return [row[0] for row in owner.execute(query, values or None)]


@pytest.mark.parametrize(
    ("relation", "columns"), [("df.nodes", NODES), ("df.vars", VARS), ("df._worker_epoch", EPOCH)]
)
def test_columns_are_the_documented_ones(database: Any, relation: str, columns: list[str]) -> None:
    assert ask(database, _COLUMNS, relation) == columns


def test_instances_begin_with_the_documented_columns(database: Any) -> None:
    """The engine's own columns come after them, where SELECT by name does not notice."""
    assert ask(database, _COLUMNS, "df.instances")[: len(INSTANCES)] == INSTANCES


def test_defaults_are_the_documented_ones(database: Any) -> None:
    found = ask(
        database,
        "SELECT a.attname || ' ' || pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d"
        " JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum"
        " WHERE d.adrelid = 'df.instances'::regclass AND a.attname IN ('status', 'created_at', 'updated_at')"
        " ORDER BY a.attnum",
    )
    assert found == ["status 'pending'::text", "created_at now()", "updated_at now()"]


def test_constraints_have_the_documented_names(database: Any) -> None:
    found = ask(
        database,
        "SELECT conname FROM pg_constraint WHERE conrelid IN ('df.instances'::regclass, 'df.vars'::regclass)",
    )
    assert {
        "instances_pkey",
        "instances_identity_key",
        "instances_id_format_chk",
        "instances_root_node_format_chk",
        "instances_status_chk",
        "vars_pkey",
    } <= set(found)


def test_indexes_are_the_documented_ones(database: Any) -> None:
    found = ask(
        database,
        "SELECT regexp_replace(indexdef, '^.* USING btree ', indexname || ' ') FROM pg_indexes"
        " WHERE schemaname = 'df' AND (indexname LIKE 'idx\\_%%' OR indexname ~ 'pkey|identity')"
        " AND tablename IN ('instances', 'vars') ORDER BY 1",
    )
    assert found == [
        "idx_instances_created_at (created_at DESC, id)",
        "idx_instances_label (label, created_at DESC, id) WHERE (label IS NOT NULL)",
        "idx_instances_status (status, created_at DESC, id)",
        "instances_identity_key (id, submitted_by)",
        "instances_pkey (id)",
        "vars_pkey (owner, name)",
    ]


@pytest.mark.parametrize("table", ["instances", "vars"])
def test_one_policy_isolates_each_table(database: Any, table: str) -> None:
    found = ask(
        database,
        "SELECT policyname || ' ' || cmd || ' ' || roles::text || ' ' || (qual = with_check)::text"
        " FROM pg_policies WHERE schemaname = 'df' AND tablename = %s",
        table,
    )
    assert found == [f"{table}_user_isolation ALL {{public}} true"]


def test_row_level_security_is_enabled_and_not_forced(database: Any) -> None:
    """On every table, whoever made it: a new one must not be open by accident."""
    unprotected = ask(
        database,
        "SELECT relname FROM pg_class WHERE relnamespace = 'df'::regnamespace AND relkind IN ('r', 'p')"
        " AND (NOT relrowsecurity OR relforcerowsecurity)",
    )
    assert unprotected == []


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO df.nodes (id, instance_id, node_type) VALUES ('00000000', 'aaaaaaaa', 'SQL')",
        "UPDATE df.nodes SET query = 'x'",
        "DELETE FROM df.nodes",
    ],
)
def test_nodes_are_read_only(database: Any, statement: str) -> None:
    """E15."""
    role = database.role()
    refusals = (errors.ObjectNotInPrerequisiteState, errors.InsufficientPrivilege)
    with database.connect(role) as user, pytest.raises(refusals):
        user.execute(statement)


def test_joining_nodes_looks_at_the_joined_instances_only(database: Any) -> None:
    """A dashboard's join must not derive the nodes of every instance there ever was."""
    role = database.role()
    with database.connect(role) as user:
        if user.info.server_version < 150000:
            pytest.skip("views of PostgreSQL 14 cannot ask as their user")
        plan = user.execute(
            "EXPLAIN SELECT n.status FROM df.nodes n JOIN df.instances i ON i.id = n.instance_id"
            " WHERE i.label = 'nightly'"
        ).fetchall()
    assert not [line for (line,) in plan if "Subquery Scan" in line]


@pytest.mark.parametrize(
    "columns", ["id", "root_node", "submitted_by", "status", "created_at", "completed_at", "output", "epoch"]
)
def test_no_role_names_a_column_that_carries_identity_or_state(database: Any, columns: str) -> None:
    role = database.role()
    with database.connect(role) as user, pytest.raises(errors.InsufficientPrivilege):
        user.execute(f"INSERT INTO df.instances ({columns}) VALUES (DEFAULT)")


def test_administrators_select_everything_of_workers(database: Any) -> None:
    admin = database.role(with_grant=True)
    with database.connect(admin) as user:
        shown = [column.name for column in user.execute("SELECT * FROM df.workers").description or ()]
    assert {"host", "pid", "version", "heartbeat", "running", "started_at"} <= set(shown)
    assert not any("token" in name for name in shown)
