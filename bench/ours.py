"""durasql under load: one `durasql worker` process (or several), instances started in batches."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

import psycopg

from bench.cluster import APP, WORKER, Cluster
from bench.shapes import Shape
from durasql.client import graph_of

_BATCH = 200
"""Starts in one transaction."""

_PATIENCE = 120
"""Seconds after which a run that does not end is given up."""


@dataclass(frozen=True)
class Cost:
    """What a run cost the server, in all: committed write transactions, bytes of WAL."""

    write_transactions: int
    wal_bytes: int


@contextmanager
def worker(cluster: Cluster, processes: int = 1) -> Iterator[list[int]]:
    """Workers as a user would start them, logged in with df.grant_worker; the pids. Ready when yielded."""
    dsn = cluster.dsn("durasql", WORKER)
    command = [sys.executable, "-m", "durasql", "worker", "--dsn", dsn, "--log-level=warning"]
    with tempfile.TemporaryFile() as said:
        started = [subprocess.Popen(command, stderr=said) for _ in range(processes)]
        try:
            with psycopg.connect(cluster.dsn("durasql"), autocommit=True) as connection:
                _poll(connection, "SELECT count(*) >= %s FROM df._workers WHERE idle", (processes,), started)
            yield [process.pid for process in started]
        except Exception as error:
            said.seek(0)
            error.add_note("the workers said:\n" + said.read()[-2000:].decode(errors="replace"))
            raise
        finally:
            for process in started:
                process.send_signal(signal.SIGTERM)
            for process in started:
                process.wait()


def forget(cluster: Cluster) -> None:
    """Remove all instances, so that each run begins with an empty system."""
    cluster.execute("TRUNCATE df.instances, df.journal, df.signals", "durasql")


def throughput(cluster: Cluster, shape: Shape) -> float:
    """Steps per second from the first start to the last completion, starts included.

    The graph is made beforehand, as `durasql.client` does it; operators in psql make the same.
    """
    graph = graph_of(shape.text)
    with psycopg.connect(cluster.dsn("durasql", APP), autocommit=True) as app:
        _start(app, graph, 1)
        _await_all(app)
        begun = time.monotonic()
        left = shape.instances
        while left > 0:
            _start(app, graph, min(left, _BATCH))
            left -= _BATCH
        _await_all(app)
        return shape.instances * shape.steps / (time.monotonic() - begun)


def cost(cluster: Cluster, shape: Shape) -> Cost:
    """What running `shape.instances` instances costs."""
    with psycopg.connect(cluster.dsn("durasql"), autocommit=True) as connection:
        before = _counters(connection)
        throughput(cluster, shape)
        after = _counters(connection)
    return Cost(after[0] - before[0], after[1] - before[1])


def latency(cluster: Cluster, rounds: int) -> tuple[float, float]:
    """p50 and p99 in milliseconds from df.start to the return of df.await_instance, one at a time."""
    taken = []
    with psycopg.connect(cluster.dsn("durasql", APP), autocommit=True) as app:
        for _ in range(rounds):
            time.sleep(0.02)
            begun = time.perf_counter()
            row = app.execute("SELECT df.start('SELECT 1')", prepare=True).fetchone()
            assert row is not None
            app.execute("SELECT df.await_instance(%s)", row, prepare=True)
            taken.append((time.perf_counter() - begun) * 1000)
    cut = quantiles(taken, n=100)
    return cut[49], cut[98]


def cpu_seconds(pids: list[int]) -> float:
    """Processor time of processes so far, user and system."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _start(app: psycopg.Connection[Any], graph: str, count: int) -> None:
    app.execute("SELECT count(df.start(%s)) FROM generate_series(1, %s)", (graph, count), prepare=True)


def _await_all(app: psycopg.Connection[Any]) -> None:
    """None is due and no worker has any; those that wait for tomorrow are part of the scenery."""
    _poll(
        app,
        "SELECT NOT EXISTS (SELECT FROM df.instances WHERE worker IS NOT NULL)"
        " AND NOT EXISTS (SELECT FROM df.instances WHERE due <= now())",
    )
    row = app.execute("SELECT min(output) FROM df.instances WHERE status = 'failed'").fetchone()
    if row is not None and row[0] is not None:
        raise RuntimeError(f"a workflow failed: {row[0]}")


def _poll(
    connection: psycopg.Connection[Any],
    question: str,
    parameters: tuple[Any, ...] = (),
    alive: Sequence[subprocess.Popen[bytes]] = (),
) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        if any(process.poll() is not None for process in alive):
            raise RuntimeError("a worker ended by itself")
        row = connection.execute(question.encode(), parameters).fetchone()
        if row is not None and row[0]:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"still not: {question}")
        time.sleep(0.02)


def _counters(connection: psycopg.Connection[Any]) -> tuple[int, int]:
    row = connection.execute(
        "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint, pg_current_wal_lsn() - '0/0'::pg_lsn"
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])
