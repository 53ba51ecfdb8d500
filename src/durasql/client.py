"""durasql for Python programs: start workflows, wait for them, signal and cancel them.

    from durasql.client import connect

    with connect("postgresql://app@db/app") as client:
        id = client.start("'SELECT 20' |=> 'a' ~> 'SELECT $a + 1 AS answer'", label="hello")
        client.await_instance(id)
        client.result(id)                       # {'rows': [{'answer': 21}], 'row_count': 1}

`connect_async` is the same for asyncio. A `Client` can also be made of a psycopg connection that you have:
then all that it does, from `start` to `fork`, belongs to your transaction and is undone with it.

Errors are those of `durasql.errors`: CompileError with places in the text, DatabaseUnreachable,
SchemaMissing, PermissionDenied, NotFound, RunFailed, RunCancelled, RunTimedOut.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, Unpack, cast

import psycopg
from psycopg import AsyncConnection, Connection

from durasql.errors import DurasqlError, RunTimedOut
from durasql.source import Source
from durasql.store import instances, verbs
from durasql.store.failures import translated
from durasql.store.instances import Attempt, Instance, NodeState, Operation, Page, Policy

if TYPE_CHECKING:
    from durasql.syntax.ast import Start

__all__ = [
    "AsyncClient",
    "Attempt",
    "Client",
    "Instance",
    "NodeState",
    "Page",
    "Policy",
    "connect",
    "connect_async",
]

T = TypeVar("T")
Text: TypeAlias = str | Path
"""A workflow: durasql's language, one plain SQL statement, or the path of a .dsql file."""

_APPLICATION: Final = "durasql client"

_INSTANCE_ID = re.compile(r"[0-9a-fA-F]{8}")


def connect(dsn: str = "", **options: Any) -> Client:
    """A client with a connection of its own; every call takes effect at once.

    `dsn` and the options are psycopg's; an empty one leaves everything to libpq's PG* variables.
    """
    with translated():
        return Client(
            psycopg.connect(dsn, **{"autocommit": True, "application_name": _APPLICATION, **options})
        )


async def connect_async(dsn: str = "", **options: Any) -> AsyncClient:
    """The same as `connect`, for asyncio."""
    merged = {"autocommit": True, "application_name": _APPLICATION, **options}
    with translated():
        return AsyncClient(await AsyncConnection.connect(dsn, **merged))


