"""df.start(…, max_attempts, backoff, max_backoff, on_failure, timeout): what a run does about failures."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import errors

START = "df.start('SELECT 1', {})"


def policy_of(user: psycopg.Connection[Any], id_: str) -> Any:
    row = user.execute("SELECT policy FROM df.instances WHERE id = %s", (id_,)).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize(
    ("arguments", "policy"),
    [
        ("max_attempts => 3", {"max_attempts": 3}),
        ("backoff => '500 ms'", {"backoff": 0.5}),
        (
            "backoff => '1h 30 min', max_backoff => '2 D'",
            {"backoff": 5400, "max_backoff": 172800},
        ),
        ("backoff => '0'", {"backoff": 0}),
        ("on_failure => 'CONTINUE'", {"on_failure": "continue"}),
        ("on_failure => 'fail', max_attempts => 1000", {"max_attempts": 1000, "on_failure": "fail"}),
        # Whoever names one pause only means that one: the other makes room.
        ("backoff => '5 min'", {"backoff": 300, "max_backoff": 300}),
        ("max_backoff => '100 ms'", {"backoff": 0.1, "max_backoff": 0.1}),
        ("max_attempts => NULL, backoff => NULL, timeout => NULL, on_failure => NULL", None),
    ],
)
def test_what_a_start_says_is_kept(
    user: psycopg.Connection[Any], ask: Any, arguments: str, policy: object
) -> None:
    assert policy_of(user, ask(START.format(arguments))) == policy


def test_a_timeout_becomes_a_deadline_from_the_start(user: psycopg.Connection[Any], ask: Any) -> None:
    made = ask(START.format("timeout => '90 s'"))
    (created,) = user.execute("SELECT created_at FROM df.instances WHERE id = %s", (made,)).fetchone()  # type: ignore[misc]
    assert datetime.fromisoformat(policy_of(user, made)["deadline"]) == created + timedelta(seconds=90)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("max_attempts => 0", "max_attempts must be between 1 and 1000, not 0"),
        ("max_attempts => -3", "max_attempts must be between 1 and 1000, not -3"),
        ("max_attempts => 1001", "max_attempts must be between 1 and 1000, not 1001"),
        ("backoff => '-1 s'", "df.start: backoff is no duration: '-1 s'"),
        ("backoff => ''", "df.start: backoff is no duration: ''"),
        ("max_backoff => '1 fortnight'", "max_backoff is no duration: '1 fortnight'"),
        ("backoff => '1.2345 s'", "backoff is no duration"),
        ("backoff => '1 s 2'", "backoff is no duration"),
        ("backoff => '4000 d', max_backoff => '1 s'", "backoff must be between 0 and 3650 days"),
        ("timeout => '0 s'", "timeout must be between 1 ms and 3650 days: '0 s'"),
        ("timeout => '9999999 d'", "timeout must be between 1 ms and 3650 days"),
        ("timeout => repeat('1 s ', 50)", "timeout is no duration"),
        (
            "backoff => '2 s', max_backoff => '1 s'",
            "max_backoff (1 s) must not be shorter than backoff (2 s)",
        ),
        ("on_failure => 'ignore'", "on_failure must be 'fail' or 'continue', not 'ignore'"),
        ("on_conflict => 'return'", "on_conflict needs a key"),
        ("key => ''", "key must have between 1 and 1024 bytes, not 0"),
        ("key => repeat('k', 1025)", "key must have between 1 and 1024 bytes, not 1025"),
        ("key => 'k', on_conflict => 'ignore'", "on_conflict must be 'return', 'reject' or 'replace'"),
    ],
)
def test_nonsense_is_refused_with_the_name_of_the_argument(
    user: psycopg.Connection[Any], refused: Any, arguments: str, message: str
) -> None:
    error = refused(START.format(arguments))
    assert message in error.diag.message_primary
    assert error.sqlstate == "22023"
    assert error.diag.message_hint
    assert user.execute("SELECT count(*) FROM df.instances").fetchone() == (0,)


@pytest.mark.parametrize(
    "policy",
    [
        "[]",
        "null",
        '{"max_attempts": 0}',
        '{"max_attempts": 1e400}',
        '{"max_attempts": 2.5}',
        '{"max_attempts": "3"}',
        '{"max_attempts": null}',
        '{"backoff": -1}',
        '{"backoff": 1e9}',
        '{"on_failure": "explode"}',
        '{"deadline": "tomorrow"}',
        '{"deadline": "2026-02-31T00:00:00Z"}',
        '{"deadline": "infinity"}',
        '{"deadline": 5}',
        '{"surprise": 1}',
    ],
)
def test_what_no_worker_could_take_cannot_be_written_by_hand(
    user: psycopg.Connection[Any], ask: Any, policy: str
) -> None:
    """Every claim carries the policy: one that cannot be read would fail all workers (P9)."""
    made = ask("df.start('SELECT 1')")
    with pytest.raises(errors.CheckViolation, match="instances_policy_chk"):
        user.execute(
            "INSERT INTO df.instances (program, policy) SELECT program, %s::jsonb FROM df.instances"
            " WHERE id = %s",
            (policy, made),
        )


def test_a_policy_is_not_changed_afterwards(user: psycopg.Connection[Any], ask: Any) -> None:
    ask(START.format("max_attempts => 3"))
    for column in ("policy", "key"):
        with pytest.raises(errors.InsufficientPrivilege):
            user.execute(f"UPDATE df.instances SET {column} = NULL")


def test_the_usual_start_in_one_statement_makes_the_same_row(
    user: psycopg.Connection[Any], owner: psycopg.Connection[Any]
) -> None:
    """A stored program and no policy: df.start asks one question, and ends where all its others lead."""
    user.execute("SELECT df.setvar('a', 'b')")
    graph = '{"node_type":"SQL","query":"SELECT 1"}'
    for _ in range(2):
        user.execute("SELECT df.start(%s, 'usual')", (graph,))
    made = owner.execute(
        "SELECT to_jsonb(i) - '{id,created_at,updated_at,due}'::text[] FROM df.instances i"
        " WHERE label = 'usual'"
    )
    first, second = made.fetchall()
    assert first == second
    assert (first[0]["vars"], first[0]["policy"], first[0]["key"]) == ({"a": "b"}, None, None)


def test_settings_are_the_installations_default(owner: psycopg.Connection[Any]) -> None:
    rows = owner.execute(
        "SELECT name, value FROM df.settings WHERE name LIKE 'step_%%' ORDER BY 1"
    ).fetchall()
    assert ("step_max_attempts", "1") in rows
    assert {name for name, _ in rows} >= {"step_backoff", "step_max_backoff"}
