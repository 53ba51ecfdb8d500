"""Retry, timeout, catch, finally and undo on a real worker and server (P2, P4, P10)."""

from __future__ import annotations

import json

import pytest

from .conftest import Stage

NOTE = "$$INSERT INTO effects (what) VALUES ('{}')$$"


async def effects(stage: Stage) -> list[str]:
    return [what for (what,) in await stage.sql("SELECT what FROM effects ORDER BY n")]


async def ended(stage: Stage, program: str, *arguments: str) -> tuple[str, str, str | None]:
    """Start a program, wait; its id, status and result or error."""
    id_ = await stage.one(f"SELECT df.start({', '.join((program, *arguments))})")
    outcome = await stage.outcome(id_)
    return id_, outcome.status, outcome.output


async def test_a_retry_runs_until_the_step_succeeds_and_shows_each_failed_try(working: Stage) -> None:
    program = (
        f"df.retry({NOTE.format('try')} ~> 'SELECT 1 / (count(*) / 3) AS n FROM effects', "
        "max_attempts => 5, backoff => '20 ms', errors => 'division_by_zero')"
    )
    id_, status, said = await ended(working, program)
    assert (status, json.loads(said or "{}")["rows"]) == ("completed", [{"n": 1}])
    assert await effects(working) == ["try"] * 3
    tries = await working.sql(
        "SELECT attempt, (error::json)->>'sqlstate', next_at IS NOT NULL FROM df.attempts "
        "WHERE instance_id = %s ORDER BY 1",
        (id_,),
    )
    assert tries == [(1, "22012", True), (2, "22012", True)]


async def test_a_retry_gives_up_and_by_default_does_not_even_begin(working: Stage) -> None:
    _, status, said = await ended(working, "df.retry('SELECT 1/0', 3, '10 ms')")
    assert status == "failed" and "division by zero" in (said or "")
    id_, status, _ = await ended(working, "df.retry('SELECT 1/0', 3, '10 ms', errors => 'any')")
    assert status == "failed"
    assert await working.one("SELECT count(*) FROM df.attempts WHERE instance_id = %s", (id_,)) == 3


async def test_a_timeout_stops_the_statement_on_the_server(working: Stage) -> None:
    program = "df.catch(df.timeout('SELECT pg_sleep(3600)', '300 ms'), 'SELECT $error.message AS m')"
    _, status, said = await ended(working, program)
    assert status == "completed"
    assert json.loads(said or "{}")["rows"] == [{"m": "Timeout: not finished after 0.3 s"}]
    await working.until(
        "SELECT count(*) = 0 FROM pg_stat_activity "
        "WHERE query ~ 'pg_sleep.3600' AND state = 'active' AND pid <> pg_backend_pid()"
    )


async def test_a_handler_sees_what_went_wrong(working: Stage) -> None:
    program = (
        "df.catch('SELECT 1/0', 'SELECT $error AS message, $error.sqlstate AS code, $error.node AS node', "
        "'22') |=> 'r' ~> 'SELECT $r.code AS code, $r.node AS node, $r.message AS message'"
    )
    _, status, said = await ended(working, program)
    assert status == "completed"
    (row,) = json.loads(said or "{}")["rows"]
    assert row["code"] == "22012" and row["node"] == "00000002" and "division by zero" in row["message"]


async def test_finally_cleans_up_after_a_failure_a_success_and_a_timeout(working: Stage) -> None:
    for body, expected in (("'SELECT 1/0'", "failed"), ("'SELECT 1'", "completed")):
        assert (await ended(working, f"df.finally({body}, {NOTE.format(expected)})"))[1] == expected
    program = f"df.timeout(df.finally('SELECT pg_sleep(60)', {NOTE.format('late')}), '200 ms')"
    id_, status, _ = await ended(working, program)
    assert status == "failed", "nothing was taken back"
    assert await effects(working) == ["failed", "completed", "late"]
    await working.sql("SELECT df.retry_instance(%s)", (id_,))
    await working.outcome(id_)
    assert await effects(working) == ["failed", "completed", "late", "late"]


async def test_undo_runs_backwards_with_the_names_of_then(working: Stage) -> None:
    def booked(what: str) -> str:
        book = f"$$INSERT INTO effects (what) VALUES ('{what}') RETURNING n$$ |=> '{what}'"
        undo = f"$$INSERT INTO effects (what) VALUES ('undo {what} ' || ${what}.n)$$"
        return f"(({book}) <~ {undo})"

    program = f"{booked('flight')} ~> {booked('hotel')} ~> 'SELECT 1/0'"
    id_, status, said = await ended(working, program)
    assert status == "compensated" and "division by zero" in (said or "")
    assert await effects(working) == ["flight", "hotel", "undo hotel 2", "undo flight 1"]
    states = await working.sql("SELECT DISTINCT state FROM df.undos WHERE instance_id = %s", (id_,))
    assert states == [("done",)]


