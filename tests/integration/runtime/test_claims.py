"""P2, P3: what a claim sees, when workers compete for an instance."""

from __future__ import annotations

import asyncio
from typing import Any

from .conftest import Stage

ROW = '[{"node":%d,"gen":"","seq":1,"state":"done","value":"{}"}]'


async def sign_on(stage: Stage, token: str) -> tuple[Any, int]:
    """A worker's control connection without a worker."""
    connection = await stage.connect(stage.database.owner)
    row = await (await connection.execute("SELECT df._hello('w', 'h', 1, 'v', %s)", (token,))).fetchone()
    assert row is not None
    return connection, row[0]


async def test_a_claim_that_began_early_sees_what_was_written_meanwhile(stage: Stage) -> None:
    """A claiming statement is held up after its snapshot; the instance that it claims next was claimed,
    advanced and put back by another worker meanwhile. Found by chaos: the second claim came without a
    journal.
    """
    await stage.admin(
        "CREATE FUNCTION public.gate() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_advisory_xact_lock(77); RETURN NEW; END $$"
    )
    await stage.admin(
        "CREATE TRIGGER gate BEFORE UPDATE ON df.instances FOR EACH ROW WHEN (NEW.label = 'gate') "
        "EXECUTE FUNCTION public.gate()"
    )
    await stage.start("SELECT 1", "gate")
    victim = await stage.start_expression("'SELECT 1' ~> 'SELECT 2'")
    keeper = await stage.connect("postgres")
    await keeper.execute("SELECT pg_advisory_lock(77)")
    (slow, slow_id), (quick, quick_id) = await sign_on(stage, "slow"), await sign_on(stage, "quick")
    await slow.execute(
        "SELECT set_config('enable_hashjoin', 'off', false), set_config('enable_mergejoin', 'off', false)"
    )

    claiming = asyncio.create_task(
        slow.execute("SELECT id, history FROM df._claim(%s, 'slow', 10)", (slow_id,))
    )
    await stage.until("SELECT count(*) = 1 FROM pg_locks WHERE NOT granted AND objid = 77", (), "postgres")
    claimed = await (
        await quick.execute("SELECT epoch FROM df._claim(%s, 'quick', 1, %s)", (quick_id, victim))
    ).fetchone()
    assert claimed == (1,)
    await quick.execute(
        "SELECT df._record(%s, 'quick', %s, 1, %s, p_park => true)", (quick_id, victim, ROW % 1)
    )
    await quick.execute("SELECT df._release(%s, 'quick', %s)", (quick_id, [victim]))
    await stage.sql("UPDATE df.instances SET due = now() WHERE id = %s", (victim,), stage.database.owner)
    await keeper.execute("SELECT pg_advisory_unlock(77)")
    histories = dict(await (await claiming).fetchall())
    assert len(histories) == 2, "the plan locked the rows beforehand, so that this tests nothing"
    assert histories[victim] is not None


async def test_a_renewed_claim_shuts_the_old_one_out(stage: Stage) -> None:
    """A lost connection's last record may still arrive."""
    id_ = await stage.start("SELECT 1")
    connection, number = await sign_on(stage, "t")
    await connection.execute("SELECT df._claim(%s, 't', 1)", (number,))
    await connection.execute("SELECT df._reload(%s, 't', %s, 1)", (number, id_))
    late = f"SELECT df._record(%s, 't', %s, %s, '{ROW % 0}')"
    try:
        await connection.execute(late, (number, id_, 1))
    except Exception as error:
        assert getattr(error, "sqlstate", None) == "DF001"
    else:
        raise AssertionError("the old epoch was accepted")
    await connection.execute(late, (number, id_, 2))


async def test_a_worker_is_not_buried_while_it_claims(stage: Stage) -> None:
    """Found by chaos: a claim that committed after the burial belonged to nobody for ever."""
    id_ = await stage.start("SELECT 1")
    (dying, dying_id), (other, other_id) = await sign_on(stage, "d"), await sign_on(stage, "o")
    await dying.execute("BEGIN")
    await dying.execute("SELECT df._claim(%s, 'd', 1)", (dying_id,))
    await stage.sql("UPDATE df._workers SET heartbeat = '-infinity' WHERE id = %s", (dying_id,), "postgres")
    await other.execute("SELECT df._reap(%s, 'o')", (other_id,))
    await dying.execute("COMMIT")
    row = await (await other.execute("SELECT df._reap(%s, 'o')", (other_id,))).fetchone()
    assert row == (1,)
    assert await stage.one("SELECT worker IS NULL AND due <= now() FROM df.instances WHERE id = %s", (id_,))


async def test_a_search_goes_on_where_the_last_one_ended(stage: Stage) -> None:
    """P9: what was claimed stays in the queue's index for as long as some transaction may see it."""
    old = await stage.connect(stage.database.owner)
    await old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    await old.execute("SELECT FROM df.settings")
    connection, number = await sign_on(stage, "t")
    await stage.sql("SELECT df.start('SELECT 1') FROM generate_series(1, 300)")
    query = (
        "SELECT since::text, id FROM df._claim(%s, 't', 300, p_after => %s::timestamptz, p_after_id => %s)"
    )
    place: tuple[str | None, str | None] = (None, None)
    claimed = await (await connection.execute(query, (number, *place))).fetchall()
    assert (len(claimed), sorted(claimed)) == (300, claimed)

    async def read() -> int:
        counter = "SELECT pg_stat_get_xact_tuples_returned('df.instances_due_idx'::regclass)"
        row = await (await connection.execute(counter)).fetchone()
        assert row is not None
        return int(row[0])

    async def read_by(after: tuple[str | None, str | None]) -> int:
        async with connection.transaction():
            before = await read()
            assert await (await connection.execute(query, (number, *after))).fetchall() == []
            return await read() - before

    assert await read_by(place) >= 300, "nothing is dead, so that this tests nothing"
    assert await read_by(claimed[-1]) <= 1


async def test_nothing_is_left_behind(stage: Stage) -> None:
    """P4: a start whose transaction is long to commit is older in the queue than what was claimed since."""
    slow = await stage.connect()
    async with stage.worker():
        await slow.execute("BEGIN")
        row = await (await slow.execute("SELECT df.start('SELECT 1')")).fetchone()
        for _ in range(5):
            assert (await stage.run("'SELECT 2'")).status == "completed"
        await slow.execute("COMMIT")
        assert row is not None
        assert (await stage.outcome(row[0])).status == "completed"
