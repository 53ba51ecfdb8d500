"""What a role does with its instances: look, wait, cancel, signal. All of it joins the transaction (P5)."""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest

import durasql


@pytest.fixture
def started(ask: Any) -> str:
    """A pending instance that nobody runs."""
    made: str = ask("df.start('SELECT 1' ~> 'SELECT 2', 'label')")
    return made


def finish(owner: psycopg.Connection[Any], instance: str, status: str, output: str | None) -> None:
    """Ends an instance as a worker would."""
    owner.execute("SELECT df._finish(%s, %s, %s)", (instance, status, output))


SIGNATURES = {
    "await_instance": "instance_id text, timeout_seconds integer DEFAULT 30|strict v text",
    "cancel": "instance_id text, reason text DEFAULT 'Cancelled by user'::text|strict v text",
    "clearvars": "|v text",
    "error": "instance_id text|strict v text",
    "getvar": "name text|strict v text",
    "result": "instance_id text|strict v text",
    "run": "instance_id text DEFAULT NULL::text|v text",
    "setvar": "name text, value text|strict v text",
    "signal": "instance_id text, signal_name text, signal_data text DEFAULT '{}'::text|strict v text",
    "status": "instance_id text|strict v text",
    "target_database": "|i text",
    "unsetvar": "name text|strict v text",
    "version": "|v text",
    "wait_for_completion": "instance_id text, timeout_seconds integer DEFAULT 30|strict v text",
}


def test_signatures(user: psycopg.Connection[Any]) -> None:
    rows = user.execute(
        "SELECT proname, pg_get_function_arguments(oid) || '|' || CASE WHEN proisstrict AND pronargs > 0 THEN"
        " 'strict ' ELSE '' END || provolatile::text || ' ' || prorettype::regtype::text FROM pg_proc WHERE"
        " pronamespace = 'df'::regnamespace AND proname = ANY(%s)",
        (list(SIGNATURES),),
    ).fetchall()
    assert dict(rows) == SIGNATURES
    gone = (
        "SELECT count(*) FROM pg_proc WHERE pronamespace = 'df'::regnamespace AND proname IN"
        " ('debug_connection', 'ensure_durofut')"
    )
    assert user.execute(gone).fetchone() == (0,)


# --- looking


def test_status_result_and_error(owner: psycopg.Connection[Any], ask: Any) -> None:
    """E12"""
    done, failed, running = (ask("df.start('SELECT 1')") for _ in range(3))
    finish(owner, done, "completed", '{"rows":[{"b":1,"aa":"é"}],"row_count":1}')
    finish(owner, failed, "failed", "SQL execution failed: error returned from database: division by zero")
    columns = "(SELECT array[df.status(id), df.result(id), df.error(id)] FROM (SELECT %s::text AS id) i)"
    assert ask(columns, done) == ["completed", '{"rows": [{"b": 1, "aa": "é"}], "row_count": 1}', None]
    assert ask(columns, failed) == [
        "failed",
        None,
        "SQL execution failed: error returned from database: division by zero",
    ]
    assert ask(columns, running) == ["pending", None, None]
    assert ask("df.cancel(%s, 'enough')", running) == f"Instance {running} cancelled: enough"
    assert ask(columns, running) == ["cancelled", None, "canceled: enough"]
    for unknown in ("ffffffff", "", "label", None):
        assert ask(columns, unknown) == [None, None, None]


def test_a_break_outside_a_loop_leaves_a_result(owner: psycopg.Connection[Any], ask: Any) -> None:
    made = ask("df.start(df.break('x'))")
    owner.execute(
        "INSERT INTO df.journal (instance_id, node, seq, state, value) VALUES (%s, 0, 1, 'broken', '\"x\"')",
        (made,),
    )
    finish(
        owner,
        made,
        "failed",
        "df.break() was called outside of a loop. df.break() may only be used inside df.loop().",
    )
    assert ask("df.result(%s)", made) == '"x"'


def test_other_roles_see_nothing(database: Any, started: str) -> None:
    """P6: a foreign instance is exactly as unknown as one that never was."""
    with database.connect(database.role()) as stranger:
        for call in ("df.status({})", "df.result({})", "df.error({})"):
            assert stranger.execute(f"SELECT {call.format('%s')}", (started,)).fetchone() == (None,)
        for call in ("df.cancel(%s)", "df.signal(%s, 'go')", "df.await_instance(%s)"):
            errors = []
            for instance in (started, "00000000"):
                with pytest.raises(psycopg.Error) as raised:
                    stranger.execute(f"SELECT {call}", (instance,))
                diag = raised.value.diag
                errors.append(
                    (
                        diag.sqlstate,
                        str(diag.message_primary).replace(instance, "ID"),
                        diag.message_detail,
                        diag.message_hint,
                    )
                )
            assert errors[0] == errors[1]
        assert (
            stranger.execute(
                "UPDATE df.instances SET status = 'cancelled' WHERE id = %s", (started,)
            ).rowcount
            == 0
        )


