"""df.pause and df.resume: an instance rests, and goes on as if nothing had been (P2, P3, P5, P6)."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import errors

from .conftest import Stage

WAIT = "df.wait_for_signal('go') |=> 'g' ~> $$INSERT INTO effects (what) VALUES ('after')$$"


async def status(stage: Stage, id_: str) -> str:
    return str(await stage.one("SELECT df.status(%s)", (id_,)))


async def effects(stage: Stage) -> list[str]:
    return [what for (what,) in await stage.sql("SELECT what FROM effects ORDER BY n")]


async def test_p2_a_step_in_flight_is_rolled_back_and_runs_again(working: Stage) -> None:
    gate = await working.connect("postgres")
    await gate.execute("SELECT pg_advisory_lock(815)")
    slow = await working.start_expression(
        "$$INSERT INTO effects (what) SELECT 'slow' FROM (SELECT CASE WHEN EXISTS (SELECT FROM pg_locks"
        " WHERE locktype = 'advisory' AND objid = 815) THEN pg_sleep(3600) /* resting */ END) AS s$$"
    )
    await working.until_active("resting")
    said = await working.one("SELECT df.pause(%s, 'maintenance')", (slow,))
    assert said == f"Instance {slow} paused: maintenance"
    await working.until_idle("resting")
    assert await status(working, slow) == "paused"
    assert "slow" not in await effects(working)
    await gate.execute("SELECT pg_advisory_unlock(815)")
    assert await working.one("SELECT df.resume(%s)", (slow,)) == f"Instance {slow} resumed"
    assert (await working.outcome(slow)).status == "completed"
    assert (await effects(working)).count("slow") == 1


async def test_signals_to_a_paused_instance_wait_for_it(working: Stage) -> None:
    id_ = await working.start_expression(WAIT)
    await working.until_parked(id_)
    await working.one("SELECT df.pause(%s)", (id_,))
    await working.one("SELECT df.signal(%s, 'go')", (id_,))
    assert await working.one("SELECT count(*) FROM df.signals") == 1
    assert await working.one("SELECT due IS NULL AND worker IS NULL FROM df.instances WHERE id = %s", (id_,))
    await working.one("SELECT df.resume(%s)", (id_,))
    assert (await working.outcome(id_)).status == "completed"
    assert await effects(working) == ["after"]


async def test_timers_that_fell_due_meanwhile_fire_afterwards(working: Stage) -> None:
    id_ = await working.start_expression("df.sleep(1) ~> 'SELECT 7 AS n'")
    await working.until_parked(id_)
    await working.one("SELECT df.pause(%s)", (id_,))
    await working.until(
        "SELECT due < clock_timestamp() FROM df.journal WHERE instance_id = %s AND state = 'waiting'", (id_,)
    )
    assert await status(working, id_) == "paused"
    await working.one("SELECT df.resume(%s)", (id_,))
    assert (await working.outcome(id_)).value["rows"] == [{"n": 7}]


async def test_one_that_never_began_stays_pending_after_a_rest(stage: Stage) -> None:
    id_ = await stage.start("SELECT 1")
    await stage.one("SELECT df.pause(%s)", (id_,))
    nodes = "SELECT status FROM df.instance_nodes(%s)"
    assert await stage.sql(nodes, (id_,)) == [("pending",)]
    async with stage.worker() as worker:
        await worker.started.wait()
        other = await stage.start("SELECT 2")
        await stage.outcome(other)
        assert await status(stage, id_) == "paused"
    await stage.one("SELECT df.resume(%s)", (id_,))
    assert await status(stage, id_) == "pending"
    async with stage.worker():
        assert (await stage.outcome(id_)).status == "completed"


async def test_a_paused_instance_can_be_cancelled(stage: Stage) -> None:
    id_ = await stage.start("SELECT 1")
    await stage.one("SELECT df.pause(%s)", (id_,))
    await stage.one("SELECT df.cancel(%s, 'no more')", (id_,))
    assert await stage.one("SELECT df.error(%s)", (id_,)) == "canceled: no more"
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match=f"cannot resume instance {id_}: it is"):
        await stage.one("SELECT df.resume(%s)", (id_,))


async def test_p2_a_step_that_pauses_its_own_instance_commits(working: Stage) -> None:
    """Its transaction holds the raised epoch itself, as with df.cancel."""
    id_ = await working.start_expression(
        "$$SELECT df.pause('{sys_instance_id}')$$ ~> $$INSERT INTO effects (what) VALUES ('after')$$"
    )
    await working.until("SELECT df.status(%s) = 'paused'", (id_,))
    assert (await working.journal(id_))[0][2] == "done"
    await working.one("SELECT df.resume(%s)", (id_,))
    assert (await working.outcome(id_)).status == "completed"
    assert await effects(working) == ["after"]


async def test_pausing_twice_is_no_mistake_but_resuming_what_runs_is(stage: Stage) -> None:
    id_ = await stage.start("SELECT 1")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="it is pending") as raised:
        await stage.one("SELECT df.resume(%s)", (id_,))
    assert raised.value.diag.message_hint == "Only paused instances are resumed."
    await stage.one("SELECT df.pause(%s, 'because')", (id_,))
    assert await stage.one("SELECT df.pause(%s, 'again')", (id_,)) == f"Instance {id_} is paused already"
    assert await stage.one("SELECT pause_reason FROM df.instances") == "because"


@pytest.mark.parametrize("verb", ["pause", "resume", "retry_instance"])
async def test_unknown_instances_are_named(stage: Stage, verb: str) -> None:
    with pytest.raises(errors.NoDataFound, match="Instance not found or access denied: 00000000"):
        await stage.one(f"SELECT df.{verb}('00000000')")
    assert await stage.one(f"SELECT df.{verb}(NULL)") is None


@pytest.mark.parametrize("verb", ["pause", "resume", "retry_instance", "cancel"])
async def test_p6_a_role_touches_only_its_own(stage: Stage, verb: str) -> None:
    id_ = await stage.start("SELECT 1")
    other = stage.database.role()
    with pytest.raises(errors.NoDataFound):
        await stage.one(f"SELECT df.{verb}(%s)", (id_,), other)
    assert await status(stage, id_) == "pending"


@pytest.mark.parametrize("verb", ["pause", "resume"])
async def test_p5_the_verbs_belong_to_the_transaction(stage: Stage, verb: str) -> None:
    id_ = await stage.start("SELECT 1")
    if verb == "resume":
        await stage.one("SELECT df.pause(%s)", (id_,))
    before = await stage.sql("SELECT status, due, epoch, worker, pause_reason FROM df.instances")
    session = await stage.connect(autocommit=False)
    await session.execute(f"SELECT df.{verb}(%s)", (id_,))
    await session.rollback()
    assert await stage.sql("SELECT status, due, epoch, worker, pause_reason FROM df.instances") == before


async def test_p3_a_worker_that_does_not_hear_of_it_cannot_write(stage: Stage) -> None:
    """The epoch keeps the old claim out, even when the same worker has the instance again."""
    async with stage.worker() as worker:
        id_ = await stage.start_expression(WAIT)
        await stage.until_parked(id_)
        before = await stage.one("SELECT epoch FROM df.instances WHERE id = %s", (id_,))
        await stage.one("SELECT df.pause(%s)", (id_,))
        assert await stage.one("SELECT epoch FROM df.instances WHERE id = %s", (id_,)) == before + 1
        assert worker.started.is_set()


async def test_while_it_rests_the_monitoring_says_so(stage: Stage) -> None:
    id_ = await stage.start("SELECT 1", "nightly")
    await stage.one("SELECT df.pause(%s, 'maintenance')", (id_,))
    rows = await stage.sql("SELECT instance_id, label, kind, waits_for FROM df.waiting")
    assert rows == [(id_, "nightly", "paused", "maintenance")]
    assert await stage.sql("SELECT instance_id FROM df.list_instances('paused')") == [(id_,)]
    assert "⏸ Paused" in await stage.one("SELECT df.explain(%s)", (id_,))
    with pytest.raises(psycopg.Error, match=r"status: paused") as raised:
        await stage.one("SELECT df.await_instance(%s, 1)", (id_,))
    assert "df.resume" in (raised.value.diag.message_hint or "")
    (metrics,) = await stage.sql("SELECT running_instances FROM df.metrics()", role=stage.database.owner)
    assert metrics == (1,)


async def test_a_paused_instance_keeps_its_key(stage: Stage) -> None:
    start: Any = "SELECT df.start('SELECT 1', key => 'k')"
    id_ = await stage.one(start)
    await stage.one("SELECT df.pause(%s)", (id_,))
    assert await stage.one(start) == id_


async def test_retention_leaves_what_rests_alone(stage: Stage) -> None:
    id_ = await stage.start("SELECT 1")
    await stage.one("SELECT df.pause(%s)", (id_,))
    await stage.admin("UPDATE df.instances SET created_at = now() - interval '1 year'")
    assert await stage.sql("SELECT instances FROM df.prune()", role=stage.database.owner) == [(0,)]
    for over in ("compensated", "stuck"):
        await stage.admin(f"UPDATE df.instances SET status = '{over}'")
        await stage.admin("UPDATE df.instances SET created_at = now()")
        assert await stage.sql("SELECT instances FROM df.prune()", role=stage.database.owner) == [(0,)]
    await stage.admin("UPDATE df.instances SET created_at = now() - interval '1 year'")
    assert await stage.sql("SELECT instances FROM df.prune()", role=stage.database.owner) == [(1,)]