class Client:
    """Workflows of one role through one connection. Not to be used by two threads at a time."""

    def __init__(self, connection: Connection[Any]) -> None:
        self.connection = connection

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; instances go on without it."""
        self.connection.close()

    def start(
        self,
        text: Text,
        *,
        label: str | None = None,
        database: str | None = None,
        variables: Mapping[str, str] | None = None,
        **policy: Unpack[Policy],
    ) -> str:
        """Start a workflow and return its instance id, 8 hex digits. It runs once the transaction commits.

        `database` is where its SQL runs (default: this one); `variables` are for this instance only, on top
        of the role's own. The other arguments are those of df.start: `max_attempts=3`, `timeout="1 h"`,
        `key="index:42"`. Raises CompileError for a text that is no workflow, before anything is written.
        """
        return self.perform(_start(text, label, database, variables, policy))

    def instance(self, id: str) -> Instance:
        """All that is known about one instance. Raises NotFound."""
        return self.perform(instances.instance(id))

    def status(self, id: str) -> str:
        """pending, running, paused, completed, failed, cancelled, compensated or stuck. Raises NotFound."""
        return self.instance(id).status

    def result(self, id: str) -> Any:
        """The parsed result, or None while it runs. Raises RunFailed, RunCancelled, NotFound."""
        return self.instance(id).require_completed()

    def error(self, id: str) -> str | None:
        """Why it failed, was undone, is stuck or was cancelled, or None. Raises NotFound."""
        return self.instance(id).error

    def await_instance(self, id: str, timeout: int = 30) -> str:
        """Wait up to `timeout` seconds and return the final status. Raises RunTimedOut, NotFound."""
        for pause in _pauses(timeout):
            found = self.instance(id)
            if found.over:
                return found.status
            time.sleep(pause)
        raise _timed_out(found, timeout)

    def signal(self, id: str, name: str, data: Any = None) -> None:
        """Send a signal; `data` is anything JSON can hold. It waits in the inbox until a wait takes it."""
        self.perform(instances.signal(id, name, _payload(data)))

    def cancel(self, id: str, reason: str = "Cancelled by user") -> None:
        """Cancel an instance that is not over. Raises NotFound."""
        self.perform(instances.cancel(id, reason))

    def pause(self, id: str, reason: str = "Paused by user") -> None:
        """Let an instance rest; a step in flight is rolled back and runs again later. Raises NotFound."""
        self.perform(verbs.pause(id, reason))

    def resume(self, id: str) -> None:
        """Let a paused instance go on. Raises NotFound, StoreError for one that is not paused."""
        self.perform(verbs.resume(id))

    def retry(self, id: str) -> None:
        """Resume a failed or stuck instance where it failed. Raises NotFound, StoreError for any other."""
        self.perform(verbs.retry(id))

    def fork(self, id: str, node: str) -> str:
        """Start a copy that goes on from a step (its id in `nodes`), and return the copy's id.

        Raises NotFound, and StoreError for a step that was never reached.
        """
        return self.perform(verbs.fork(id, node))

    def list(
        self,
        *,
        status: str | None = None,
        label: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> Page:
        """Instances, newest first, one page at a time."""
        return self.perform(instances.page(status, label, limit, after))

    def nodes(self, id: str) -> tuple[NodeState, ...]:
        """Every node of the instance's graph and where it stands. Raises NotFound."""
        return self.perform(instances.nodes(id))

    def attempts(self, id: str) -> tuple[Attempt, ...]:
        """Tries that failed and were, or are to be, followed by another, oldest first. Raises NotFound."""
        return self.perform(instances.attempts(id))

    def explain(self, what: Text) -> str:
        """The tree of a workflow text, or of an instance (its id) with the state of every node."""
        return self.perform(instances.explain(_explained(what)))

    def perform(self, operation: Operation[T]) -> T:
        """Run one operation of `durasql.store.instances`; several in `connection.transaction()` are one."""
        with translated():
            return self._run(operation)

    def _run(self, operation: Operation[T]) -> T:
        with self._transaction(), self.connection.cursor() as cursor:
            try:
                query = next(operation)
                while True:
                    cursor.execute(query.text, query.parameters)
                    query = operation.send(cursor.fetchall())
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]

    def _transaction(self) -> AbstractContextManager[Any]:
        """One transaction per call, or the caller's, who then ends it."""
        return self.connection.transaction() if self.connection.autocommit else nullcontext()