# --- waiting


def test_await_returns_the_final_status(owner: psycopg.Connection[Any], ask: Any) -> None:
    for status in ("completed", "failed"):
        made = ask("df.start('SELECT 1')")
        finish(owner, made, status, "1")
        assert ask("df.await_instance(%s)", made) == status


def test_await_sees_what_others_commit(
    database: Any, owner: psycopg.Connection[Any], role: str, started: str
) -> None:
    with database.connect(role) as waiting:
        waiting.pgconn.send_query(f"SELECT df.await_instance('{started}', 60)".encode())
        finish(owner, started, "completed", "1")
        result = waiting.pgconn.get_result()
        assert result is not None and result.get_value(0, 0) == b"completed"
        assert waiting.pgconn.get_result() is None


AWAIT_ERRORS = {
    "df.await_instance('ffffffff')": "Instance not found: ffffffff",
    "df.await_instance('label')": "Instance not found: label",
    "df.await_instance('ffffffff', 0)": "Timeout must be positive",
    "df.await_instance('ffffffff', -5)": "Timeout must be positive",
    "df.wait_for_completion('ffffffff')": "Instance not found: ffffffff",
}


@pytest.mark.parametrize("call", AWAIT_ERRORS)
def test_await_errors(refused: Any, call: str) -> None:
    assert refused(call).diag.message_primary == AWAIT_ERRORS[call]


def test_await_times_out(refused: Any, started: str) -> None:
    error = refused("df.await_instance(%s, 1)", started)
    assert (
        error.diag.message_primary
        == f"Timeout after 1s waiting for instance {started} (status: pending). Check if background worker is"
        " running."
    )
    assert "durasql worker" in error.diag.message_hint


def test_wait_for_completion_warns(
    database: Any, owner: psycopg.Connection[Any], user: psycopg.Connection[Any], ask: Any, started: str
) -> None:
    finish(owner, started, "completed", "1")
    notices: list[str | None] = []
    user.add_notice_handler(lambda diag: notices.append(diag.message_primary))
    assert ask("df.wait_for_completion(%s)", started) == "completed"
    assert notices == ["df.wait_for_completion() is deprecated; use df.await_instance() instead"]


def test_run_version_and_target(ask: Any) -> None:
    assert ask("df.run()") == "Triggered run for all pending instances"
    assert ask("df.run('x')") == "Triggered run for instance: x"
    found = re.fullmatch(r"(\S+) \(built \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\)", ask("df.version()"))
    assert found and found[1] == durasql.__version__
    assert ask("df.target_database() = current_database()") is True


# --- cancelling


def test_cancel_takes_the_instance_out_of_its_workers_hands(
    database: Any, owner: psycopg.Connection[Any], ask: Any, started: str
) -> None:
    """P3, E3"""
    owner.execute(
        "UPDATE df.instances SET status = 'running', worker = 7, epoch = 4 WHERE id = %s", (started,)
    )
    ask("df.signal(%s, 'go')", started)
    with database.connect() as listener:
        listener.execute("LISTEN df")
        assert ask("df.cancel(%s)", started) == f"Instance {started} cancelled: Cancelled by user"
        assert [note.payload for note in listener.notifies(timeout=10, stop_after=1)] == [f"c:{started}"]
    row = owner.execute(
        "SELECT status, worker, due, epoch, cancel_reason, completed_at FROM df.instances WHERE id = %s",
        (started,),
    ).fetchone()
    assert row == ("cancelled", None, None, 5, "Cancelled by user", None)
    assert owner.execute("SELECT count(*) FROM df.signals WHERE instance_id = %s", (started,)).fetchone() == (
        0,
    )


def test_a_cancellation_that_is_rolled_back_never_was(
    user: psycopg.Connection[Any], ask: Any, started: str
) -> None:
    """P5, E3"""
    with user.transaction(force_rollback=True):
        ask("df.cancel(%s)", started)
        assert ask("df.status(%s)", started) == "cancelled"
    assert ask("df.status(%s)", started) == "pending"
    assert user.execute("SELECT epoch, due IS NOT NULL FROM df.instances").fetchone() == (0, True)


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_what_is_over_stays_as_it_is(
    owner: psycopg.Connection[Any], ask: Any, started: str, status: str
) -> None:
    finish(owner, started, status, "1")
    assert ask("df.cancel(%s, 'late')", started) == f"Instance {started} cancelled: late"
    assert ask("df.signal(%s, 'late')", started) == "OK"
    assert ask("df.status(%s)", started) == status
    assert owner.execute("SELECT count(*) FROM df.signals WHERE instance_id = %s", (started,)).fetchone() == (
        0,
    )


