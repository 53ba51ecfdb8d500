"""How a database is served: which workers were heard of, and how long due instances have waited for one.

In: a DSN. Out: `Liveness`, as far as the role may see it: its own instances, and workers for
administrators only.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

_LAG = """
SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(due)), 0)::double precision
FROM df.instances WHERE due <= clock_timestamp()
"""
_WORKERS = """
SELECT count(*), extract(epoch FROM clock_timestamp() - max(heartbeat))::double precision
FROM df.workers
"""


@dataclass(frozen=True, slots=True)
class Liveness:
    """`workers` is None for a role that may not see them; the last one was heard of `heard_seconds` ago.

    `overdue` instances wait for a worker, the first of them for `lag_seconds`.
    """

    workers: int | None
    heard_seconds: float | None
    overdue: int
    lag_seconds: float

    @property
    def shown_workers(self) -> str:
        if self.workers is None:
            return "not for this role to see"
        if not self.workers:
            return "none: durasql worker"
        return f"{self.workers}, heard of {self.heard_seconds or 0:.1f} s ago"


def liveness(dsn: str) -> Liveness:
    """Ask the database. Raises psycopg's errors for a schema that is not df's."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        overdue, lag = connection.execute(_LAG).fetchone() or (0, 0.0)
        try:
            workers, heard = connection.execute(_WORKERS).fetchone() or (0, None)
        except psycopg.errors.InsufficientPrivilege:
            workers, heard = None, None
    return Liveness(workers, heard, int(overdue), float(lag))
