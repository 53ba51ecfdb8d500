"""df.start(…, key => …): at most one active instance of a role with a key, decided by PostgreSQL (P5)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import errors

START = "df.start('SELECT 1', key => 'index:42')"
REPLACE = "df.start('SELECT 2', key => 'index:42', on_conflict => 'replace')"
REJECT = "df.start('SELECT 2', key => 'index:42', on_conflict => 'reject')"


def states(user: psycopg.Connection[Any]) -> dict[str, str]:
    return dict(user.execute("SELECT id, status FROM df.instances").fetchall())


@pytest.mark.parametrize("reaction", ["", ", on_conflict => 'return'", ", on_conflict => 'RETURN'"])
def test_the_active_instance_is_returned(user: psycopg.Connection[Any], ask: Any, reaction: str) -> None:
    first = ask(START)
    assert ask(f"df.start('SELECT 2', 'other', key => 'index:42'{reaction})") == first
    assert states(user) == {first: "pending"}


def test_reject_names_the_active_instance(user: psycopg.Connection[Any], ask: Any, refused: Any) -> None:
    first = ask(START)
    error = refused(REJECT)
    assert isinstance(error, errors.UniqueViolation)
    assert error.diag.message_primary == f'an instance with key "index:42" is active already: {first}'
    assert "replace" in (error.diag.message_hint or "")
    assert states(user) == {first: "pending"}


def test_replace_cancels_the_active_instance(user: psycopg.Connection[Any], ask: Any) -> None:
    first = ask(START)
    second = ask(REPLACE)
    assert states(user) == {first: "cancelled", second: "pending"}
    assert ask("df.error(%s)", first) == "canceled: replaced by a new start"


def test_what_is_over_holds_no_key(user: psycopg.Connection[Any], ask: Any) -> None:
    first = ask(START)
    ask("df.cancel(%s)", first)
    assert ask(REJECT) != first


def test_a_workflow_that_is_none_is_refused_before_the_key_is_looked_at(ask: Any, refused: Any) -> None:
    ask(START)
    assert "Invalid" in refused("df.start('{\"node_type\":\"FOO\"}', key => 'index:42')").diag.message_primary


def test_another_role_has_keys_of_its_own(database: Any, ask: Any) -> None:
    first = ask(START)
    with database.connect(database.role()) as other:
        (made,) = other.execute(f"SELECT {REJECT}").fetchone()
    assert made != first


def test_in_one_transaction(database: Any, role: str) -> None:
    """P5: what a transaction has started counts for it at once, and for nobody once it is rolled back."""
    with database.connect(role, autocommit=False) as session:
        (first,) = session.execute(f"SELECT {START}").fetchone()
        assert session.execute(f"SELECT {START}").fetchone() == (first,)
        (second,) = session.execute(f"SELECT {REPLACE}").fetchone()
        assert states(session) == {first: "cancelled", second: "pending"}
        session.rollback()
        (third,) = session.execute(f"SELECT {REJECT}").fetchone()
        session.commit()
        assert states(session) == {third: "pending"}


def test_a_replaced_instance_comes_back_with_the_transaction(database: Any, role: str, ask: Any) -> None:
    first = ask(START)
    with database.connect(role, autocommit=False) as session:
        session.execute(f"SELECT {REPLACE}")
        session.rollback()
        assert states(session) == {first: "pending"}


def test_a_start_waits_for_one_that_has_not_committed(database: Any, role: str) -> None:
    """Whether the first one commits or not decides what the second one gets."""
    for ending in ("commit", "rollback"):
        with database.connect(role, autocommit=False) as first, database.connect(role) as second:
            (made,) = first.execute(f"SELECT {START}").fetchone()
            answers: list[Any] = []
            asking = threading.Thread(
                target=lambda answers=answers, second=second: answers.append(
                    second.execute(f"SELECT {START}").fetchone()[0]
                )
            )
            asking.start()
            blocked_by(database, second.info.backend_pid, first.info.backend_pid)
            getattr(first, ending)()
            asking.join()
            assert (answers == [made]) is (ending == "commit")
            second.execute("SELECT df.cancel(%s)", (answers[0],))


def blocked_by(database: Any, waiting: int, holder: int) -> None:
    """Until one session waits for the other's transaction."""
    with database.connect("postgres") as watching:
        while not watching.execute("SELECT %s = ANY (pg_blocking_pids(%s))", (holder, waiting)).fetchone()[0]:
            pass


def at_once(database: Any, role: str, statement: str, sessions: int = 6, each: int = 5) -> list[Any]:
    """What several sessions got that asked at the same time: an id, or the error's SQLSTATE."""
    answers: list[Any] = []
    gate = threading.Barrier(sessions)

    def ask() -> None:
        with database.connect(role) as session:
            for _ in range(each):
                gate.wait()
                try:
                    answers.append(session.execute(f"SELECT {statement}").fetchone()[0])
                except psycopg.Error as error:
                    answers.append(error.sqlstate)

    threads: list[threading.Thread] = [threading.Thread(target=ask) for _ in range(sessions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.fixture
def count(user: psycopg.Connection[Any]) -> Callable[[str], int]:
    def of(status: str) -> int:
        row = user.execute("SELECT count(*) FROM df.instances WHERE status = %s", (status,)).fetchone()
        assert row is not None
        return int(row[0])

    return of


def test_of_many_starts_at_once_exactly_one_wins(
    database: Any, role: str, count: Callable[[str], int]
) -> None:
    answers = at_once(database, role, START)
    assert len(set(answers)) == 1
    assert count("pending") == 1


def test_of_many_rejecting_starts_exactly_one_wins(
    database: Any, role: str, count: Callable[[str], int]
) -> None:
    answers = at_once(database, role, REJECT)
    assert len([answer for answer in answers if answer != "23505"]) == 1
    assert count("pending") == 1


def test_of_many_replacing_starts_one_stays(database: Any, role: str, count: Callable[[str], int]) -> None:
    answers = at_once(database, role, REPLACE)
    assert len(set(answers)) == len(answers) == 30  # each one started
    assert (count("pending"), count("cancelled")) == (1, 29)
