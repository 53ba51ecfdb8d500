"""Variables: per role, transactional, frozen by df.start; and what a running step may not call."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest


def test_variables(user: psycopg.Connection[Any], ask: Any) -> None:
    assert [
        ask(f"df.{call}") for call in ("setvar('a', '1')", "setvar('a', '2')", "getvar('a')", "getvar('b')")
    ] == ["OK", "OK", "2", None]
    assert ask("df.setvar('a', NULL)") is None and ask("df.getvar('a')") == "2"
    assert [
        ask(f"df.{call}") for call in ("unsetvar('a')", "unsetvar('a')", "getvar('a')", "clearvars()")
    ] == ["OK", "OK", None, "OK"]
    with user.transaction(force_rollback=True):
        ask("df.setvar('c', '1')")
    assert ask("df.getvar('c')") is None


def test_variables_are_the_roles_own_even_for_superusers(
    database: Any, ask: Any, user: psycopg.Connection[Any]
) -> None:
    ask("df.setvar('shared', 'mine')")
    with database.connect("postgres") as superuser:
        assert superuser.execute("SELECT df.getvar('shared')").fetchone() == (None,)
        superuser.execute("SELECT df.setvar('shared', 'theirs')")
        superuser.execute("SELECT df.clearvars()")
    assert ask("df.getvar('shared')") == "mine"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        user.execute("INSERT INTO df.vars (name, value, owner) VALUES ('a', 'b', 'postgres'::regrole)")


def test_later_changes_do_not_reach_a_started_workflow(user: psycopg.Connection[Any], ask: Any) -> None:
    ask("df.setvar('a', '1')")
    ask("df.start('SELECT 1')")
    ask("df.setvar('a', '2')")
    assert user.execute("SELECT vars FROM df.instances").fetchone() == ({"a": "1"},)


WITHIN = {
    "df.setvar('a', 'b')": (
        "df.setvar() cannot be called inside a workflow - set variables before starting the workflow"
    ),
    "df.unsetvar('a')": (
        "df.unsetvar() cannot be called inside a workflow - manage variables before starting the workflow"
    ),
    "df.clearvars()": (
        "df.clearvars() cannot be called inside a workflow - manage variables before starting the workflow"
    ),
    "df.await_instance('ffffffff', 0)": (
        "df.await_instance() cannot be called inside a workflow - it would block a worker thread"
    ),
    "df.wait_for_completion('ffffffff')": (
        "df.wait_for_completion() cannot be called inside a workflow - it would block"
    ),
    "df.start('a', transaction_mode => 'new')": (
        "df.start() with transaction_mode => 'new' cannot be called inside a workflow -"
        " a df.sql() node already runs as a single autocommitted statement, "
    ),
}


@pytest.mark.parametrize("call", WITHIN)
def test_what_a_running_step_may_not_call(user: psycopg.Connection[Any], refused: Any, call: str) -> None:
    user.execute("SET df.in_workflow = 'true'")
    error = refused(call)
    assert error.diag.message_primary.startswith(WITHIN[call]) and error.sqlstate == "55000"


def test_what_a_running_step_may_call(user: psycopg.Connection[Any], ask: Any) -> None:
    started = ask("df.start('SELECT 1')")
    user.execute("SET df.in_workflow = 'true'")
    assert ask("df.getvar('a')") is None
    assert ask("df.status(df.start('SELECT 1'))") == "pending"
    assert ask("df.signal(%s, 'go')", started) == "OK"
    assert ask("df.cancel(%s)", started).endswith("cancelled: Cancelled by user")
