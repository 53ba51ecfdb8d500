"""Whatever a step does to its session ends with the step: nothing leaks into the next one (P6, E10)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from .conftest import Stage

FIXED = "SELECT current_user::text AS u, session_user::text AS s, current_setting('search_path') AS p, "
STATE = (
    FIXED + "current_setting('statement_timeout') AS t, current_setting('df.in_workflow') AS w, "
    "current_setting('work_mem') AS m, "
    "(SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = ''advisory'') AS locks, "
    "(SELECT count(*) FROM pg_listening_channels()) AS channels, "
    "(SELECT count(*) FROM pg_cursors WHERE is_holdable) AS cursors, "
    "(SELECT count(*) FROM pg_prepared_statements WHERE name NOT LIKE ''df\\_%'') AS prepared, "
    "to_regclass(''left_behind'')::text AS temp"
).replace("''", "'")

LEAVES = [
    "RESET ROLE",
    "SET search_path = pg_catalog",
    "SELECT set_config('search_path', 'nowhere', false)",
    "SET statement_timeout = '5min'",
    "SET work_mem = '65MB'; SELECT 1",
    "SET df.in_workflow = 'false'",
    "SELECT pg_advisory_lock(4711), pg_advisory_lock_shared(4712)",
    "LISTEN gossip",
    "CREATE TEMP TABLE left_behind AS SELECT 1 AS a",
    "DECLARE c CURSOR WITH HOLD FOR SELECT generate_series(1, 10)",
    "PREPARE p AS SELECT 1",
    "PREPARE \"Odd name\" AS SELECT 1",
    "DEALLOCATE ALL",
    "DEALLOCATE df_commit",
    "DEALLOCATE df_commit; PREPARE df_commit AS SELECT 1",
    "DEALLOCATE df_begin; PREPARE df_begin AS SELECT 1",
    "DISCARD ALL",
    "DISCARD PLANS",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET LOCAL lock_timeout = '1ms'",
    "SAVEPOINT a",
    "DO $$ BEGIN SET search_path = nowhere; CREATE TEMP TABLE left_behind (); END $$",
]  # fmt: skip
FAILS_TOO = ("SAVEPOINT a", "DEALLOCATE df_commit", "DEALLOCATE df_commit; PREPARE df_commit AS SELECT 1")
"""The worker's own statements are not there, as far as a step can tell: it is repeated where they are not."""


async def one_session(stage: Stage) -> Any:
    """A worker with a single session per role: the next step is on the very session the last one used."""
    from durasql_runtime.pool import PoolLimits

    return stage.worker(pool=PoolLimits(per_role=1))


@pytest.mark.parametrize("leaving", LEAVES)
async def test_the_next_step_finds_a_session_as_new(stage: Stage, leaving: str) -> None:
    literal = "'" + leaving.replace("'", "''") + "'"
    probe = "'" + STATE.replace("'", "''") + "'"
    async with await one_session(stage):
        before = (await stage.run(probe)).value
        # as the next step of the same strand, as the first of the next instance, and after a failure
        if leaving not in FAILS_TOO:
            assert (await stage.run(f"{literal} ~> {probe}")).value == before
            failing = "'" + (leaving + "; SELECT 1/0").replace("'", "''") + "'"
            if leaving != "DISCARD ALL":
                assert "division by zero" in (await stage.run(failing)).error
        else:
            assert (await stage.run(literal)).status == "failed"
        assert (await stage.run(probe)).value == before


@pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK", "COMMIT AND CHAIN", "END", "ABORT", "BEGIN",
                                       "PREPARE TRANSACTION 'x'", "ROLLBACK TO a"])  # fmt: skip
async def test_a_step_cannot_end_its_transaction(working: Stage, statement: str) -> None:
    quoted = statement.replace("'", "''")
    outcome = await working.run(f"'INSERT INTO effects (what) VALUES (1); {quoted}'")
    assert "is not possible in a step" in outcome.error
    assert await working.one("SELECT count(*) FROM effects") == 0


async def test_a_deferred_constraint_fails_its_own_step(working: Stage) -> None:
    await working.sql("CREATE TABLE pairs (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    outcome = await working.run(
        "'INSERT INTO effects (what) VALUES (''kept'')' ~> 'INSERT INTO pairs VALUES (1), (1)' ~> 'SELECT 1'"
    )
    assert "duplicate key value violates unique constraint" in outcome.error
    assert await working.sql("SELECT what FROM effects") == [("kept",)]
    states = {row[0]: row[2] for row in await working.journal(outcome.id)}
    assert sorted(states.values()) == ["done", "failed", "failed", "failed"]


