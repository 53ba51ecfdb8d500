"""What the suite compares with: a PostgreSQL with schema df, an ordinary role in it, and a worker.

DURASQL_CONFORMANCE_DSN names another implementation for the run half, which uses nothing but the public SQL
interface; without it the tests' own server and a worker in this process are used.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from tests.conftest import OWNER, TEMPLATE, Cluster, Database, bare_cluster, cluster

from conformance.cases import Case
from durasql_runtime.worker import Worker, WorkerConfig

__all__ = ["bare_cluster", "cluster"]


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Cases are shown as construct/name."""
    return str(val) if isinstance(val, Case) else None


@pytest.fixture(scope="session")
def scratch(cluster: Cluster) -> Iterator[Database]:
    """One database for the whole suite."""
    name = f"conformance_{os.getpid()}"
    cluster.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} OWNER {OWNER}")
    made = Database(cluster, name)
    yield made
    made.drop()


@pytest.fixture(scope="session")
def role(scratch: Database) -> str:
    """The ordinary role that writes the workflows; it may use the HTTP builders too."""
    name: str = scratch.role("author", include_http=True)
    scratch.cluster.execute(f'GRANT CREATE ON SCHEMA public TO "{name}"', scratch.name)
    return name


@pytest.fixture(scope="session")
def dsn(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where cases run: the implementation that is named, or ours with a worker."""
    named = os.environ.get("DURASQL_CONFORMANCE_DSN")
    if named:
        yield named
        return
    database: Database = request.getfixturevalue("scratch")
    with _worker(database.dsn()):
        yield database.dsn(request.getfixturevalue("role"))


@pytest.fixture(scope="module")
def user(scratch: Database, role: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A session of the ordinary role."""
    with scratch.connect(role) as connection:
        connection.execute("SET statement_timeout = '30 s'")
        yield connection


@contextmanager
def _worker(dsn: str) -> Iterator[None]:
    """A worker in a thread of its own for as long as the block runs."""
    ready = threading.Event()
    running: list[tuple[Worker, asyncio.AbstractEventLoop]] = []

    async def work() -> None:
        worker = Worker(WorkerConfig(dsn, drain_seconds=0.2))
        running.append((worker, asyncio.get_running_loop()))
        task = asyncio.create_task(worker.run())
        starting = asyncio.create_task(worker.started.wait())
        await asyncio.wait([task, starting], return_when=asyncio.FIRST_COMPLETED)
        ready.set()
        await task

    thread = threading.Thread(target=asyncio.run, args=(work(),))
    thread.start()
    ready.wait()
    yield
    for worker, loop in running:
        loop.call_soon_threadsafe(worker.stop)
    thread.join()
