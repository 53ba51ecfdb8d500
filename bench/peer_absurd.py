"""Absurd with its Python SDK: tasks with checkpointed steps, a few clients in one process.

    python -m bench.peer_absurd DSN STEPS INSTANCES

Prints steps per second. Its schema comes with the package absurdctl. Steps run no SQL, which is generous.
"""

# mypy: disable-error-code="untyped-decorator,misc"
from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import psycopg
from absurd_sdk import AsyncAbsurd
from absurdctl import BUNDLED_SCHEMA_SQL

_CLIENTS = 4
_BATCH = 10


async def _nothing() -> int:
    return 1


def _client(dsn: str) -> AsyncAbsurd:
    client = AsyncAbsurd(dsn, queue_name="bench")

    @client.register_task("sequence")
    async def sequence(parameters: Any, context: Any) -> int:
        for number in range(parameters["steps"]):
            await context.step(f"step {number}", _nothing)
        return 1

    return client


async def _work(client: AsyncAbsurd, done: asyncio.Event) -> None:
    while not done.is_set():
        await client.work_batch(batch_size=_BATCH)


async def measure(dsn: str, steps: int, instances: int) -> float:
    """Steps per second, spawning included."""
    clients = [_client(dsn) for _ in range(_CLIENTS)]
    spawner = _client(dsn)
    await spawner.create_queue()
    done = asyncio.Event()
    begun = time.monotonic()
    for _ in range(instances):
        await spawner.spawn("sequence", {"steps": steps})
    workers = [asyncio.create_task(_work(client, done)) for client in clients]
    connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    while True:
        cursor = await connection.execute(
            "SELECT count(*) FROM absurd.t_bench WHERE state IN ('completed', 'failed')"
        )
        row = await cursor.fetchone()
        if row is not None and row[0] >= instances:
            break
        await asyncio.sleep(0.02)
    taken = time.monotonic() - begun
    done.set()
    await asyncio.gather(*workers)
    return steps * instances / taken


def main() -> None:
    """Install Absurd's schema in a fresh place, then measure."""
    dsn, steps, instances = sys.argv[1:]
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS absurd CASCADE")
        connection.execute(BUNDLED_SCHEMA_SQL)
    print(asyncio.run(measure(dsn, int(steps), int(instances))))


if __name__ == "__main__":
    main()
