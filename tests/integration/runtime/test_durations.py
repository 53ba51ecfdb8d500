"""P10: how long steps and waits took can be read."""

from __future__ import annotations

from .conftest import Stage

TOOK = (
    "SELECT extract(epoch FROM recorded_at - started_at)::float8 FROM df.journal "
    "WHERE instance_id = %s AND node = %s"
)


async def test_steps_and_waits_have_a_duration_and_composites_have_none(working: Stage) -> None:
    done = await working.run("'SELECT pg_sleep(0.2)' ~> df.sleep(1)")
    composite, step, wait = [await working.one(TOOK, (done.id, node)) for node in (0, 1, 2)]
    assert composite is None
    assert step >= 0.2
    assert wait >= 1


async def test_a_step_that_failed_or_ran_outside_a_transaction_has_one_too(working: Stage) -> None:
    failed = await working.run("$s$DO 'BEGIN PERFORM pg_sleep(0.2); RAISE ''no''; END'$s$")
    assert await working.one(TOOK, (failed.id, 0)) >= 0.2
    outside = await working.run("'VACUUM effects'")
    assert await working.one(TOOK, (outside.id, 0)) > 0


async def test_a_loop_tells_of_its_latest_round(working: Stage) -> None:
    body = "'SELECT $i + 1 AS n, pg_sleep(0.1 * $i)' |=> 'i'"
    done = await working.run(f"'SELECT 0 AS n' |=> 'i' ~> df.loop({body}, 'SELECT $i < 3')")
    query = "SELECT max(extract(epoch FROM recorded_at - started_at))::float8 FROM df.journal"
    assert await working.one(f"{query} WHERE instance_id = %s", (done.id,)) >= 0.2
