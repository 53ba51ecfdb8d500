"""Faults at a chosen database call of a worker: its connection is cut, or it is dead from there on.

In: a `Fault` that is made current with `under`; it holds for the tasks started inside, so that many workers
of one process have faults of their own. Out: `Fault.calls`, `Fault.fired`.

What counts as a call: every message batch of a step's session (`Wire.send`), and every call of the control
connection that claims, loads, renews or releases something. Heartbeats and empty claims come by the clock
and do not count.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

import psycopg
import pytest

from durasql.errors import DatabaseUnreachable
from durasql_runtime import claims
from durasql_runtime.pool import Pool
from durasql_runtime.wire import Wire

_COUNTED = ("df._claim", "df._program", "df._store_code", "df._reload", "df._release", "df._refuse")

_current: ContextVar[Fault | None] = ContextVar("fault", default=None)


@dataclass
class Fault:
    """What happens at call `at`: `what` dies, `moment` the call is sent.

    connection   this one connection is cut; the worker goes on
    worker       every connection of the worker is cut and it does nothing more, as after SIGKILL
    process      the process ends itself (for a worker in a process of its own)
    """

    at: int
    what: Literal["connection", "worker", "process"] = "connection"
    moment: Literal["before", "after"] = "after"
    calls: int = 0
    fired: bool = False
    died: asyncio.Event = field(default_factory=asyncio.Event)
    _connections: dict[int, Any] = field(default_factory=dict)

    @property
    def dead(self) -> bool:
        return self.died.is_set()

    def knows(self, connection: Any) -> None:
        """This connection belongs to the worker."""
        self._connections[id(connection)] = connection

    def due(self) -> bool:
        """Count a call; whether this is the one."""
        self.calls += 1
        return self.calls == self.at

    async def strike(self, connection: Any) -> None:
        """Do it."""
        self.fired = True
        if self.what == "process":
            os._exit(9)
        if self.what == "connection":
            cut(connection)
            return
        self.died.set()
        for known in self._connections.values():
            cut(known)
        await asyncio.Event().wait()


def cut(connection: Any) -> None:
    """Close both directions; the file descriptor stays, since the event loop may know it."""
    if connection.closed:
        return
    with socket.socket(fileno=os.dup(connection.pgconn.socket)) as handle, suppress(OSError):
        handle.shutdown(socket.SHUT_RDWR)


@contextmanager
def under(fault: Fault) -> Iterator[Fault]:
    """Tasks started inside are under this fault."""
    token = _current.set(fault)
    try:
        yield fault
    finally:
        _current.reset(token)


def install(patch: pytest.MonkeyPatch) -> None:
    """Put the fault points in."""
    send, login, connect = Wire.send, Pool._login, claims.open_connection

    async def faulty_send(wire: Wire) -> None:
        fault = _current.get()
        if fault is None:
            return await send(wire)
        fault.knows(wire._connection)
        due = fault.due()
        if due and fault.moment == "before":
            await fault.strike(wire._connection)
        await send(wire)
        if due and fault.moment == "after":
            await fault.strike(wire._connection)
        return None

    async def faulty_login(pool: Pool, *arguments: Any) -> Any:
        fault = _current.get()
        if fault is not None and fault.dead:
            await asyncio.Event().wait()
        session = await login(pool, *arguments)
        if fault is not None:
            fault.knows(session.wire._connection)
        return session

    async def faulty_connect(dsn: str, application_name: str) -> psycopg.AsyncConnection[Any]:
        fault = _current.get()
        if fault is not None and fault.dead:
            raise DatabaseUnreachable("this worker is dead")
        connection = await connect(dsn, application_name)
        if fault is not None:
            fault.knows(connection)
            _watch(connection, fault)
        return connection

    patch.setattr(Wire, "send", faulty_send)
    patch.setattr(Pool, "_login", faulty_login)
    patch.setattr(claims, "open_connection", faulty_connect)


def _watch(connection: psycopg.AsyncConnection[Any], fault: Fault) -> None:
    execute = connection.execute

    async def faulty_execute(query: Any, *arguments: Any, **options: Any) -> Any:
        text = query if isinstance(query, str) else bytes(query).decode()
        counted = any(name in text for name in _COUNTED)
        claim = "df._claim" in text
        due = counted and not claim and fault.due()
        if due and fault.moment == "before":
            await fault.strike(connection)
        cursor = await execute(query, *arguments, **options)
        if due or (claim and cursor.rowcount > 0 and fault.due()):
            await fault.strike(connection)
        return cursor

    connection.execute = faulty_execute  # type: ignore[method-assign]
