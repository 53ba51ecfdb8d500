"""P2, P4: a worker is killed at database call k, for every k; another one finishes, and nobody can tell.

The result, the journal (but for numbering, times and attempts) and the effects must be those of the
undisturbed run; HTTP attempts of one step carry one Idempotency-Key. By default every point of a few
programs and a sample of the others; with DURASQL_CRASH=full every point of all of them, in four ways, and
in processes that end themselves.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from durasql_runtime.worker import Worker, WorkerConfig

from . import faults
from .faults import Fault
from .programs import NAMES, expression

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]

FULL = os.environ.get("DURASQL_CRASH") == "full"
AT_A_TIME = 6
STUCK = 30
"""Seconds after which a run counts as stuck."""
EVERY = ("loop", "joins")
"""Programs whose every point is tried by default."""
WAYS = [("worker", "after"), ("worker", "before"), ("connection", "after"), ("connection", "before")]
HTTP_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok"

_TIMES = re.compile(r'"(?:duration_ms|elapsed_ms)":[0-9.]+,?')
"""The part of an HTTP result that no two calls have in common."""


@dataclass(frozen=True)
class Trace:
    """All that a run leaves behind which its observers may compare."""

    status: str
    output: str | None
    journal: tuple[Any, ...]
    effects: tuple[tuple[str, int], ...]
    requests: tuple[str, ...]
    attempts: tuple[Any, ...]
    undos: tuple[Any, ...]


@dataclass
class Arena:
    """A database, a role, a web site; runs by the hundred, a few at a time."""

    database: Any
    role: str
    site: str = ""
    keys: dict[str, list[str]] = field(default_factory=dict)
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_A_TIME))
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    async def trace(self, name: str, fault: Fault | None) -> Trace:
        """Run a program, with a fault unless None, to its end."""
        async with self._places, asyncio.timeout(STUCK):
            label = f"run{next(self._numbers)}"
            async with await self.connect() as connection:
                started = await connection.execute(
                    f"SELECT df.start({expression(name, self.site)}, %s)".encode(), (label,)
                )
                (id_,) = await started.fetchone() or ("",)
                await self._finish(connection, id_, fault)
                return await self._seen(connection, id_, label)

    async def connect(self) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(self.database.dsn(self.role), autocommit=True)

    async def _finish(self, connection: Any, id_: str, fault: Fault | None) -> None:
        over = asyncio.create_task(self._over(connection, id_))
        try:
            await self._lived(id_, fault, over)
        except asyncio.CancelledError:
            rows = await (
                await connection.execute("SELECT to_jsonb(i) FROM df.instances i WHERE id = %s", (id_,))
            ).fetchall()
            print("stuck:", rows, fault)
            for task in asyncio.all_tasks():
                if "worker" in repr(task) or "runner" in repr(task) or "pool" in repr(task):
                    task.print_stack(limit=4)
            raise

    async def _lived(self, id_: str, fault: Fault | None, over: asyncio.Task[Any]) -> None:
        if fault is not None:
            await self._disturbed(id_, fault, over)
        if not over.done():
            await self._worked(id_, over)
        await over

    async def _over(self, connection: Any, id_: str) -> None:
        """Not df.await_instance: its snapshot would keep CREATE INDEX CONCURRENTLY waiting."""
        query = "SELECT status IN ('completed', 'failed', 'compensated') FROM df.instances WHERE id = %s"
        while (await (await connection.execute(query, (id_,))).fetchone()) != (True,):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def _disturbed(self, id_: str, fault: Fault, over: asyncio.Task[Any]) -> None:
        if fault.what == "process":
            await self._process(id_, fault, over)
            return
        with faults.under(fault):
            worker = asyncio.create_task(Worker(self._config(id_)).run())
        died = asyncio.create_task(fault.died.wait())
        await asyncio.wait([over, died, worker], return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)

    async def _process(self, id_: str, fault: Fault, over: asyncio.Task[Any]) -> None:
        arguments = (self.database.dsn(), id_, str(fault.at), fault.moment)
        victim = await asyncio.create_subprocess_exec(
            sys.executable, Path(__file__).with_name("victim.py"), *arguments
        )
        ended = asyncio.create_task(victim.wait())
        await asyncio.wait([over, ended], return_when=asyncio.FIRST_COMPLETED)
        fault.fired = not over.done() or (ended.done() and victim.returncode == 9)
        if victim.returncode is None:
            victim.kill()
        await ended

    async def _worked(self, id_: str, over: asyncio.Task[Any]) -> None:
        worker = Worker(self._config(id_))
        task = asyncio.create_task(worker.run())
        await asyncio.wait([over, task], return_when=asyncio.FIRST_COMPLETED)
        worker.stop()
        await task

    def _config(self, id_: str) -> WorkerConfig:
        return WorkerConfig(self.database.dsn(), only=id_, drain_seconds=0.1)

    async def _seen(self, connection: Any, id_: str, label: str) -> Trace:
        async def rows(query: str, *params: str) -> list[tuple[Any, ...]]:
            return list(await (await connection.execute(query, params)).fetchall())

        ((status, output),) = await rows("SELECT status, output FROM df.instances WHERE id = %s", id_)
        journal = await rows(
            "SELECT node, gen, state, value, refs, columns, names FROM df.journal "
            "WHERE instance_id = %s ORDER BY node",
            id_,
        )
        effects = await rows(
            "SELECT what, count(*)::int FROM effects WHERE run = %s GROUP BY 1 ORDER BY 1", label
        )
        requests = self._requests(label)

        def same(value: Any) -> str:
            return _TIMES.sub("", str(value).replace(id_, "ID").replace(label, "RUN"))

        anonymous = tuple(tuple(same(value) for value in row) for row in journal)
        attempts = await rows(
            "SELECT node, gen, attempt, error FROM df.attempts WHERE instance_id = %s ORDER BY 1, 2, 3", id_
        )
        undos = await rows("SELECT node, gen, state FROM df.undos WHERE instance_id = %s ORDER BY 1, 2", id_)
        return Trace(
            status,
            same(output),
            anonymous,
            tuple(effects),
            requests,
            tuple((*key, same(error)) for *key, error in attempts),
            tuple(undos),
        )

    def _requests(self, label: str) -> tuple[str, ...]:
        """Which calls arrived; every attempt of one must have had the same key."""
        found = []
        for path, keys in sorted(self.keys.items()):
            if path.startswith(f"/{label}?"):
                assert len(set(keys)) == 1 and keys[0], f"{path} was called with {keys}"
                found.append(path.partition("?")[2])
        return tuple(found)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request after the other; note its key, answer ok."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().split("\r\n")
                headers = {
                    name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
                }
                await reader.readexactly(int(headers.get("content-length", "0")))
                self.keys.setdefault(first.split(" ")[1], []).append(headers.get("idempotency-key", ""))
                writer.write(HTTP_OK)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def arena(database: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Arena]:
    faults.install(monkeypatch)
    role = database.role(include_http=True)
    with database.connect("postgres") as connection:
        connection.execute("CREATE TABLE effects (n bigserial, run text, what text)")
        connection.execute(f"ALTER TABLE effects OWNER TO {role}")
        connection.execute(f"GRANT CREATE ON SCHEMA public TO {role}")
    with database.connect() as connection:
        connection.execute("SELECT df.http_allow('127.0.0.1')")
    made = Arena(database, role)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.site = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield made
    server.close()


async def tries(arena: Arena, name: str, what: str, moment: str, points: list[int]) -> Counter[str]:
    """Compare runs with the fault at these points with an undisturbed one; the first difference is an
    error.
    """
    calm = await arena.trace(name, None)
    assert calm.status == {"failure": "failed", "undo": "compensated"}.get(name, "completed"), calm
    seen: Counter[str] = Counter()

    async def point(at: int) -> None:
        fault = Fault(at, what, moment)  # type: ignore[arg-type]
        disturbed = await arena.trace(name, fault)
        seen["fired" if fault.fired else "beyond"] += 1
        assert disturbed == calm, f"{name}: {what} dies {moment} call {at}"

    results = await asyncio.gather(*(point(at) for at in points), return_exceptions=True)
    wrong = [result for result in results if isinstance(result, BaseException)]
    print(f"crash points: {name} {what} {moment}: {dict(seen)}, {len(wrong)} wrong")
    if wrong:
        raise wrong[0]
    return seen


async def calls_of(arena: Arena, name: str) -> int:
    """How many database calls an undisturbed run makes (a few more or less come from timing)."""
    fault = Fault(at=-1)
    await arena.trace(name, fault)
    return fault.calls


@pytest.mark.parametrize("name", EVERY)
async def test_a_worker_killed_at_every_call(arena: Arena, name: str) -> None:
    count = await calls_of(arena, name)
    seen = await tries(arena, name, "worker", "after", list(range(1, count + 1)))
    assert seen["fired"] >= count - 2


@pytest.mark.parametrize("name", NAMES)
async def test_a_sample_of_points_and_ways(arena: Arena, name: str) -> None:
    count = await calls_of(arena, name)
    first = NAMES.index(name)
    for offset in (0, 1):
        what, moment = WAYS[(first + offset) % len(WAYS)]
        await tries(arena, name, what, moment, list(range(2 + offset, count + 1, 4)))


@pytest.mark.skipif(not FULL, reason="make crash tries all points")
@pytest.mark.parametrize(("what", "moment"), WAYS)
@pytest.mark.parametrize("name", NAMES)
async def test_every_call_in_every_way(arena: Arena, name: str, what: str, moment: str) -> None:
    count = await calls_of(arena, name)
    await tries(arena, name, what, moment, list(range(1, count + 3)))


@pytest.mark.skipif(not FULL, reason="make crash tries all points")
@pytest.mark.parametrize("name", NAMES)
async def test_processes_that_end_themselves(arena: Arena, name: str) -> None:
    count = await calls_of(arena, name)
    await tries(arena, name, "process", "after", list(range(1, count + 1)))