async def test_a_stuck_undo_is_a_state_that_an_operator_sees_and_tries_again(working: Stage) -> None:
    await working.sql("CREATE TABLE cure (n integer)")
    await working.sql("INSERT INTO cure VALUES (0)")
    undo = "$$INSERT INTO effects (what) SELECT 'undone' WHERE 1 / (SELECT n FROM cure) > 0$$"
    id_, status, said = await ended(working, f"({NOTE.format('a')} <~ {undo}) ~> 'SELECT 1/0'")
    assert status == "stuck" and (said or "").startswith("Undo failed: ")
    await working.sql("UPDATE cure SET n = 1")
    await working.sql("SELECT df.retry_instance(%s)", (id_,))
    await working.outcome(id_)
    assert await working.one("SELECT df.status(%s)", (id_,)) == "compensated"
    assert await effects(working) == ["a", "undone"]


async def test_a_loop_goes_on_after_failures_and_counts_them(working: Stage) -> None:
    program = (
        f"df.loop({NOTE.format('round')} ~> 'SELECT 1 / (count(*) / 2) FROM effects', "
        "'SELECT count(*) < 2 FROM effects', continue_on_failure => true)"
    )
    id_, status, _ = await ended(working, program)
    assert status == "completed"
    assert await effects(working) == ["round", "round"]
    failures = "SELECT attempts FROM df.journal WHERE instance_id = %s AND node = 0"
    assert await working.one(failures, (id_,)) == 1


async def test_the_runs_own_policy_tries_single_steps_again(working: Stage) -> None:
    step = "'SELECT 1 / (count(*) / 3) AS n FROM pg_temp_never'"
    program = f"{NOTE.format('once')} ~> {step}"
    _, status, _ = await ended(working, program, "max_attempts => 3", "backoff => '10 ms'")
    assert status == "failed", "what cannot get better is not tried again"
    flaky = "$step$DO $do$ BEGIN RAISE EXCEPTION 'not now'; END $do$ $step$"
    id_, status, _ = await ended(working, flaky, "max_attempts => 3", "backoff => '10 ms'")
    assert status == "failed"
    tries = await working.sql("SELECT attempt FROM df.attempts WHERE instance_id = %s ORDER BY 1", (id_,))
    assert tries == [(1,), (2,), (3,)]


async def test_a_run_that_goes_on_shows_the_failed_step(working: Stage) -> None:
    id_, status, said = await ended(working, "'SELECT 1/0' ~> 'SELECT 7 AS n'", "on_failure => 'continue'")
    assert status == "completed" and json.loads(said or "{}")["rows"] == [{"n": 7}]
    states = await working.sql("SELECT status FROM df.instance_nodes(%s) ORDER BY node_id", (id_,))
    assert states == [("completed",), ("failed",), ("completed",)]


async def test_the_runs_timeout_ends_it(working: Stage) -> None:
    _, status, said = await ended(working, "df.sleep(3600)", "timeout => '300 ms'")
    assert status == "failed" and (said or "").startswith("Timeout: ")


async def test_conflicts_of_a_steps_own_transaction_are_tried_again_without_a_policy(working: Stage) -> None:
    await working.sql("CREATE SEQUENCE tries")
    conflict = (
        "$step$DO $do$ BEGIN IF nextval('tries') < 3 THEN RAISE EXCEPTION 'busy' USING ERRCODE = '40001'; "
        "END IF; END $do$ $step$"
    )
    _, status, _ = await ended(working, conflict)
    assert status == "completed"
    assert await working.one("SELECT last_value FROM tries") == 3


@pytest.mark.parametrize("policy", ["", ", 3, '1 h', '2 h', errors => 'any'"])
async def test_cancel_ends_a_run_that_backs_off(working: Stage, policy: str) -> None:
    program = f"df.retry('SELECT 1/0'{policy})" if policy else "df.retry(df.sleep(3600))"
    id_ = await working.one(f"SELECT df.start({program})")
    waiting = "SELECT count(*) > 0 FROM df.journal WHERE instance_id = %s AND state = 'waiting'"
    await working.until(waiting, (id_,))
    await working.sql("SELECT df.cancel(%s)", (id_,))
    await working.outcome(id_)
    assert await working.one("SELECT df.status(%s)", (id_,)) == "cancelled"
