"""A worker that ends itself at a database call: victim.py DSN INSTANCE CALL before|after."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.crash import faults

from durasql_runtime.worker import Worker, WorkerConfig


async def main(dsn: str, instance_id: str, at: str, moment: str) -> None:
    """Run until the call comes; without it, until killed."""
    faults.install(pytest.MonkeyPatch())
    with faults.under(faults.Fault(int(at), "process", moment)):  # type: ignore[arg-type]
        await Worker(WorkerConfig(dsn, only=instance_id)).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
