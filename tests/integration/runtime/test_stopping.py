"""E3, E4 and P3: cancelled and losing work stops on the server and leaves no effects."""

from __future__ import annotations

import asyncio

from .conftest import Stage

SLOW = "'INSERT INTO effects (what) VALUES (''loser''); SELECT pg_sleep(120) /* {mark} */'"


async def test_cancel_stops_the_statement_and_undoes_the_step(working: Stage) -> None:
    id_ = await working.start_expression(
        "'INSERT INTO effects (what) VALUES (''kept'')' ~> " + SLOW.format(mark="c1")
    )
    await working.until_active("c1")
    await working.sql("SELECT df.cancel(%s, 'why')", (id_,))
    await working.until_idle("c1")
    assert await working.sql("SELECT what FROM effects") == [("kept",)]
    assert await working.one("SELECT df.error(%s)", (id_,)) == "canceled: why"


async def test_cancel_reaches_every_branch(working: Stage) -> None:
    both = (
        "'SELECT 1' ~> ("
        + SLOW.format(mark="c2 left")
        + " & ('SELECT 1' ~> "
        + SLOW.format(mark="c2 right")
        + "))"
    )
    id_ = await working.start_expression(both)
    await working.until_active("c2 left")
    await working.until_active("c2 right")
    await working.sql("SELECT df.cancel(%s)", (id_,))
    await working.until_idle("c2")
    assert await working.one("SELECT count(*) FROM effects") == 0


async def test_cancel_of_parked_and_of_pending_instances(stage: Stage) -> None:
    pending = await stage.start("SELECT 1")
    await stage.sql("SELECT df.cancel(%s)", (pending,))
    async with stage.worker():
        parked = await stage.start_expression("df.sleep(3600)")
        await stage.until_parked(parked)
        await stage.sql("SELECT df.cancel(%s)", (parked,))
        assert (await stage.outcome(parked)).status == "cancelled"
    assert await stage.one("SELECT df.status(%s)", (pending,)) == "cancelled"
    assert await stage.one("SELECT count(*) FROM df.journal WHERE instance_id = %s", (pending,)) == 0


async def test_a_step_may_cancel_its_own_instance(working: Stage) -> None:
    """The step's effects stay, nothing follows; also from a subtransaction, and when another step is on its
    way.
    """
    cancel = "PERFORM df.cancel(''{sys_instance_id}'', ''enough'')"
    inside = f"BEGIN {cancel}; EXCEPTION WHEN division_by_zero THEN NULL; END"
    for call in (f"{cancel};", f"{inside};"):
        first = f"'INSERT INTO effects (what) VALUES (''before''); DO $d$ BEGIN {call} END $d$'"
        id_ = await working.start_expression(f"{first} ~> 'INSERT INTO effects (what) VALUES (''after'')'")
        assert (await working.outcome(id_)).status == "cancelled"
        assert await working.one("SELECT df.error(%s)", (id_,)) == "canceled: enough"
    assert (await working.run("'SELECT 1'")).status == "completed"
    assert await working.sql("SELECT what FROM effects") == [("before",), ("before",)]


async def test_a_cancel_that_is_rolled_back_changes_nothing(working: Stage) -> None:
    """E3."""
    id_ = await working.start_expression("'SELECT pg_sleep(1) /* c3 */' ~> 'SELECT 1 AS a'")
    await working.until_active("c3")
    connection = await working.connect()
    async with connection.transaction(force_rollback=True):
        await connection.execute("SELECT df.cancel(%s)", (id_,))
    assert (await working.outcome(id_)).value["rows"] == [{"a": 1}]


async def test_a_start_in_a_long_transaction_runs_when_it_commits(working: Stage) -> None:
    """E3, P5."""
    connection = await working.connect(autocommit=False)
    row = await (await connection.execute("SELECT df.start('SELECT 1 AS a')")).fetchone()
    assert row is not None
    assert (await working.run("'SELECT 2 AS b'")).status == "completed"
    await connection.commit()
    assert (await working.outcome(row[0])).status == "completed"


async def test_a_losing_strand_is_stopped_however_far_it_came(working: Stage) -> None:
    """The race goes on to another step, so nothing but the lost race stops the loser."""
    outcome = await working.run(
        "df.race('SELECT 1' ~> 'SELECT 2' ~> " + SLOW.format(mark="c4") + ", df.sleep(1) ~> 'SELECT 1') "
        "~> 'SELECT count(*) AS n FROM effects' ~> 'SELECT pg_sleep(1)' ~> "
        "'SELECT count(*) AS n FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state = ''active'' "
        "AND query LIKE ''%c4%'''"
    )
    assert outcome.value["rows"] == [{"n": 0}]
    assert await working.one("SELECT count(*) FROM effects") == 0


async def test_nested_losers_stop(working: Stage) -> None:
    outcome = await working.run(
        "df.race(("
        + SLOW.format(mark="c5 a")
        + " & df.race("
        + SLOW.format(mark="c5 b")
        + ", df.sleep(600))), "
        "df.sleep(1) ~> 'SELECT 1 AS won')"
    )
    assert outcome.value["rows"] == [{"won": 1}]
    await working.until_idle("c5")
    assert await working.one("SELECT count(*) FROM effects") == 0


async def test_lost_races_give_their_sessions_back(stage: Stage) -> None:
    """More lost races than the pool has places."""
    from durasql_runtime.pool import PoolLimits

    async with stage.worker(pool=PoolLimits(per_role=3, total=3)):
        for _ in range(8):
            outcome = await stage.run("df.race('SELECT pg_sleep(120) /* c6 */', 'SELECT 1 AS a')")
            assert outcome.value["rows"] == [{"a": 1}]
        ids = [await stage.start("SELECT pg_sleep(120) /* c7 */") for _ in range(8)]
        await stage.until_active("c7")
        await stage.sql("SELECT df.cancel(unnest(%s::text[]))", (ids,))
        await stage.until_idle("c7")
        assert (await stage.run("'SELECT 1 AS a'")).status == "completed"


async def test_cancel_is_not_lost_while_nobody_listens(stage: Stage) -> None:
    """The worker's ear is cut off; it asks again when it listens again."""
    async with stage.worker():
        id_ = await stage.start("SELECT pg_sleep(120) /* c8 */")
        await stage.until_active("c8")
        await stage.admin(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name LIKE 'durasql listen%'"
        )
        await stage.sql("SELECT df.cancel(%s)", (id_,))
        await stage.until_idle("c8")


async def test_draining_hands_over_between_steps(stage: Stage) -> None:
    """Whatever the first worker was at, the second finishes it; no step fails or runs twice."""
    ids = [await stage.start_expression(
        "'INSERT INTO effects (what) VALUES (''{sys_instance_id} a'')' ~> 'SELECT pg_sleep(0.2)' ~> "
        "('INSERT INTO effects (what) VALUES (''{sys_instance_id} b'')' & 'SELECT pg_sleep(0.1)') ~> "
        "df.sleep(1) ~> 'INSERT INTO effects (what) VALUES (''{sys_instance_id} c'')'"
    ) for _ in range(10)]  # fmt: skip
    for _ in range(3):
        async with stage.worker(drain_seconds=2.0):
            await stage.until("SELECT count(*) > 0 FROM df.journal")
    async with stage.worker():
        outcomes = await asyncio.gather(*(stage.outcome(id_) for id_ in ids))
    assert {outcome.status for outcome in outcomes} == {"completed"}, outcomes
    assert await stage.one("SELECT count(*) = 30 AND count(DISTINCT what) = 30 FROM effects")
