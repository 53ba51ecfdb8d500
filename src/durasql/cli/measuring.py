"""Measure a user's own server: workflows of one role beside the plain commits that the server can do.

In: a DSN and how long to measure. Out: `Figure`s. Everything is started under one label and removed at the
end; nothing is written that the role could not write itself.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import quantiles
from typing import Any, Final

import psycopg

from durasql.client import graph_of
from durasql.errors import DurasqlError, RunTimedOut
from durasql.store.failures import translated
from durasql_runtime.wire import Wire

SESSIONS: Final = 8
"""Connections of the plain commits: as many as a worker has for one role."""

_PATIENCE: Final = 60.0
"""Seconds that a batch may take, or a worker to appear."""
_BATCH: Final = 200
"""Starts in one transaction."""
_TRIAL: Final = 20
"""Instances of the trial that says how many make a run of the wanted length."""
_MOST: Final = 20_000
"""Instances of one run at most."""
_LATENCIES: Final = 100
_APPLICATION: Final = "durasql bench"

# As much WAL as a small row makes, in a transaction that commits durably, without a table of anybody's.
_COMMIT: Final = (
    (b"begin", b"BEGIN"),
    (b"step", b"SELECT 1"),
    (b"write", b"SELECT pg_catalog.pg_logical_emit_message(true, 'durasql bench', repeat('x', 200))"),
    (b"commit", b"COMMIT"),
)


@dataclass(frozen=True, slots=True)
class Shape:
    """A workflow in durasql's language; one instance counts for `steps`."""

    name: str
    text: str
    steps: int


SHAPES: Final = (
    Shape("one step", "SELECT 1", 1),
    Shape("ten steps", " ~> ".join(f"'SELECT {number}'" for number in range(1, 11)), 10),
    Shape("ten branches", " & ".join(f"'SELECT {number}'" for number in range(1, 11)), 10),
)


@dataclass(frozen=True, slots=True)
class Figure:
    """Steps per second of a shape, and plain commits per second right before it."""

    shape: str
    rate: float
    commits: float

    @property
    def ratio(self) -> float:
        """Steps for each plain commit that the server could do instead."""
        return self.rate / self.commits


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from df.start to the return of df.await_instance on a system that does nothing else."""

    p50: float
    p99: float


class Bench:
    """One role's connection, and the label under which it starts what is measured."""

    def __init__(self, dsn: str, connection: psycopg.Connection[Any]) -> None:
        self._dsn = dsn
        self._connection = connection
        self._label = f"durasql bench {secrets.token_hex(4)}"

    @classmethod
    @contextmanager
    def at(cls, dsn: str) -> Iterator[Bench]:
        """A bench on this database; what it started is cancelled and removed at the end."""
        with translated(), psycopg.connect(dsn, autocommit=True, application_name=_APPLICATION) as connection:
            bench = cls(dsn, connection)
            try:
                yield bench
            finally:
                bench._clean_up()

    def settings(self) -> dict[str, str]:
        """What of the server's configuration the figures depend on most."""
        names = ["server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers"]
        query = "SELECT name, pg_catalog.current_setting(name) FROM unnest(%s::text[]) AS name"
        return dict(self._connection.execute(query, (names,)).fetchall())

    def require_worker(self) -> None:
        """Raises `RunTimedOut` when nobody executes this role's workflows."""
        self._start(graph_of("SELECT 1"), 1)
        self._await_all("no worker executes this role's workflows", "start one: durasql worker --dsn …")

    def figure(self, shape: Shape, seconds: float) -> Figure:
        """Measure plain commits, then this shape, each for about so long."""
        commits = asyncio.run(_commits(self._dsn, seconds))
        graph = graph_of(shape.text)
        trial = self._rate(graph, _TRIAL)
        count = max(_TRIAL, min(int(trial * seconds), _MOST))
        return Figure(shape.name, self._rate(graph, count) * shape.steps, commits)

    def latency(self) -> Latency:
        """Measure runs of one step, one at a time, with a rest before each."""
        taken = []
        graph = graph_of("SELECT 1")
        for _ in range(_LATENCIES):
            time.sleep(0.02)
            begun = time.perf_counter()
            row = self._connection.execute("SELECT df.start(%s, %s)", (graph, self._label)).fetchone()
            self._connection.execute("SELECT df.await_instance(%s)", row)
            taken.append((time.perf_counter() - begun) * 1000)
        cut = quantiles(taken, n=100)
        return Latency(cut[49], cut[98])

    def _rate(self, graph: str, count: int) -> float:
        """Instances per second, from the first start to the last completion."""
        begun = time.perf_counter()
        for first in range(0, count, _BATCH):
            self._start(graph, min(_BATCH, count - first))
        self._await_all("the workflows of the bench do not end", "look at the workers: durasql doctor")
        return count / (time.perf_counter() - begun)

    def _start(self, graph: str, count: int) -> None:
        query = "SELECT count(df.start(%s, %s)) FROM generate_series(1, %s)"
        self._connection.execute(query, (graph, self._label, count), prepare=True)

    def _await_all(self, complaint: str, hint: str) -> None:
        query = "SELECT id FROM df.instances WHERE label = %s AND status IN ('pending', 'running') LIMIT 1"
        deadline = time.monotonic() + _PATIENCE
        while self._connection.execute(query, (self._label,), prepare=True).fetchone() is not None:
            if time.monotonic() > deadline:
                raise RunTimedOut(f"{complaint}: nothing came of it for {_PATIENCE:g} seconds", hint=hint)
            time.sleep(0.01)
        failed = self._connection.execute(
            "SELECT df.error(id) FROM df.instances WHERE label = %s AND status <> 'completed' LIMIT 1",
            (self._label,),
        ).fetchone()
        if failed is not None:
            raise DurasqlError(f"a workflow of the bench failed: {failed[0]}", hint="see durasql doctor")

    def _clean_up(self) -> None:
        if self._connection.broken:
            return
        self._connection.execute(
            "SELECT df.cancel(id, 'the bench is over') FROM df.instances"
            " WHERE label = %s AND status IN ('pending', 'running')",
            (self._label,),
        )
        query = "SELECT df._remove_bench(%s)"
        while (row := self._connection.execute(query, (self._label,)).fetchone()) and row[0]:
            pass


@contextmanager
def workers(dsn: str, processes: int) -> Iterator[None]:
    """Worker processes that are logged in as the role of the DSN; none for 0."""
    if not processes:
        yield
        return
    command = [sys.executable, "-m", "durasql", "worker", "--log-level=error", f"--processes={processes}"]
    # Not as an argument: everybody on the machine could read a password in it.
    process = subprocess.Popen(
        command, env={**os.environ, "DURASQL_DSN": dsn}, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


async def _commits(dsn: str, seconds: float) -> float:
    """Plain durable commits per second, one round trip each, on several connections at once."""
    begun = time.perf_counter()
    counts = await asyncio.gather(*(_commit_until(dsn, begun + seconds) for _ in range(SESSIONS)))
    return sum(counts) / (time.perf_counter() - begun)


async def _commit_until(dsn: str, end: float) -> int:
    connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True, application_name=_APPLICATION)
    wire = Wire(connection)
    count = 0
    try:
        while time.perf_counter() < end:
            expected = sum(wire.execute(*statement) for statement in _COMMIT)
            wire.sync()
            await wire.send()
            results = await wire.results(expected)
            if results[-1].command_status != b"COMMIT":
                raise DurasqlError(f"a plain commit failed: {results[-1].error_message.decode()}")
            await wire.synced()
            count += 1
    finally:
        await wire.close()
    return count
