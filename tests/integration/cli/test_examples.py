"""The examples do what they say: their results, what they do when answered, stopped and resumed (P2, P5)."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from durasql.client import Client, connect

HERE = Path(__file__).parents[3] / "examples"
EXAMPLES = sorted(HERE.glob("*.dsql"))


@cache
def run_all() -> Any:
    """The script behind `make run`, which knows what each example needs around it and what it promises."""
    spec = importlib.util.spec_from_file_location("run_all", HERE / "run_all.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def client(database: Any) -> Any:
    with connect(database.owner_dsn) as client:
        yield client


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_gives_what_it_promises_and_can_be_repeated(
    path: Path, database: Any, durasql: Any
) -> None:
    if path.stem == "embeddings":
        if not database.cluster.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'"):
            pytest.skip("this server has no pgvector")
        database.cluster.execute("CREATE EXTENSION vector", database.name)
    with run_all().surroundings(path, database.owner_dsn):
        for _ in range(2):
            done = durasql("run", "--dsn", database.owner_dsn, "--timeout", "60", str(path))
            assert (done.code, done.err) == (0, "")
            assert json.loads(done.out) == run_all().promised(path.read_text(encoding="utf-8"))


def answered(client: Client, name: str, signal: str, data: Any) -> Any:
    """The first row of an example that gets its answer before it waits for one: signals are kept."""
    id = client.start(HERE / f"{name}.dsql")
    client.signal(id, signal, data)
    assert client.await_instance(id, 60) == "completed", client.error(id)
    return client.result(id)["rows"][0]


@pytest.mark.parametrize(("signal", "state"), [("approve", "approved"), ("refuse", "refused")])
def test_an_order_is_decided_by_whoever_answers(
    client: Client, worker_process: Callable[..., object], signal: str, state: str
) -> None:
    worker_process()
    assert answered(client, "approval", signal, {"by": "Ada"}) == {"state": state, "decided_by": "Ada"}


def test_space_is_given_back_when_that_was_approved(
    client: Client, worker_process: Callable[..., object]
) -> None:
    worker_process()
    row = answered(client, "maintenance", "vacuum", {"full": True})
    assert row["bytes_per_row_after"] < row["bytes_per_row_before"] / 5


def test_p2_a_backfill_that_was_cancelled_goes_on_where_it_was(
    database: Any, client: Client, worker_process: Callable[..., object]
) -> None:
    worker_process()
    database.psql(
        """
        CREATE SCHEMA backfill;
        CREATE TABLE backfill.people (id integer PRIMARY KEY, first text, last text, full_name text,
                                      writes integer NOT NULL DEFAULT 0);
        INSERT INTO backfill.people SELECT i, 'first' || i, 'last' || i FROM generate_series(1, 20000) i;
        CREATE FUNCTION backfill.counted() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF new.id = 9000 THEN PERFORM pg_advisory_xact_lock(9000); END IF;
            new.writes := old.writes + 1;
            RETURN new;
        END $$;
        CREATE TRIGGER counted BEFORE UPDATE ON backfill.people
            FOR EACH ROW EXECUTE FUNCTION backfill.counted();
        """
    )
    blocked = "SELECT pg_sleep(0.02) FROM pg_locks WHERE objid = 9000 AND NOT granted"
    with database.connect() as locker:
        locker.execute("SELECT pg_advisory_lock(9000)")
        first = client.start(HERE / "backfill.dsql")
        while not database.cluster.execute(blocked):
            pass
        client.cancel(first)
    done = "SELECT count(*) FROM backfill.people WHERE full_name IS NOT NULL"
    assert database.psql(done) == "8000\n"
    second = client.start(HERE / "backfill.dsql")
    assert client.await_instance(second, 60) == "completed", client.error(second)
    assert database.psql("SELECT min(writes), max(writes) FROM backfill.people") == "1|1\n"


def test_every_example_is_in_the_list() -> None:
    listed = re.findall(r"\[`?(\w+\.dsql)`?\]\(", (HERE / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == [path.name for path in EXAMPLES]
