"""P4: several hosts in the DSN. The server is lost, its standby takes over, the worker goes on there."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo
from tests.conftest import OWNER, Cluster, Database

from durasql.postgres import Server, binaries
from durasql.store.install import install

from .conftest import Stage

# A standby that confirms every commit, so that none is lost.
SETTINGS = {"fsync": "off", "max_connections": "100", "shared_buffers": "32MB", "timezone": "UTC"}


@dataclass(frozen=True)
class Pair(Cluster):
    """A server and its standby, under one DSN that leads to whichever can be written to."""

    standby: Server

    def dsn(self, database: str, user: str) -> str:
        hosts = f"{self.server.socket_dir},{self.standby.socket_dir}"
        ports = f"{self.server.port},{self.standby.port}"
        return make_conninfo(
            host=hosts, port=ports, dbname=database, user=user, target_session_attrs="read-write"
        )


@pytest.fixture
def pair() -> Iterator[Database]:
    """The database `own` on a pair of servers."""
    directories = [Path(tempfile.mkdtemp(prefix="durasql-test-")) for _ in range(2)]
    server, standby = (Server(directory, binaries(), SETTINGS) for directory in directories)
    try:
        server.start()
        standby._prepare_directories()
        source = ["-h", str(server.socket_dir), "-p", str(server.port), "-U", "postgres"]
        standby._run("pg_basebackup", "-D", str(standby.data), "-R", "-c", "fast", "--no-sync", *source)
        standby.start()
        both = Pair(server, standby)
        both.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        both.execute("SELECT pg_reload_conf()")
        both.execute(f"CREATE ROLE {OWNER} LOGIN")
        both.execute(f"CREATE DATABASE own OWNER {OWNER}")
        install(both.dsn("own", OWNER))
        yield Database(both, "own")
    finally:
        for each, directory in zip((server, standby), directories, strict=True):
            each.stop("immediate")
            shutil.rmtree(directory, ignore_errors=True)


async def test_a_worker_goes_on_at_the_promoted_standby(pair: Database) -> None:
    stage = Stage(pair, pair.role())
    await stage.admin(f'GRANT CREATE ON SCHEMA public TO "{stage.role}"')
    await stage.sql("CREATE TABLE effects (n bigserial, what text)")
    assert isinstance(pair.cluster, Pair)
    async with stage.worker():
        ids = [await stage.start_expression(
            f"df.loop('INSERT INTO effects (what) VALUES (''{n}'')' ~> 'SELECT pg_sleep(0.05)', "
            f"'SELECT count(*) < 10 FROM effects WHERE what = ''{n}''') ~> df.sleep(1)"
        ) for n in range(4)]  # fmt: skip
        await stage.until("SELECT count(*) >= 8 FROM effects")
        await asyncio.to_thread(pair.cluster.server.stop, "immediate")
        await asyncio.to_thread(pair.cluster.standby._pg_ctl, "promote")
        outcomes = await asyncio.gather(*(stage.outcome(id_) for id_ in ids))
    assert {outcome.status for outcome in outcomes} == {"completed"}, outcomes
    assert await stage.one("SELECT count(*) FROM effects") == 40


def test_a_worker_that_waits_for_its_database_can_be_stopped() -> None:
    nowhere = "postgresql://u@127.0.0.1:1/nowhere"
    worker = subprocess.Popen(
        [sys.executable, "-m", "durasql", "worker", "--dsn", nowhere], stderr=subprocess.PIPE, text=True
    )
    assert worker.stderr is not None
    said = ""
    while "retry" not in said.lower():
        said = worker.stderr.readline()
    worker.send_signal(signal.SIGTERM)
    _, rest = worker.communicate(timeout=60)
    assert worker.returncode == 0
    assert "stopped before there was a database" in rest