class AsyncClient:
    """`Client` for asyncio; see there."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self.connection = connection

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; instances go on without it."""
        await self.connection.close()

    async def start(
        self,
        text: Text,
        *,
        label: str | None = None,
        database: str | None = None,
        variables: Mapping[str, str] | None = None,
        **policy: Unpack[Policy],
    ) -> str:
        """Start a workflow and return its instance id; see `Client.start`."""
        return await self.perform(_start(text, label, database, variables, policy))

    async def instance(self, id: str) -> Instance:
        """All that is known about one instance. Raises NotFound."""
        return await self.perform(instances.instance(id))

    async def status(self, id: str) -> str:
        """pending, running, paused, completed, … as `Client.status`. Raises NotFound."""
        return (await self.instance(id)).status

    async def result(self, id: str) -> Any:
        """The parsed result, or None while it runs. Raises RunFailed, RunCancelled, NotFound."""
        return (await self.instance(id)).require_completed()

    async def error(self, id: str) -> str | None:
        """Why it failed, was undone, is stuck or was cancelled, or None. Raises NotFound."""
        return (await self.instance(id)).error

    async def await_instance(self, id: str, timeout: int = 30) -> str:  # noqa: ASYNC109 - the server counts
        """Wait for the end and return the final status; see `Client.await_instance`."""
        for pause in _pauses(timeout):
            found = await self.instance(id)
            if found.over:
                return found.status
            await asyncio.sleep(pause)
        raise _timed_out(found, timeout)

    async def signal(self, id: str, name: str, data: Any = None) -> None:
        """Send a signal; see `Client.signal`."""
        await self.perform(instances.signal(id, name, _payload(data)))

    async def cancel(self, id: str, reason: str = "Cancelled by user") -> None:
        """Cancel an instance that is not over. Raises NotFound."""
        await self.perform(instances.cancel(id, reason))

    async def pause(self, id: str, reason: str = "Paused by user") -> None:
        """Let an instance rest; see `Client.pause`."""
        await self.perform(verbs.pause(id, reason))

    async def resume(self, id: str) -> None:
        """Let a paused instance go on; see `Client.resume`."""
        await self.perform(verbs.resume(id))

    async def retry(self, id: str) -> None:
        """Resume a failed or stuck instance where it failed; see `Client.retry`."""
        await self.perform(verbs.retry(id))

    async def fork(self, id: str, node: str) -> str:
        """Start a copy that goes on from a step; see `Client.fork`."""
        return await self.perform(verbs.fork(id, node))

    async def list(
        self,
        *,
        status: str | None = None,
        label: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> Page:
        """Instances, newest first, one page at a time."""
        return await self.perform(instances.page(status, label, limit, after))

    async def nodes(self, id: str) -> tuple[NodeState, ...]:
        """Every node of the instance's graph and where it stands. Raises NotFound."""
        return await self.perform(instances.nodes(id))

    async def attempts(self, id: str) -> tuple[Attempt, ...]:
        """Tries that failed, oldest first; see `Client.attempts`."""
        return await self.perform(instances.attempts(id))

    async def explain(self, what: Text) -> str:
        """The tree of a workflow text, or of an instance (its id) with the state of every node."""
        return await self.perform(instances.explain(_explained(what)))

    async def perform(self, operation: Operation[T]) -> T:
        """Run one operation of `durasql.store.instances`."""
        with translated():
            async with self._transaction(), self.connection.cursor() as cursor:
                try:
                    query = next(operation)
                    while True:
                        await cursor.execute(query.text, query.parameters)
                        query = operation.send(await cursor.fetchall())
                except StopIteration as done:
                    return done.value  # type: ignore[no-any-return]

    def _transaction(self) -> AbstractAsyncContextManager[Any]:
        return self.connection.transaction() if self.connection.autocommit else nullcontext()


def _pauses(timeout: int) -> Iterator[float]:
    """How long to wait between two looks at an instance; at least one look, the last at the deadline.

    df.await_instance would keep one snapshot all the time. CREATE INDEX CONCURRENTLY in the awaited run would
    wait for it in turn, and VACUUM could remove nothing that was deleted since.
    """
    left, pause, end = 1.0, 0.001, time.monotonic() + timeout
    while left > 0:
        left = end - time.monotonic()
        yield max(min(pause, left), 0)
        pause = min(pause * 1.2, 0.1)


def _timed_out(instance: Instance, timeout: int) -> RunTimedOut:
    return RunTimedOut(
        f"instance {instance.id} is still {instance.status} after {timeout} s",
        hint="It goes on as soon as a worker has time for it: durasql db status",
    )


def start_of(text: Text) -> Start:
    """A text as one start. Raises CompileError.

    A string is read as df.start reads it; a file may also be `SELECT df.start(…)`, as one would paste it into
    psql. A file with several workflows is for `durasql start`, which starts them all.
    """
    from durasql.syntax.reading import read_start_text, read_workflow

    if isinstance(text, str):
        return read_start_text(Source(text)).starts[0]
    starts = read_workflow(Source(text.read_text(encoding="utf-8"), str(text))).starts
    if len(starts) != 1:
        raise DurasqlError(f"{text} has {len(starts)} workflows; start one at a time")
    return starts[0]


def graph_of(text: Text) -> str:
    """What df.start is given for a text: its canonical graph. Raises CompileError."""
    from durasql.syntax.envelope import encode

    return encode(start_of(text).graph)


def policy_of(start: Start, policy: Policy) -> Policy:
    """What a text says about failures, and the caller instead where they say something, too."""
    said = {name: getattr(start, name) for name in Policy.__annotations__}
    return cast("Policy", {**said, **{name: value for name, value in policy.items() if value is not None}})


def _start(
    text: Text, label: str | None, database: str | None, variables: Mapping[str, str] | None, policy: Policy
) -> Operation[str]:
    from durasql.syntax.envelope import encode

    said = start_of(text)
    return instances.start(
        encode(said.graph),
        label or said.label,
        database or said.database,
        variables or {},
        said.transaction_mode or "caller",
        policy_of(said, policy),
    )


def _explained(what: Text) -> str:
    return what if isinstance(what, str) and _INSTANCE_ID.fullmatch(what) else graph_of(what)


def _payload(data: Any) -> str:
    return json.dumps({} if data is None else data, ensure_ascii=False)