async def test_a_deferred_trigger_that_raises_at_commit_runs_once(working: Stage) -> None:
    await working.sql(
        "CREATE FUNCTION complain() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not today'; END $$"
    )
    await working.sql(
        "CREATE CONSTRAINT TRIGGER c AFTER INSERT ON effects DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
        "WHEN (NEW.what = 'bad') EXECUTE FUNCTION complain()"
    )
    outcome = await working.run("'INSERT INTO effects (what) VALUES (''bad'')' & 'SELECT 1'")
    assert "not today" in outcome.error
    assert await working.one("SELECT count(*) FROM effects") == 0


async def test_a_million_rows_are_refused_with_the_limit(working: Stage) -> None:
    outcome = await working.run(
        "'INSERT INTO effects (what) SELECT repeat(''x'', 30) FROM generate_series(1, 1000000) "
        "RETURNING what'"
    )
    assert "16777216" in outcome.error or "16 MB" in outcome.error
    assert await working.one("SELECT count(*) FROM effects") == 0


async def test_a_result_too_large_in_few_rows_leaves_no_effects(working: Stage) -> None:
    outcome = await working.run(
        "'INSERT INTO effects (what) SELECT repeat(''x'', 2000000) FROM generate_series(1, 10) "
        "RETURNING what'"
    )
    assert outcome.status == "failed"
    assert await working.one("SELECT count(*) FROM effects") == 0
    assert (await working.run("'SELECT 1 AS a'")).value["rows"] == [{"a": 1}]


async def test_a_step_that_ends_its_own_server_process_fails_alone(working: Stage) -> None:
    outcome = await working.run(
        "'INSERT INTO effects (what) VALUES (''once'')' ~> "
        "'INSERT INTO effects (what) VALUES (''never''); SELECT pg_terminate_backend(pg_backend_pid())'"
    )
    assert "connection was lost" in outcome.error
    assert await working.sql("SELECT what FROM effects") == [("once",)]
    assert (await working.run("'SELECT 1 AS a'")).value["rows"] == [{"a": 1}]


async def test_a_step_that_never_returns_is_stopped_by_cancel(working: Stage) -> None:
    id_ = await working.start("DO $$ BEGIN LOOP PERFORM 1 /* endless */; END LOOP; END $$")
    await working.until_active("endless")
    await working.sql("SELECT df.cancel(%s, 'enough')", (id_,))
    await working.until_idle("endless")
    assert (await working.outcome(id_)).status == "cancelled"


@pytest.mark.parametrize("copy", ["COPY effects FROM STDIN", "COPY effects TO STDOUT"])
async def test_copy_through_the_client_is_refused(working: Stage, copy: str) -> None:
    assert "COPY" in (await working.run(f"'{copy}'")).error


async def test_a_role_may_read_only_by_default(working: Stage) -> None:
    """P2: the journal row is written in the step's transaction, so that is one that may write."""
    id_ = await working.start_expression(
        "df.sleep(1) ~> 'SELECT 1 AS a' ~> 'VACUUM effects' ~> 'SELECT 1 / 0'"
    )
    await working.admin(f'ALTER ROLE "{working.role}" SET default_transaction_read_only = on')
    assert "division by zero" in (await working.outcome(id_)).error


async def test_statement_timeouts_of_a_role_hold(working: Stage) -> None:
    """E13."""
    await working.admin(f"ALTER ROLE \"{working.role}\" SET statement_timeout = '300ms'")
    outcome = await working.run("'SELECT pg_sleep(60)'")
    assert "canceling statement due to statement timeout" in outcome.error


async def test_more_waiting_steps_than_sessions_all_run(stage: Stage) -> None:
    """Backpressure queues between roles too: a role without a session gets one of the busy role's."""
    from durasql_runtime.pool import PoolLimits

    other = Stage(stage.database, stage.database.role("w"))
    async with stage.worker(pool=PoolLimits(per_role=2, total=2)):
        slow = [await stage.start("SELECT pg_sleep(0.05)") for _ in range(20)]
        quick = await other.start("SELECT 1 AS a")
        assert (await other.outcome(quick)).status == "completed"
        outcomes = await asyncio.gather(*(stage.outcome(id_) for id_ in slow))
        assert {outcome.status for outcome in outcomes} == {"completed"}
        # now all sessions are idle and belong to others
        third = Stage(stage.database, stage.database.role("t"))
        assert (await third.outcome(await third.start("SELECT 1"))).status == "completed"
    await other.close()
