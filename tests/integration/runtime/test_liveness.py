"""P3, P4: workers that are stopped, killed, cut off or restarted, and servers that go away."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from .conftest import PATIENCE, Stage

Start = Callable[..., "subprocess.Popen[str]"]


async def ready(stage: Stage, process: subprocess.Popen[str]) -> int:
    """Wait until the worker process has signed on; its number."""
    return int(await stage.until("SELECT id FROM df.workers WHERE pid = %s", (process.pid,), "postgres"))


async def test_a_stopped_worker_writes_nothing_after_it_was_replaced(
    stage: Stage, worker_process: Start
) -> None:
    """P3: SIGSTOP for longer than the lease, in a step that holds a row's lock; then SIGCONT."""
    await stage.setting("lease_seconds", "2")
    await stage.sql("CREATE TABLE counter AS SELECT 0 AS n")
    first = worker_process()
    number = await ready(stage, first)
    id_ = await stage.start_expression(
        "'UPDATE counter SET n = n + 1; SELECT pg_sleep(3) /* held */' ~> "
        "'INSERT INTO effects (what) VALUES (''after'')'"
    )
    await stage.until_active("held")
    first.send_signal(signal.SIGSTOP)
    try:
        async with stage.worker():
            outcome = await stage.outcome(id_)
            assert outcome.status == "completed"
            first.send_signal(signal.SIGCONT)
            # It finds out, signs on under a new number, and works on.
            await stage.until(
                "SELECT count(*) = 1 FROM df.workers WHERE pid = %s AND id <> %s",
                (first.pid, number),
                "postgres",
            )
        assert (await stage.run("'SELECT 1 AS a'")).status == "completed"
    finally:
        first.send_signal(signal.SIGCONT)
    assert await stage.sql("SELECT n FROM counter") == [(1,)]
    assert await stage.sql("SELECT what FROM effects") == [("after",)]
    assert await stage.one("SELECT epoch > 1 FROM df.instances WHERE id = %s", (id_,))


async def test_a_killed_workers_instances_go_on_elsewhere(stage: Stage, worker_process: Start) -> None:
    first = worker_process()
    await ready(stage, first)
    ids = [await stage.start_expression(
        f"'INSERT INTO effects (what) VALUES (''{n} a'')' ~> 'SELECT pg_sleep(1) /* busy */' ~> "
        f"'INSERT INTO effects (what) VALUES (''{n} b'')'"
    ) for n in range(5)]  # fmt: skip
    await stage.until_active("busy")
    first.kill()
    async with stage.worker():
        outcomes = await asyncio.gather(*(stage.outcome(id_) for id_ in ids))
        await stage.until("SELECT count(*) = 1 FROM df.workers", (), "postgres")
    assert {outcome.status for outcome in outcomes} == {"completed"}
    assert await stage.one("SELECT count(*) = 10 AND count(DISTINCT what) = 10 FROM effects")


async def test_sigterm_hands_over_without_failing_a_step(stage: Stage, worker_process: Start) -> None:
    first = worker_process(None, "--drain", "0.1")
    await ready(stage, first)
    id_ = await stage.start_expression(
        "'INSERT INTO effects (what) VALUES (1); SELECT pg_sleep(2) /* term */'"
    )
    await stage.until_active("term")
    first.send_signal(signal.SIGTERM)
    async with stage.worker():
        assert (await stage.outcome(id_)).status == "completed"
    assert await asyncio.to_thread(first.wait, PATIENCE) == 0
    assert await stage.one("SELECT count(*) FROM effects") == 1
    assert await stage.one("SELECT count(*) FROM df.workers", role="postgres") == 0


async def test_losing_every_connection_loses_nothing(working: Stage) -> None:
    """All of a worker's server processes are ended, again and again; the idle ones of its pool too."""
    await asyncio.gather(*(working.run("'SELECT pg_sleep(0.1)'") for _ in range(8)))
    ids = [await working.start_expression(
        f"df.loop('INSERT INTO effects (what) VALUES (''{n}'')' ~> 'SELECT pg_sleep(0.05)', "
        f"'SELECT count(*) < 10 FROM effects WHERE what = ''{n}''')"
    ) for n in range(8)]  # fmt: skip
    for round_ in (1, 3, 5):
        await working.until("SELECT count(*) >= %s FROM effects", (round_ * 8,))
        await working.admin(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'durasql%' "
            "AND datname = current_database()"
        )
    outcomes = await asyncio.gather(*(working.outcome(id_) for id_ in ids))
    assert {outcome.status for outcome in outcomes} == {"completed"}, outcomes
    assert await working.one("SELECT count(*) FROM effects") == 80