def test_an_update_to_cancelled_is_a_cancellation(
    user: psycopg.Connection[Any], started: str, ask: Any
) -> None:
    user.execute("UPDATE df.instances SET status = 'cancelled', updated_at = now() WHERE id = %s", (started,))
    assert user.execute("SELECT epoch, due, cancel_reason FROM df.instances").fetchone() == (
        1,
        None,
        "Cancelled by user",
    )


@pytest.mark.parametrize("call", ["df.cancel(%s)", "df.signal(%s, 'a')"])
def test_only_ids_are_taken(refused: Any, started: str, call: str) -> None:
    for other in ("label", "ffffffff", started.upper() + " ", f" {started}"):
        error = refused(call, other)
        assert error.diag.message_primary == f"Instance not found or access denied: {other}"
        assert error.sqlstate == "P0002"


# --- signalling


def test_signals_wait_in_order(owner: psycopg.Connection[Any], ask: Any, started: str, role: str) -> None:
    """E2"""
    for call in (
        "df.signal(%s, 'go')",
        "df.signal(%s, 'go', 'plain')",
        "df.signal(%s, 'stop', '{\"a\": 1}')",
    ):
        assert ask(call, started) == "OK"
    rows = owner.execute(
        "SELECT name, data, sent_by::text FROM df.signals WHERE instance_id = %s ORDER BY id", (started,)
    ).fetchall()
    assert rows == [("go", "{}", role), ("go", "plain", role), ("stop", '{"a": 1}', role)]


def test_a_signal_makes_a_waiting_instance_due(
    database: Any, owner: psycopg.Connection[Any], user: psycopg.Connection[Any], ask: Any, started: str
) -> None:
    """E2, P5: when the sender commits"""
    for due in ("NULL", "now() + interval '1 hour'"):
        owner.execute(
            f"UPDATE df.instances SET status = 'running', due = {due}, worker = NULL WHERE id = %s",
            (started,),
        )
        with user.transaction(force_rollback=True):
            ask("df.signal(%s, 'go')", started)
        assert user.execute(
            "SELECT coalesce(due <= clock_timestamp(), false) FROM df.instances"
        ).fetchone() == (False,)
        with database.connect() as listener:
            listener.execute("LISTEN df")
            ask("df.signal(%s, 'go')", started)
            assert [note.payload for note in listener.notifies(timeout=10, stop_after=1)] == [f"s:{started}"]
        assert user.execute("SELECT due <= clock_timestamp() FROM df.instances").fetchone() == (True,)


def test_a_signal_leaves_an_instance_with_its_worker(
    owner: psycopg.Connection[Any], ask: Any, started: str
) -> None:
    owner.execute(
        "UPDATE df.instances SET status = 'running', due = NULL, worker = 7, epoch = 4 WHERE id = %s",
        (started,),
    )
    ask("df.signal(%s, 'go')", started)
    assert owner.execute(
        "SELECT due, worker, epoch FROM df.instances WHERE id = %s", (started,)
    ).fetchone() == (None, 7, 4)


def test_a_signal_is_not_lost_between_a_workers_look_and_its_letting_go(
    database: Any, owner: psycopg.Connection[Any], role: str, started: str
) -> None:
    """E2: the sender waits for a worker that is just putting the instance back, and then sees that it did."""
    owner.execute(
        "UPDATE df.instances SET status = 'running', due = NULL, worker = 7 WHERE id = %s", (started,)
    )
    with database.connect(role) as sender:
        with owner.transaction():
            owner.execute("UPDATE df.instances SET worker = NULL WHERE id = %s", (started,))
            sender.pgconn.send_query(f"SELECT df.signal('{started}', 'go')".encode())
            _until_waiting(database, sender.info.backend_pid)
        assert sender.pgconn.get_result() is not None
        assert sender.pgconn.get_result() is None
    assert owner.execute(
        "SELECT due <= clock_timestamp() FROM df.instances WHERE id = %s", (started,)
    ).fetchone() == (True,)


def _until_waiting(database: Any, pid: int) -> None:
    """Returns when the backend waits for a lock."""
    with database.connect("postgres") as observer:
        while observer.execute("SELECT cardinality(pg_blocking_pids(%s))", (pid,)).fetchone() == (0,):
            pass


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("df.signal('', 'a')", "Instance ID cannot be empty"),
        ("df.signal('ffffffff', '')", "Signal name cannot be empty"),
        ("df.signal('', '')", "Instance ID cannot be empty"),
    ],
)
def test_signal_errors(refused: Any, call: str, message: str) -> None:
    assert refused(call).diag.message_primary == message


@pytest.mark.parametrize(
    "call",
    [
        "df.signal(NULL, 'a')",
        "df.signal('a', NULL)",
        "df.cancel(NULL)",
        "df.cancel('a', NULL)",
        "df.await_instance(NULL)",
    ],
)
def test_null_arguments_do_nothing(ask: Any, call: str) -> None:
    assert ask(call) is None
