"""What operators do with instances: pause, resume, retry, fork. In: ids or a choice. Out: queries.

Each verb belongs to the caller's transaction, so that a rehearsal is the same thing, rolled back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from durasql.store.instances import Operation, Query


@dataclass(frozen=True, slots=True)
class Chosen:
    """An instance that a verb is meant for."""

    id: str
    label: str | None
    status: str


def chosen(label: str | None, statuses: Sequence[str]) -> Operation[tuple[Chosen, ...]]:
    """The instances with a label (None: any) and one of the statuses, oldest first."""
    rows = yield _query("chosen", label=label, statuses=list(statuses))
    return tuple(Chosen(*row) for row in rows)


def pause(id: str, reason: str) -> Operation[str]:
    """Let it rest; the server's confirmation. Raises NotFound, StoreError for one that is over."""
    return _text((yield _query("pause", id=id, reason=reason)))


def resume(id: str) -> Operation[str]:
    """Let a paused one go on; the server's confirmation. Raises NotFound, StoreError for any other."""
    return _text((yield _query("resume", id=id)))


def retry(id: str) -> Operation[str]:
    """Resume a failed or stuck one where it failed; which steps run again. Raises NotFound, StoreError."""
    rows = yield _query("failed_steps", id=id)
    yield _query("retry", id=id)
    return str(rows[0][0] or "") if rows else ""


def fork(id: str, node: str) -> Operation[str]:
    """Start a copy that goes on from a step; its id. Raises NotFound, StoreError for a step never reached."""
    return _text((yield _query("fork", id=id, node=node)))


def _query(name: str, **parameters: object) -> Query:
    return Query(name, parameters, "verbs")


def _text(rows: Sequence[tuple[object, ...]]) -> str:
    return str(rows[0][0])
