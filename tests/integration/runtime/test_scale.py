"""P9: what does not grow. `make scale` measures the same with a hundred thousand instances."""

from __future__ import annotations

import pytest

from .conftest import Stage


async def test_a_loop_leaves_as_much_after_many_rounds_as_after_few(working: Stage) -> None:
    rows = []
    for count in (2, 200):
        body = "'SELECT $i + 1 AS n' |=> 'i'"
        done = await working.run(f"'SELECT 0 AS n' |=> 'i' ~> df.loop({body}, 'SELECT $i < {count}')")
        assert done.status == "completed"
        rows.append(await working.one("SELECT count(*) FROM df.journal WHERE instance_id = %s", (done.id,)))
    assert rows[0] == rows[1]


@pytest.mark.parametrize("wait", ["df.sleep(3600)", "df.wait_for_signal('never')"])
async def test_who_waits_is_in_no_workers_memory(stage: Stage, wait: str) -> None:
    async with stage.worker() as worker:
        await stage.sql(f"SELECT df.start({wait}) FROM generate_series(1, 300)")
        await stage.until("SELECT count(*) = 300 FROM df.waiting")
        await stage.until("SELECT NOT EXISTS (SELECT FROM df.instances WHERE worker IS NOT NULL)")
        assert (await stage.run("'SELECT 1'")).status == "completed"
        assert worker.vitals.running <= 1
        await stage.sql("SELECT df.cancel(id) FROM df.instances")
