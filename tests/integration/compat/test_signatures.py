"""Every documented function: its exact name, argument names, defaults, result and strictness.

The table is written from the documentation of the compatible API, not from the schema; the golden file beside
it is written from the schema, so that a changed or new function shows up in review.
"""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import errors
from syrupy.assertion import SnapshotAssertion

_NULL_TEXT = "DEFAULT NULL::text"
_NULL_JSONB = "DEFAULT NULL::jsonb"
_HTTP = f"headers jsonb {_NULL_JSONB}, timeout_seconds integer DEFAULT 30) -> text"
_LISTED = "instance_id text, label text, function_name text, status text, execution_count bigint, output text"

DOCUMENTED = (
    # building workflows
    "sql(query text) -> text strict",
    "seq(a text, b text) -> text strict",
    "as(fut text, name text) -> text strict",
    "sleep(seconds bigint) -> text strict",
    # pg_durable has its first two arguments
    f"loop(body text, condition text {_NULL_TEXT}, continue_on_failure boolean DEFAULT false) -> text",
    f"break(value text {_NULL_TEXT}) -> text",
    "if(condition text, then_branch text, else_branch text) -> text strict",
    "if_rows(result_name text, then_branch text, else_branch text) -> text strict",
    "join(a text, b text) -> text strict",
    "join3(a text, b text, c text) -> text strict",
    "race(a text, b text) -> text strict",
    f"http(url text, method text DEFAULT 'POST'::text, body text {_NULL_TEXT}, {_HTTP}",
    f"http_multipart(url text, method text DEFAULT 'POST'::text, parts jsonb {_NULL_JSONB}, {_HTTP}",
    "wait_for_signal(name text, timeout_seconds integer DEFAULT NULL::integer) -> text",
    # behind the operators
    "as_op(fut text, name text) -> text immutable",
    "if_then_op(condition text, then_branch text) -> text immutable",
    "if_else_op(partial_if text, else_branch text) -> text immutable",
    "loop_prefix_op(body text) -> text immutable",
    # starting and controlling
    "status(instance_id text) -> text strict",
    "result(instance_id text) -> text strict",
    "cancel(instance_id text, reason text DEFAULT 'Cancelled by user'::text) -> text strict",
    "signal(instance_id text, signal_name text, signal_data text DEFAULT '{}'::text) -> text strict",
    "await_instance(instance_id text, timeout_seconds integer DEFAULT 30) -> text strict",
    "wait_for_completion(instance_id text, timeout_seconds integer DEFAULT 30) -> text strict",
    f"run(instance_id text {_NULL_TEXT}) -> text",
    "version() -> text",
    "target_database() -> text immutable parallel safe",
    "explain(input text) -> text strict",
    # variables
    "setvar(name text, value text) -> text strict",
    "getvar(name text) -> text strict",
    "unsetvar(name text) -> text strict",
    # privileges
    "grant_usage(p_role text, include_http boolean DEFAULT false, with_grant boolean DEFAULT false) -> void",
    "revoke_usage(p_role text) -> void",
)

# These read with the snapshot of the calling statement, so that one answer never mixes two moments.
READING = (
    f"list_instances(status_filter text {_NULL_TEXT}, limit_count integer DEFAULT 100) -> TABLE({_LISTED})",
    "list_instances(status_filter text, limit_count integer, label_filter text,"
    f" after_cursor text {_NULL_TEXT}) -> TABLE({_LISTED}, created_at timestamp with time zone,"
    " completed_at timestamp with time zone, next_cursor text)",
    "instance_info(instance_id text) -> TABLE(instance_id text, label text, function_name text,"
    " function_version text, current_execution_id bigint, status text, output text) strict",
    "instance_executions(instance_id text, limit_count integer DEFAULT 5) -> TABLE(execution_id bigint,"
    " status text, event_count bigint, duration_ms bigint, output text) strict",
    "instance_nodes(instance_id_param text) -> TABLE(node_id text, node_type text, query text,"
    " result_name text, left_node text, right_node text, status text, result text, status_details text,"
    " inferred_status text, inferred_status_from_ancestor_id text, updated_at timestamp with time zone)"
    " strict",
    "instance_nodes(instance_id_param text, _last_n_executions integer) -> TABLE(execution_id bigint,"
    " node_id text, node_type text, query text, result_name text, left_node text, right_node text,"
    " status text, result text, updated_at timestamp with time zone) strict",
    "metrics() -> TABLE(total_instances bigint, running_instances bigint, completed_instances bigint,"
    " failed_instances bigint, total_executions bigint, total_events bigint)",
)

# Documented as STRICT and without arguments, or with arguments of ours behind them (L13).
OURS = (
    # four documented arguments, then what the run does about failures
    f"start(fut text, label text {_NULL_TEXT}, database text {_NULL_TEXT},"
    " transaction_mode text DEFAULT 'caller'::text, max_attempts integer DEFAULT NULL::integer,"
    f" backoff text {_NULL_TEXT}, max_backoff text {_NULL_TEXT}, on_failure text {_NULL_TEXT},"
    f" timeout text {_NULL_TEXT}, key text {_NULL_TEXT}, on_conflict text {_NULL_TEXT}) -> text",
    "clearvars() -> text",
    f"wait_for_schedule(cron_expr text, timezone text {_NULL_TEXT}) -> text",
)

_CATALOGUE = """
    SELECT proname || '(' || pg_get_function_arguments(oid) || ') -> ' || pg_get_function_result(oid)
        || CASE WHEN proisstrict THEN ' strict' ELSE '' END
        || CASE provolatile WHEN 'i' THEN ' immutable' WHEN 's' THEN ' stable' ELSE '' END
        || CASE proparallel WHEN 's' THEN ' parallel safe' ELSE '' END
    FROM pg_proc WHERE pronamespace = 'df'::regnamespace AND proname !~ '^_' ORDER BY 1
"""


@pytest.fixture(scope="module")
def catalogue(database: Any) -> list[str]:
    with database.connect() as owner:
        return [row[0] for row in owner.execute(_CATALOGUE)]


@pytest.mark.parametrize("signature", DOCUMENTED + OURS)
def test_a_documented_function_is_there_as_documented(catalogue: list[str], signature: str) -> None:
    assert signature in catalogue


@pytest.mark.parametrize("signature", READING)
def test_a_monitoring_function_is_there_as_documented(catalogue: list[str], signature: str) -> None:
    strict = " strict" if signature.endswith(" strict") else ""
    assert signature.removesuffix(" strict") + strict + " stable" in catalogue


def test_overloads_are_the_documented_ones_only(catalogue: list[str]) -> None:
    names = [signature.split("(")[0] for signature in catalogue]
    assert {name for name in names if names.count(name) > 1} == {"list_instances", "instance_nodes"}


def test_nothing_runs_with_more_rights_than_documented(database: Any) -> None:
    with database.connect() as owner:
        found = owner.execute(
            "SELECT array_agg(proname::text ORDER BY 1) FROM pg_proc"
            " WHERE pronamespace = 'df'::regnamespace AND proname !~ '^_' AND prosecdef"
        ).fetchone()
    assert found == (["metrics", "prune", "setting"],)


@pytest.mark.parametrize("name", ["debug_connection()", "ensure_durofut('a')", "duroxide_schema()"])
def test_what_must_not_exist_does_not(database: Any, name: str) -> None:
    with database.connect() as owner, pytest.raises(errors.UndefinedFunction):
        owner.execute(f"SELECT df.{name}")


def test_every_function_of_the_schema(catalogue: list[str], snapshot: SnapshotAssertion) -> None:
    assert "\n".join(catalogue) == snapshot
