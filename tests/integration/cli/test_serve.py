"""worker and dev: processes that serve until they are told to stop, and then leave nothing running."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from durasql.embedded import Embedded


@pytest.fixture
def data_dir() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="durasql-dev-"))
    yield path
    Embedded(path).stop()
    shutil.rmtree(path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_drains_on_a_signal(number: signal.Signals, database: Any, process: Any) -> None:
    worker = process("worker", "--dsn", database.owner_dsn, "--name", "w1")
    assert "worker w1 is ready" in until(worker.stderr, "is ready")
    worker.send_signal(number)
    _, err = worker.communicate()
    assert worker.returncode == 0
    assert "stopping" in err
    with database.connect() as connection:
        assert connection.execute("SELECT count(*) FROM df.workers").fetchone() == (0,)


def test_several_processes_are_started_and_stopped_as_one(database: Any, process: Any) -> None:
    workers = process("worker", "--dsn", database.owner_dsn, "--processes", "2")
    for _ in range(2):
        until(workers.stderr, "is ready")
    with database.connect() as connection:
        assert connection.execute("SELECT count(DISTINCT pid) FROM df.workers").fetchone() == (2,)
        workers.send_signal(signal.SIGTERM)
        workers.communicate()
        assert workers.returncode == 0
        assert connection.execute("SELECT count(*) FROM df.workers").fetchone() == (0,)


def test_dev_runs_the_embedded_server_and_a_worker(data_dir: Path, process: Any, durasql: Any) -> None:
    embedded = ("--data-dir", str(data_dir))
    dev = process("dev", *embedded)
    until(dev.stderr, "a worker is ready")
    id = durasql("start", *embedded, "-e", "'SELECT 6 * 7 AS n'").out.strip()
    assert durasql("await", *embedded, "--timeout", "30", id).out == '{"rows":[{"n":42}],"row_count":1}\n'
    assert Embedded(data_dir).status().running
    dev.send_signal(signal.SIGINT)
    out, _ = dev.communicate()
    assert dev.returncode == 0
    assert str(data_dir) in out
    assert not Embedded(data_dir).status().running


def test_a_worker_without_a_database_goes_on_trying_until_stopped(process: Any) -> None:
    worker = process("worker", "--dsn", "host=/nonexistent")
    until(worker.stderr, "durasql")
    worker.send_signal(signal.SIGTERM)
    worker.communicate()
    assert worker.returncode == 0


def until(stream: Any, text: str) -> str:
    """Read lines until one holds the text; returns that line."""
    for line in stream:
        if text in line:
            return str(line)
    raise AssertionError(f"the process ended without saying {text!r}")
