"""P10: what a database is doing, at a glance and for machines; one log line per transition."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

DurasqlCommand = Any


def until(database: Any, query: str) -> None:
    with database.connect() as connection:
        while not connection.execute(query).fetchone()[0]:
            pass


def test_top_shows_workers_waits_and_failures(
    durasql: DurasqlCommand, database: Any, worker_process: Callable[..., subprocess.Popen[str]]
) -> None:
    worker_process(None, "--name", "one")
    with database.connect() as connection:
        connection.execute(
            "SELECT df.start(df.wait_for_signal('go'), 'patient'), df.start('SELECT 1 / 0', 'bad')"
        )
    until(
        database,
        "SELECT count(*) = 2 FROM df.instances WHERE worker IS NULL AND status IN ('running', 'failed')",
    )
    seen = json.loads(durasql("top", "--dsn", database.owner_dsn, "--json").out)
    assert [worker["name"] for worker in seen["workers"]] == ["one"]
    assert (seen["due"], seen["waiting"], seen["lag_seconds"]) == (0, 1, 0)
    assert [(line["label"], line["waits_for"]) for line in seen["longest"]] == [("patient", "go")]
    assert "division by zero" in seen["failures"][0]["error"]
    shown = durasql("top", "--dsn", database.owner_dsn, "--once").out
    assert all(text in shown for text in ("0 due", "1 waiting", "patient", "division by zero", "one"))


def test_a_role_sees_its_own_and_no_workers(durasql: DurasqlCommand, database: Any) -> None:
    with database.connect() as connection:
        connection.execute("SELECT df.start('SELECT 1', 'the owner''s')")
    seen = json.loads(durasql("top", "--dsn", database.dsn(database.role()), "--json").out)
    assert (seen["workers"], seen["due"]) == (None, 0)


def test_a_worker_logs_every_transition_as_json(
    database: Any, worker_process: Callable[..., subprocess.Popen[str]]
) -> None:
    worker = worker_process(None, "--log-json")
    with database.connect() as connection:
        (id_,) = connection.execute("SELECT df.start('SELECT 1' ~> 'SELECT 2' ~> 'SELECT 3')").fetchone()
        connection.execute("SELECT df.await_instance(%s)", (id_,))
    worker.terminate()
    _, said = worker.communicate()
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    steps = [line["node"] for line in lines if line.get("type") == "SQL" and line["state"] == "done"]
    assert all(line["instance"] == id_ for line in lines if "state" in line)
    assert len(steps) == len(set(steps)) == 3
    assert lines[-1]["state"] == "completed" or any(line.get("state") == "completed" for line in lines)
