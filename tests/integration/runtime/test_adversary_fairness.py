"""One role's backlog does not keep other roles waiting for hours (P6, P9)."""

from __future__ import annotations

import asyncio

from durasql_runtime.places import Places
from durasql_runtime.pool import Pool, PoolLimits
from durasql_runtime.turns import Turns

from .conftest import Stage


async def test_a_backlog_of_slow_steps_leaves_room_for_others(stage: Stage) -> None:
    others = [Stage(stage.database, stage.database.role("other")) for _ in range(2)]
    slow = [await stage.start("SELECT pg_sleep(600) /* slow */") for _ in range(40)]
    async with stage.worker(concurrency=16, claim_batch=8, pool=PoolLimits(per_role=2, total=6)):
        await stage.until_active("slow")
        for other in others:
            assert (await other.run("'SELECT 1 AS a' ~> df.sleep(0)")).status == "completed"
        await stage.sql("SELECT df.cancel(id) FROM df.instances")
        assert (await stage.outcome(slow[0])).status == "cancelled"


def test_places_are_kept_for_those_who_have_few() -> None:
    places = Places(100, 50)
    while (offer := places.offer()).limit and not offer.but:
        for _ in range(offer.limit):
            places.take(1)
    assert (places.free, offer.limit, offer.but) == (0, 12, (1,))
    for _ in range(6):
        places.take(2)
    assert places.offer().but == (1, 2)
    for _ in range(6):
        places.take(3)
    assert places.offer().limit == 0
    places.give_back(1)
    assert places.offer().but == (1, 2, 3)


def test_a_few_places_are_all_for_anybody() -> None:
    places = Places(1, 50)
    assert (places.offer().limit, places.offer().but) == (1, ())
    places.take(1)
    assert places.offer().limit == 0


async def test_wide_workflows_do_not_starve_another_role(stage: Stage) -> None:
    """Thousands of branches are ready before the other role starts its one step."""
    other = Stage(stage.database, stage.database.role("other"))
    wide = " & ".join(f"'SELECT {number}, pg_sleep(0.02)'" for number in range(10))
    await stage.sql(f"SELECT df.start({wide}) FROM generate_series(1, 500)")
    async with stage.worker(concurrency=32, claim_batch=16, pool=PoolLimits(per_role=2, total=4)):
        await stage.until("SELECT EXISTS (SELECT FROM df.instances WHERE status = 'completed')")
        assert (await other.run("'SELECT 1'")).status == "completed"
        assert await stage.one("SELECT count(*) FROM df.instances WHERE status = 'completed'") < 250
        await stage.sql("SELECT df.cancel(id) FROM df.instances WHERE status IN ('pending', 'running')")


async def test_a_wide_workflow_lets_a_small_one_in_between(stage: Stage) -> None:
    """Of the same role: whoever waits for a session gets one in turn, instance by instance."""
    branches = " & ".join(f"'SELECT {number}, pg_sleep(0.05)'" for number in range(200))
    wide = await stage.start_expression(branches)
    done = "SELECT count(*) FROM df.journal WHERE instance_id = %s AND state = 'done'"
    async with stage.worker(pool=PoolLimits(per_role=1)):
        await stage.until(done.replace("count(*)", "count(*) > 0"), (wide,))
        assert (await stage.run("'SELECT 1'")).status == "completed"
        assert await stage.one(done, (wide,)) < 200
        await stage.sql("SELECT df.cancel(%s)", (wide,))


async def test_a_long_sequence_lets_others_in_between(stage: Stage) -> None:
    """It goes from step to step on one session, and gives that back when others have waited."""
    rounds = "'SELECT 0 AS n' |=> 'i' ~> df.loop('SELECT $i + 1 AS n' |=> 'i')"
    await stage.start_expression(rounds)
    async with stage.worker(pool=PoolLimits(per_role=1)):
        for _ in range(3):
            assert (await stage.run("'SELECT 1' ~> 'SELECT 2'")).status == "completed"


async def test_sessions_of_a_role_are_counted_in_all_databases(stage: Stage) -> None:
    pool = Pool(stage.database.owner_dsn, {}, PoolLimits(per_role=1), "t")
    first = await pool.acquire(stage.role, None, "a")
    waiting = asyncio.create_task(pool.acquire(stage.role, "postgres", "b"))
    await stage.until("SELECT true")
    assert pool.awaited(stage.role)
    await first.query("SELECT 1", ())
    pool.release(first, None)
    second = await waiting
    open_now = (
        "SELECT count(*) <= 1 FROM pg_stat_activity WHERE usename = %s AND application_name LIKE 'durasql%%'"
    )
    await stage.until(open_now, (stage.role,), "postgres")
    pool.release(second, "postgres")
    await pool.close()


async def test_whoever_waits_gets_turns_by_owner() -> None:
    turns = Turns(1)
    await turns.acquire("big")
    order: list[str] = []

    async def take(owner: str) -> None:
        await turns.acquire(owner)
        order.append(owner)
        turns.release()

    tasks = [asyncio.create_task(take(owner)) for owner in ("big", "big", "big", "big", "small", "other")]
    await asyncio.sleep(0)
    tasks[1].cancel()
    turns.release()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == ["big", "small", "other", "big", "big"]
    assert not turns.awaited


async def test_timers_that_fire_together_let_new_work_in_between(stage: Stage) -> None:
    """Of the same role: not everything waits until the backlog is done."""
    await stage.sql("SELECT df.start('SELECT pg_sleep(0.05)') FROM generate_series(1, 400)")
    async with stage.worker(concurrency=32, claim_batch=16, pool=PoolLimits(per_role=2)):
        await stage.until("SELECT EXISTS (SELECT FROM df.instances WHERE status = 'completed')")
        assert (await stage.run("'SELECT 1'")).status == "completed"
        assert await stage.one("SELECT count(*) FROM df.instances WHERE status = 'completed'") < 350
        await stage.sql("SELECT df.cancel(id) FROM df.instances WHERE status IN ('pending', 'running')")
