"""What a database is doing right now. In: how many lines are wanted. Out: `Top`, for the role that asks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from durasql.store.instances import Operation, Query


@dataclass(frozen=True, slots=True)
class WorkerLine:
    """A worker; `heard_seconds` since its last heartbeat."""

    name: str
    host: str
    role: str
    version: str
    running: int
    idle: bool
    draining: bool
    since: datetime
    heard_seconds: float


@dataclass(frozen=True, slots=True)
class WaitLine:
    """An instance that waits, and for what; the oldest instances come first."""

    id: str
    label: str | None
    role: str
    kind: str | None
    waits_for: str | None
    since: datetime | None
    until: datetime | None


@dataclass(frozen=True, slots=True)
class FailureLine:
    """One of the instances that were started last of those that failed."""

    id: str
    label: str | None
    role: str
    created_at: datetime
    error: str | None


@dataclass(frozen=True, slots=True)
class Top:
    """`running` are in workers' hands, `due` wait for one, the first of them for `lag_seconds`; `waiting`
    wait for a time or a signal. `per_second` ended in the last minute; `workers` is None for who may not see
    them.
    """

    running: int
    due: int
    waiting: int
    lag_seconds: float
    per_second: float
    workers: tuple[WorkerLine, ...] | None
    longest: tuple[WaitLine, ...]
    failures: tuple[FailureLine, ...]


def top(limit: int) -> Operation[Top]:
    """One look, with up to `limit` lines of what waits and of what failed."""
    ((may_see,),) = yield Query("sight", {}, "top")
    workers = None
    if may_see:
        rows = yield Query("workers", {}, "top")
        workers = tuple(WorkerLine(*row) for row in rows)
    ((running, due, waiting, lag, rate),) = yield Query("counts", {}, "top")
    longest = yield Query("waiting", {"limit": limit}, "top")
    failures = yield Query("failures", {"limit": limit}, "top")
    return Top(
        running, due, waiting, lag, float(rate), workers,
        tuple(WaitLine(*row) for row in longest), tuple(FailureLine(*row) for row in failures),
    )  # fmt: skip
