"""P9: what a step sends does not fill the worker's memory."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Stage

VALUE = "SELECT repeat('x', 100000000) AS large"
ROWS = "SELECT repeat('x', 1000000) AS large FROM generate_series(1, 100)"
NOTICE = "DO $d$ BEGIN RAISE NOTICE '%', repeat('x', 100000000); END $d$"
ERROR = "DO $d$ BEGIN RAISE '%', repeat('x', 100000000); END $d$"


def peak(pid: int) -> int:
    """The most resident memory that a process had, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


@pytest.mark.parametrize("step", [VALUE, ROWS, NOTICE, ERROR], ids=["value", "rows", "notice", "error"])
async def test_a_flood_is_stopped_while_it_comes(
    stage: Stage, worker_process: Callable[..., subprocess.Popen[str]], step: str
) -> None:
    await stage.admin("UPDATE df.settings SET value = '1000000' WHERE name = 'max_result_bytes'")
    worker = worker_process()
    assert (await stage.run("'SELECT 1 AS a'")).status == "completed"
    before = peak(worker.pid)
    await stage.sql("CREATE TABLE floods (n int)")
    failed = await stage.run(f"$s$INSERT INTO floods VALUES (1); {step}$s$ ~> 'SELECT 2'")

    assert "the result is larger than 1000000 bytes" in failed.error
    assert peak(worker.pid) - before < 40
    # The step is undone, and the worker goes on.
    assert await stage.sql("SELECT count(*) FROM floods") == [(0,)]
    assert (await stage.run("'SELECT 3 AS a'")).status == "completed"


async def test_many_notices_are_no_flood(stage: Stage) -> None:
    """They come to more than any one of them may."""
    await stage.admin("UPDATE df.settings SET value = '100000' WHERE name = 'max_result_bytes'")
    chatter = "DO $d$ BEGIN FOR i IN 1..2000 LOOP RAISE NOTICE '%', repeat('x', 1000); END LOOP; END $d$"
    async with stage.worker():
        assert (await stage.run(f"$s${chatter}$s$")).status == "completed"


@pytest.mark.parametrize("size", [1, 5_000, 70_000, 300_000, 900_000])
async def test_long_results_come_through_whole(working: Stage, size: int) -> None:
    text = f"SELECT string_agg(chr(97 + i % 26), '' ORDER BY i) AS a FROM generate_series(1, {size}) AS i"
    done = await working.run(f"$s${text}$s$ |=> 'a' ~> 'SELECT length($a) AS n, md5($a) AS h'")
    plain = await working.sql(f"SELECT md5(a) FROM ({text}) AS s")
    assert done.value["rows"] == [{"n": size, "h": plain[0][0]}]