async def test_dead_idle_sessions_fail_no_step(working: Stage) -> None:
    """Only the steps' sessions are ended, while they are idle in the pool."""
    await asyncio.gather(*(working.run("'SELECT pg_sleep(0.2)'") for _ in range(8)))
    await working.admin(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'durasql step%' "
        "AND datname = current_database()"
    )
    outcome = await working.run("'SELECT 1 AS a'")
    assert outcome.value["rows"] == [{"a": 1}]


async def test_a_worker_survives_restarts_of_the_server(own_cluster: Any) -> None:
    """P4: `pg_ctl stop -m immediate` in the middle, twice; the same worker finishes everything."""
    stage = Stage(own_cluster, own_cluster.role())
    await stage.admin(f'GRANT CREATE ON SCHEMA public TO "{stage.role}"')
    await stage.sql("CREATE TABLE effects (n bigserial, what text)")
    async with stage.worker():
        ids = [await stage.start_expression(
            f"df.loop('INSERT INTO effects (what) VALUES (''{n}'')' ~> 'SELECT pg_sleep(0.05)', "
            f"'SELECT count(*) < 10 FROM effects WHERE what = ''{n}''') ~> df.sleep(1)"
        ) for n in range(6)]  # fmt: skip
        server = own_cluster.cluster.server
        for round_ in (1, 4):
            await stage.until("SELECT count(*) >= %s FROM effects", (round_ * 6,))
            await asyncio.to_thread(server.stop, "immediate")
            await asyncio.to_thread(server.start)
        outcomes = await asyncio.gather(*(stage.outcome(id_) for id_ in ids))
    assert {outcome.status for outcome in outcomes} == {"completed"}, outcomes
    assert await stage.one("SELECT count(*) FROM effects") == 60


async def test_a_server_that_is_away_for_a_moment_fails_no_step(own_cluster: Any) -> None:
    """A fast stop, so that steps find a server that is shutting down or refuses connections."""
    stage = Stage(own_cluster, own_cluster.role())
    async with stage.worker():
        ids = [await stage.start_expression("df.loop('SELECT pg_sleep(0.01)', "
                                            "'SELECT clock_timestamp() < now() - interval ''1 s''')"
                                            " ~> df.sleep(1) ~> 'SELECT 1' ~> 'SELECT 2'")
               for _ in range(20)]  # fmt: skip
        server = own_cluster.cluster.server
        await asyncio.to_thread(server.stop, "fast")
        await asyncio.to_thread(server.start)
        outcomes = await asyncio.gather(*(stage.outcome(id_) for id_ in ids))
    assert {outcome.status for outcome in outcomes} == {"completed"}, outcomes


async def test_a_worker_waits_for_a_server_that_is_not_there_yet(own_cluster: Any) -> None:
    from durasql_runtime.worker import Worker, WorkerConfig

    stage = Stage(own_cluster, own_cluster.role())
    id_ = await stage.start("SELECT 1 AS a")
    server = own_cluster.cluster.server
    await asyncio.to_thread(server.stop, "fast")
    worker = Worker(WorkerConfig(own_cluster.dsn()))
    task = asyncio.create_task(worker.run())
    with suppress(TimeoutError):
        async with asyncio.timeout(0.3):
            await worker.started.wait()
    assert not worker.started.is_set() and not task.done()
    await asyncio.to_thread(server.start)
    assert (await stage.outcome(id_)).status == "completed"
    worker.stop()
    await task


@pytest.fixture
def own_cluster() -> Any:
    """A server of the test's own, which it may stop."""
    import shutil
    import tempfile
    from pathlib import Path

    from tests.conftest import FAST, OWNER, Cluster, Database

    from durasql.postgres import Server, binaries
    from durasql.store.install import install

    directory = Path(tempfile.mkdtemp(prefix="durasql-test-"))
    server = Server(directory, binaries(), {**FAST, "synchronous_commit": "on"})
    try:
        server.start()
        cluster = Cluster(server)
        cluster.execute(f"CREATE ROLE {OWNER} LOGIN")
        cluster.execute(f"CREATE DATABASE own OWNER {OWNER}")
        install(cluster.dsn("own", OWNER))
        yield Database(cluster, "own")
    finally:
        server.stop("immediate")
        shutil.rmtree(directory, ignore_errors=True)
