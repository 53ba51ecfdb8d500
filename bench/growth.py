"""A system with a past: throughput after 200,000 finished instances, and beside 100,000 that wait."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from bench import ours
from bench.cluster import Cluster
from bench.shapes import TEN

_FINISHED = 200_000
_WAITING = 100_000

# Rows as finished or waiting instances leave them; running them all would take the bench an hour.
_PAST = """
WITH made AS (
    INSERT INTO df.instances (id, submitted_by, program, status, output, due, epoch, created_at, completed_at)
    SELECT lpad(to_hex(n * 2 + %(odd)s), 8, '0'), p.owner, p.hash, %(status)s, %(output)s,
           now() + %(due)s::interval, 1, now() - interval '1 hour', now()
    FROM generate_series(1, %(count)s) AS n, (SELECT owner, hash FROM df.programs LIMIT 1) AS p
    RETURNING id
)
INSERT INTO df.journal (instance_id, node, seq, state, value, due)
SELECT id, node, node, %(state)s, '{"rows":[{"x":1}],"row_count":1}', now() + %(due)s::interval
FROM made, generate_series(1, %(nodes)s) AS node
"""


def throughput(cluster: Cluster) -> Iterator[tuple[str, float]]:
    """Steps per second of ten-step workflows: in an empty system, with a past, with many waiting."""
    with ours.worker(cluster):
        ours.forget(cluster)
        yield "empty", ours.throughput(cluster, TEN)
        _fill(
            cluster, count=_FINISHED, status="completed", output="{}", due=None, state="done", nodes=19, odd=0
        )
        yield f"after {_FINISHED:,} finished", ours.throughput(cluster, TEN)
        _fill(
            cluster,
            count=_WAITING,
            status="running",
            output=None,
            due="1 day",
            state="waiting",
            nodes=1,
            odd=1,
        )
        yield f"and with {_WAITING:,} waiting", ours.throughput(cluster, TEN)


def _fill(cluster: Cluster, **past: object) -> None:
    with psycopg.connect(cluster.dsn("durasql"), autocommit=True) as connection:
        connection.execute(_PAST, past)
        connection.execute("VACUUM ANALYZE df.instances, df.journal")
        connection.execute("CHECKPOINT")
