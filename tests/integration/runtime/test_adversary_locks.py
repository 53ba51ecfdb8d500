"""Locks, open transactions and notifications of one role stop nobody else's work, and no worker (P4, P6)."""

from __future__ import annotations

import asyncio

import psycopg

from .conftest import Stage
from .test_adversary_poison import Impostor, alive

LOCK_OWN = "SELECT FROM df.instances FOR UPDATE"


async def test_workers_sign_on_whatever_advisory_locks_are_held(stage: Stage) -> None:
    """The lock that shows that a worker lives is not known before it is taken."""
    connection = await stage.connect()
    await connection.execute(
        "SELECT pg_advisory_lock(df._worker_lock_class(), n) FROM generate_series(1, 500) AS n"
    )
    async with stage.worker():
        assert await alive(stage)


async def test_an_open_take_over_by_one_role_holds_up_nobody(stage: Stage) -> None:
    """A role's own worker may look for lost workers, but must not sit on what they leave behind."""
    lost = await Impostor.enter(stage, stage.database.owner)
    other = Stage(stage.database, stage.database.role("other"))
    id_ = await other.start_expression("'SELECT 1 AS a'")
    await lost.claim(id_)
    number = lost.number
    await lost.connection.close()
    await stage.until("SELECT NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory')", (), "postgres")
    thief = await Impostor.enter(stage)
    await thief.connection.set_autocommit(False)
    await thief.connection.execute("SELECT df._reap(%s, 'token')", (thief.number,))
    await thief.connection.execute("SELECT df._wake(%s, 'token', NULL, true)", (thief.number,))
    async with stage.worker():
        assert (await other.outcome(id_)).status == "completed"
        await stage.until("SELECT NOT EXISTS (SELECT FROM df.workers WHERE id = %s)", (number,), "postgres")


async def test_a_roles_own_worker_takes_over_its_instances_from_a_lost_one(stage: Stage) -> None:
    lost = await Impostor.enter(stage, stage.database.owner)
    id_ = await stage.start_expression("'SELECT 1 AS a'")
    await lost.claim(id_)
    await lost.connection.close()
    async with stage.worker(stage.role):
        assert (await stage.outcome(id_)).status == "completed"


async def test_locked_rows_freeze_no_worker(stage: Stage) -> None:
    """The worker's own connection renews a claim after a lost connection, whose row is locked for good."""
    jailer = await stage.connect(autocommit=False)
    async with stage.worker():
        id_ = await stage.start("SELECT pg_sleep(60) /* victim */")
        pid = await stage.until_active("victim")
        await jailer.execute(LOCK_OWN)
        await stage.sql("SELECT pg_terminate_backend(%s)", (pid,))
        assert await alive(stage)
        await jailer.commit()
        await stage.until_active("victim")
        await stage.sql("SELECT df.cancel(%s)", (id_,))
        assert (await stage.outcome(id_)).status == "cancelled"


async def test_locked_rows_use_up_no_shared_sessions(stage: Stage) -> None:
    """Waits are recorded on sessions that all roles share."""
    jailer = await stage.connect(autocommit=False)
    async with stage.worker():
        ids = [await stage.start_expression("'SELECT pg_sleep(60)' | df.sleep(1)") for _ in range(12)]
        for id_ in ids:
            await stage.until_waiting(id_)
        await jailer.execute(LOCK_OWN)
        await stage.until(
            "SELECT count(*) = 12 FROM df.journal WHERE state = 'waiting' AND due < clock_timestamp()"
        )
        assert await alive(stage)
        await jailer.commit()
        outcomes = await asyncio.gather(*(stage.outcome(id_) for id_ in ids))
        assert {outcome.status for outcome in outcomes} == {"completed"}


async def test_a_worker_leaves_though_rows_are_locked(stage: Stage) -> None:
    jailer = await stage.connect(autocommit=False)
    async with stage.worker():
        id_ = await stage.start("SELECT pg_sleep(1) /* left */")
        await stage.until_active("left")
        await jailer.execute(LOCK_OWN)
    # The worker is gone; who comes next finds what it could not give back.
    async with stage.worker():
        assert await alive(stage)
        await jailer.commit()
        assert (await stage.outcome(id_)).status == "completed"
        await stage.until("SELECT count(*) = 1 FROM df.workers", (), "postgres")


async def test_a_program_that_somebody_is_storing_freezes_no_worker(stage: Stage) -> None:
    thief = await Impostor.enter(stage)
    id_ = await stage.start("SELECT 1 AS a")
    await thief.connection.set_autocommit(False)
    await thief.connection.execute(
        "SELECT df._store_code(%s, 'token', owner::oid, hash, 1, 'nonsense') FROM df.programs",
        (thief.number,),
    )
    async with stage.worker():
        assert (await stage.outcome(id_)).status == "completed"
        assert await alive(stage)


async def test_a_flood_of_notifications_drowns_no_worker(stage: Stage) -> None:
    """Also of such that name an instance the worker runs: it asks once for all of them."""
    async with stage.worker() as worker:
        id_ = await stage.start("SELECT pg_sleep(60) /* flooded */")
        await stage.until_active("flooded")
        await stage.sql(
            "SELECT pg_notify('df', 'c' || n || ':' || %s), pg_notify('df', 's:' || n), "
            "pg_notify('df', 's:' || lpad(to_hex(n), 8, '0')) FROM generate_series(1, 20000) AS n",
            (id_,),
        )
        assert await alive(stage)
        assert len(worker._chores) < 10 and len(worker._unheard) <= 10_000
        await stage.sql("SELECT df.cancel(%s)", (id_,))
        assert (await stage.outcome(id_)).status == "cancelled"


async def test_a_role_cannot_fill_the_table_of_workers(stage: Stage) -> None:
    await stage.setting("max_workers_per_role", "3")
    connection = await stage.connect()
    for _ in range(3):
        await connection.execute("SELECT df._hello(repeat('w', 100000), 'h', 1, '0', 'token')")
    try:
        await connection.execute("SELECT df._hello('w', 'h', 1, '0', 'token')")
        raise AssertionError("a fourth worker was let in")
    except psycopg.errors.ConfigurationLimitExceeded:
        pass
    assert await stage.one("SELECT max(length(name)) FROM df.workers", role="postgres") == 200
    async with stage.worker():
        assert await alive(stage)


async def test_strays_of_a_role_out_of_reach_do_not_shield_others(stage: Stage) -> None:
    """Anybody can give a session a lost worker's name; it must not keep real ones from being ended."""
    hidden = stage.database.role("aaa")
    decoy = await stage.connect(hidden, application_name="durasql step 999999999 x")
    real = await stage.connect(application_name="durasql step 999999998 y")
    await stage.admin(f"ALTER ROLE {hidden} CONNECTION LIMIT 0")
    pid = real.info.backend_pid
    async with stage.worker():
        await stage.until(
            "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s)", (pid,), "postgres"
        )
    assert decoy.info.backend_pid
