"""DBOS Transact as its users run it: workflows and steps in one Python process, PostgreSQL behind it.

    python -m bench.peer_dbos URL STEPS INSTANCES PARALLEL

Prints steps per second and, for a single step, nothing else. Its steps run no SQL at all, which is
generous: a durasql step commits a statement of the user's.
"""

# mypy: disable-error-code="untyped-decorator,misc"
from __future__ import annotations

import asyncio
import sys
import time

from dbos import DBOS, DBOSConfig

_AT_A_TIME = 50


@DBOS.step()
async def step(number: int) -> int:
    """The least a step can do."""
    return number


@DBOS.workflow()
async def sequence(steps: int) -> int:
    """One step after the other."""
    total = 0
    for number in range(steps):
        total += await step(number)
    return total


@DBOS.workflow()
async def join(steps: int) -> int:
    """All steps at once."""
    return sum(await asyncio.gather(*(step(number) for number in range(steps))))


async def measure(steps: int, instances: int, parallel: bool) -> float:
    """Steps per second."""
    workflow = join if parallel else sequence
    gate = asyncio.Semaphore(_AT_A_TIME)

    async def one() -> None:
        async with gate:
            handle = await DBOS.start_workflow_async(workflow, steps)
            await handle.get_result()

    await one()
    begun = time.monotonic()
    await asyncio.gather(*(one() for _ in range(instances)))
    return steps * instances / (time.monotonic() - begun)


def main() -> None:
    """Read the arguments, launch DBOS, print the figure."""
    url, steps, instances, parallel = sys.argv[1:]
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": url,
        "log_level": "ERROR",
        "enable_otlp": False,
    }
    DBOS(config=config)
    DBOS.launch()
    print(asyncio.run(measure(int(steps), int(instances), parallel == "parallel")))
    DBOS.destroy()


if __name__ == "__main__":
    main()
