"""What users do with instances, without the waiting. In: arguments. Out: queries, and a value in the end.

Each operation is a generator: it yields a Query, gets the rows sent back and returns its value, so that
`durasql.client` can run it on a sync or an async connection.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias, TypedDict, TypeVar

from durasql.errors import NotFound, RunCancelled, RunFailed
from durasql.store.queries import named

T = TypeVar("T")
Row: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """One statement of `instances.sql`, or of another file beside it, with its parameters."""

    name: str
    parameters: Mapping[str, Any]
    file: str = "instances"

    @property
    def text(self) -> bytes:
        return named(self.file)[self.name]


Operation: TypeAlias = Generator[Query, Sequence[Row], T]

FAILED: Final = frozenset({"failed", "compensated", "stuck"})
"""Ends of an instance that a failure led to: as it was, undone, or with an undo that failed, too."""
TERMINAL: Final = frozenset({"completed", "cancelled", *FAILED})


class Policy(TypedDict, total=False):
    """What a run does about failures, and what must not run twice at a time; as df.start takes it.

    Durations are texts such as '500 ms' or '1 h 30 min'. `timeout` is for the whole run, `on_failure` is
    'fail' or 'continue', `on_conflict` 'return', 'reject' or 'replace'.
    """

    max_attempts: int | None
    backoff: str | None
    max_backoff: str | None
    on_failure: str | None
    timeout: str | None
    key: str | None
    on_conflict: str | None


@dataclass(frozen=True, slots=True)
class Instance:
    """One run of a workflow, as df.instances has it; `output` is the result's JSON text or the error.

    `failure` is what is known of the step that failed: node and message, and where PostgreSQL said so
    sqlstate, detail, hint, position (from 1) in `sql`, the statement as it was sent.
    """

    id: str
    label: str | None
    status: str
    program: str
    role: str
    database: str | None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    output: str | None
    cancel_reason: str | None
    pause_reason: str | None = None
    key: str | None = None
    origin: str | None = None
    """The instance and the step that it is a copy of, as `<id> at <node>`."""
    failure: dict[str, Any] | None = None

    @property
    def over(self) -> bool:
        return self.status in TERMINAL

    @property
    def result(self) -> Any:
        """The parsed result of a completed instance, else None."""
        return json.loads(self.output) if self.status == "completed" and self.output else None

    @property
    def error(self) -> str | None:
        """Why it failed, was undone, is stuck or was cancelled, else None."""
        if self.status == "cancelled":
            return f"canceled: {self.cancel_reason}"
        return self.output if self.status in FAILED else None

    def as_dict(self) -> dict[str, Any]:
        """Everything for JSON, the result parsed."""
        shown = asdict(self)
        del shown["output"], shown["cancel_reason"]
        return {**shown, "result": self.result, "error": self.error}

    def require_completed(self) -> Any:
        """The result. Raises RunFailed or RunCancelled for an instance that ended otherwise."""
        if self.status in FAILED:
            how = "failed" if self.status == "failed" else f"is {self.status}"
            raise RunFailed(f"instance {self.id} {how}: {self.error}")
        if self.status == "cancelled":
            raise RunCancelled(f"instance {self.id} was cancelled: {self.cancel_reason}")
        return self.result


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a listing."""

    id: str
    label: str | None
    status: str
    execution_count: int
    output: str | None
    created_at: datetime
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Page:
    """Instances, newest first; pass `next_cursor` back for the older ones, None on the last page."""

    instances: tuple[Listed, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class NodeState:
    """One node of an instance's graph and where it stands; steps and waits that are over `took` seconds."""

    id: str
    type: str
    name: str | None
    status: str
    query: str | None
    result: str | None
    updated_at: datetime | None
    took: float | None = None
    failures: int = 0
    """Tries that failed, and when the next one was due."""
    note: str | None = None
    """The next try and its time, the failure that was handled, how it stands with the undo."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A try that failed and was, or is to be, followed by another: of a step, a retry or a loop."""

    node: str
    type: str
    generation: str
    number: int
    message: str | None
    sqlstate: str | None
    http_status: int | None
    failed_at: datetime
    next_at: datetime | None


def start(
    graph: str,
    label: str | None,
    database: str | None,
    variables: Mapping[str, str],
    mode: str = "caller",
    policy: Policy | None = None,
) -> Operation[str]:
    """Start `graph` and return the instance's id. The variables are set for this instance only.

    df.start takes a snapshot of the role's variables: they are set, captured and put back in one transaction.
    """
    before: dict[str, str] = {}
    if variables:
        before.update((name, value) for name, value in (yield Query("own_vars", {"names": list(variables)})))
    for name, value in variables.items():
        yield Query("setvar", {"name": name, "value": value})
    named = {"graph": graph, "label": label, "database": database, "mode": mode}
    rows = yield Query("start", {**named, **dict.fromkeys(Policy.__annotations__), **(policy or {})})
    for name in variables:
        if name in before:
            yield Query("setvar", {"name": name, "value": before[name]})
        else:
            yield Query("unsetvar", {"name": name})
    return str(rows[0][0])


def set_variable(name: str, value: str) -> Operation[None]:
    """Set a variable of the role for every instance that starts from now on."""
    yield Query("setvar", {"name": name, "value": value})


def instance(id: str) -> Operation[Instance]:
    """The instance. Raises NotFound for one that is not there or not visible to the role."""
    rows = yield Query("instance", {"id": id})
    if not rows:
        raise NotFound(f"instance {id!r} not found", hint="A role sees its own instances: durasql list")
    return Instance(*rows[0])


def page(status: str | None, label: str | None, limit: int, after: str | None) -> Operation[Page]:
    """One page of instances, newest first."""
    rows = yield Query("page", {"status": status, "label": label, "limit": limit, "after": after})
    return Page(tuple(Listed(*row[:-1]) for row in rows), rows[0][-1] if rows else None)


def nodes(id: str) -> Operation[tuple[NodeState, ...]]:
    """Every node in the order of the graph. Raises NotFound."""
    yield from instance(id)
    rows = yield Query("nodes", {"id": id})
    return tuple(sorted((NodeState(*row) for row in rows), key=lambda node: node.id))


def attempts(id: str) -> Operation[tuple[Attempt, ...]]:
    """Failed tries, oldest first. Raises NotFound."""
    yield from instance(id)
    return tuple(Attempt(*row) for row in (yield Query("attempts", {"id": id})))


def explain(input: str) -> Operation[str]:
    """The tree of a graph, or of an instance with the state of each node."""
    return _only(str, (yield Query("explain", {"input": input})))


def signal(id: str, name: str, data: str) -> Operation[None]:
    """Put a signal into the instance's inbox. Raises NotFound."""
    yield Query("signal", {"id": id, "name": name, "data": data})


def cancel(id: str, reason: str) -> Operation[str]:
    """Cancel the instance and return the server's confirmation. Raises NotFound."""
    return _only(str, (yield Query("cancel", {"id": id, "reason": reason})))


def prune(batch: int) -> Operation[tuple[int, int]]:
    """Delete up to `batch` instances that retention no longer keeps; how many, and how many programs."""
    rows = yield Query("prune", {"batch": batch})
    return rows[0][0], rows[0][1]


def _only(kind: type[T], rows: Sequence[Row]) -> T:
    value = rows[0][0]
    assert isinstance(value, kind)
    return value
