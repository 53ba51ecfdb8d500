"""A stage for whole workflows: a database, a role, a worker in this process.

    stage       stage.start(text) -> id; await stage.outcome(id); await stage.run(text); stage.sql(…)
    working     the same with a worker that runs until the test is over

Waiting is `stage.until(query)`, which asks until a query says true. Not `df.await_instance`, whose snapshot
lasts as long as it waits: CREATE INDEX CONCURRENTLY and its kin wait for older snapshots to end.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from durasql_runtime.worker import Worker, WorkerConfig

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 60
"""Seconds until a test gives up waiting for an event."""


@dataclass(frozen=True)
class Outcome:
    """How an instance ended."""

    id: str
    status: str
    output: str | None

    @property
    def value(self) -> Any:
        """The result; only a completed instance has one."""
        assert self.status == "completed", f"{self.id} {self.status}: {self.output}"
        assert self.output is not None
        return json.loads(self.output)

    @property
    def error(self) -> str:
        """Why it failed."""
        assert self.status == "failed", f"{self.id} {self.status}: {self.output}"
        assert self.output is not None
        return self.output


@dataclass
class Stage:
    """A database with an ordinary role that starts workflows in it."""

    database: Any
    role: str
    _open: list[psycopg.AsyncConnection[Any]] = field(default_factory=list)

    async def connect(self, role: str | None = None, **options: Any) -> psycopg.AsyncConnection[Any]:
        """An autocommit connection, as the workflows' role unless another is named."""
        connection = await psycopg.AsyncConnection.connect(
            self.database.dsn(role or self.role), **{"autocommit": True, **options}
        )
        self._open.append(connection)
        return connection

    async def sql(self, query: str, params: Any = None, role: str | None = None) -> list[tuple[Any, ...]]:
        """The rows of one statement in a session of its own."""
        connection = await psycopg.AsyncConnection.connect(
            self.database.dsn(role or self.role), autocommit=True
        )
        async with connection:
            cursor = await connection.execute(query.encode(), params)
            return await cursor.fetchall() if cursor.description else []

    async def one(self, query: str, params: Any = None, role: str | None = None) -> Any:
        """The first value of a statement."""
        return (await self.sql(query, params, role))[0][0]

    async def admin(self, statement: str) -> list[tuple[Any, ...]]:
        """The same as superuser."""
        return await self.sql(statement, role="postgres")

    async def setting(self, name: str, value: str) -> None:
        """Change one of df.settings."""
        await self.sql(
            "UPDATE df.settings SET value = %s WHERE name = %s", (value, name), self.database.owner
        )

    async def start(self, text: str, label: str | None = None, database: str | None = None) -> str:
        """df.start with a workflow as text, in any of its forms."""
        return str(await self.one("SELECT df.start(%s, %s, %s)", (text, label, database)))

    async def start_expression(self, expression: str) -> str:
        """df.start with an SQL expression of the operator language."""
        return str(await self.one(f"SELECT df.start({expression})"))

    async def outcome(self, id_: str) -> Outcome:
        """Wait until an instance is over."""
        over = "SELECT status NOT IN ('pending', 'running') FROM df.instances WHERE id = %s"
        await self.until(over, (id_,), "postgres")
        (row,) = await self.sql("SELECT status, output FROM df.instances WHERE id = %s", (id_,), "postgres")
        return Outcome(id_, *row)

    async def run(self, expression: str) -> Outcome:
        """Start an SQL expression and wait for its end."""
        return await self.outcome(await self.start_expression(expression))

    async def until(self, query: str, params: Any = None, role: str | None = None) -> Any:
        """Ask until the first value is true, and return it."""
        connection = await self.connect(role)
        async with asyncio.timeout(PATIENCE):
            while True:
                row = await (await connection.execute(query.encode(), params)).fetchone()
                if row is not None and row[0]:
                    await connection.close()
                    return row[0]
                await asyncio.sleep(0.02)

    async def until_waiting(self, id_: str, node_count: int = 1) -> None:
        """Until an instance has armed this many waits."""
        await self.until(
            "SELECT count(*) >= %s FROM df.journal WHERE instance_id = %s AND state = 'waiting'",
            (node_count, id_),
        )

    async def until_parked(self, id_: str) -> None:
        """Until no worker holds the instance and it waits."""
        await self.until(
            "SELECT status = 'running' AND worker IS NULL AND EXISTS (SELECT FROM df.journal j "
            "WHERE j.instance_id = i.id AND j.state = 'waiting') FROM df.instances i WHERE id = %s",
            (id_,),
        )

    async def until_active(self, fragment: str) -> int:
        """Until a server process executes a statement that contains `fragment`; its pid."""
        return int(await self.until(_ACTIVE, (f"%{fragment}%",), "postgres"))

    async def until_idle(self, fragment: str) -> None:
        """Until none does."""
        await self.until(f"SELECT ({_ACTIVE}) IS NULL", (f"%{fragment}%",), "postgres")

    async def journal(self, id_: str) -> list[tuple[Any, ...]]:
        """The journal without sequence numbers and times."""
        return await self.sql(
            "SELECT node, gen, state, value, refs, columns FROM df.journal WHERE instance_id = %s "
            "ORDER BY node",
            (id_,),
        )

    @asynccontextmanager
    async def worker(self, role: str | None = None, **options: Any) -> AsyncIterator[Worker]:
        """A worker in this process for as long as the block runs."""
        config = WorkerConfig(self.database.dsn(role), **{"drain_seconds": 0.2, **options})
        worker = Worker(config)
        task = asyncio.create_task(worker.run())
        starting = asyncio.create_task(worker.started.wait())
        await asyncio.wait([task, starting], return_when=asyncio.FIRST_COMPLETED)
        try:
            yield worker
        finally:
            starting.cancel()
            worker.stop()
            await task

    async def close(self) -> None:
        """Close the connections that tests opened."""
        for connection in self._open:
            await connection.close()


_ACTIVE = (
    "SELECT max(pid) FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s "
    "AND application_name LIKE 'durasql step%%' AND datname = current_database()"
)


@pytest.fixture
async def stage(database: Any) -> AsyncIterator[Stage]:
    role = database.role()
    await asyncio.to_thread(
        database.cluster.execute, f'GRANT CREATE ON SCHEMA public TO "{role}"', database.name
    )
    made = Stage(database, role)
    await made.sql("CREATE TABLE effects (n bigserial, what text)")
    yield made
    await made.close()
    with suppress(psycopg.Error):
        await made.sql("DROP OWNED BY CURRENT_USER")


@pytest.fixture
async def working(stage: Stage) -> AsyncIterator[Stage]:
    async with stage.worker():
        yield stage


@pytest.fixture
def held() -> Callable[[str, str], str]:
    """Text of a step that takes its time, recognisable in pg_stat_activity."""
    return lambda mark, seconds: f"SELECT pg_sleep({seconds}) /* {mark} */"
