"""`durasql.client`: sync and async, own connection or the caller's transaction (P5), one error tree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from durasql.client import Client, connect, connect_async
from durasql.errors import (
    CompileError,
    DatabaseUnreachable,
    NotFound,
    PermissionDenied,
    RunCancelled,
    RunFailed,
    RunTimedOut,
    SchemaMissing,
)


def count(database: Any) -> int:
    with database.connect() as connection:
        return int(connection.execute("SELECT count(*) FROM df.instances").fetchone()[0])


def test_start_wait_and_result(database: Any, worker_process: Any) -> None:
    worker_process()
    with connect(database.owner_dsn) as client:
        id = client.start(
            "'SELECT {n}::int' |=> 'a' ~> 'SELECT $a + 1 AS answer'", label="l", variables={"n": "20"}
        )
        assert client.await_instance(id) == "completed"
        assert client.result(id) == {"rows": [{"answer": 21}], "row_count": 1}
        assert client.instance(id).label == "l"
        assert client.error(id) is None
        assert [listed.id for listed in client.list(label="l").instances] == [id]
        assert [node.status for node in client.nodes(id)] == ["completed"] * 3


async def test_the_same_with_asyncio(database: Any, worker_process: Any) -> None:
    worker_process()
    async with await connect_async(database.owner_dsn) as client:
        id = await client.start("df.wait_for_signal('go') |=> 's' ~> 'SELECT $s.data AS d'")
        await client.signal(id, "go", {"by": "Ada"})
        assert await client.await_instance(id) == "completed"
        assert await client.result(id) == {"rows": [{"d": '{"by":"Ada"}'}], "row_count": 1}
        assert await client.status(id) == "completed"
        assert len((await client.list()).instances) == 1
        assert "SIGNAL 'go'" in await client.explain(id)
        assert len(await client.nodes(id)) == 3


def test_a_text_may_be_plain_sql_or_a_file(database: Any, tmp_path: Path) -> None:
    file = tmp_path / "nightly.dsql"
    file.write_text("SELECT df.start('SELECT 1' ~> 'SELECT 2', 'x');")
    with connect(database.owner_dsn) as client:
        assert client.explain("SELECT 1").strip() == "SQL: SELECT 1"
        assert client.explain(file).split() == ["SQL:", "SELECT", "1", "→", "SQL:", "SELECT", "2"]


def test_a_mistake_is_found_before_anything_is_written(database: Any) -> None:
    with connect(database.owner_dsn) as client, pytest.raises(CompileError, match=r"df\.slep") as caught:
        client.start("'SELECT 1' ~> df.slep(1)")
    assert caught.value.diagnostics[0].place == "<text>:1:15"
    assert count(database) == 0


def test_start_belongs_to_the_callers_transaction(database: Any) -> None:
    """P5: with autocommit off, the caller's commit or rollback decides."""
    with psycopg.connect(database.owner_dsn) as connection:
        client = Client(connection)
        client.start("'SELECT 1'")
        assert count(database) == 0
        connection.rollback()
        assert count(database) == 0
        client.start("'SELECT 1'")
        connection.commit()
    assert count(database) == 1


def test_start_belongs_to_a_transaction_block(database: Any) -> None:
    """P5: in a block of an autocommit connection."""
    with connect(database.owner_dsn) as client:
        with client.connection.transaction(force_rollback=True):
            client.start("'SELECT 1'")
        assert count(database) == 0


def test_how_an_instance_ended_is_told_by_type(database: Any, worker_process: Any) -> None:
    worker_process()
    with connect(database.owner_dsn) as client:
        failing = client.start("'SELECT 1/0'")
        assert client.await_instance(failing) == "failed"
        with pytest.raises(RunFailed, match="division by zero"):
            client.result(failing)
        cancelled = client.start("df.sleep(60)")
        assert client.result(cancelled) is None
        with pytest.raises(RunTimedOut):
            client.await_instance(cancelled, timeout=1)
        client.cancel(cancelled, "enough")
        assert client.error(cancelled) == "canceled: enough"
        with pytest.raises(RunCancelled, match="enough"):
            client.result(cancelled)


def test_waiting_for_a_run_holds_nothing_that_the_run_waits_for(database: Any, worker_process: Any) -> None:
    """CREATE INDEX CONCURRENTLY waits for every snapshot of its database, one of df.await_instance too."""
    worker_process()
    database.psql("CREATE TABLE people (name text)")
    with connect(database.owner_dsn) as client:
        id = client.start("'SELECT 1' ~> 'CREATE INDEX CONCURRENTLY ON people (name)'")
        assert client.await_instance(id, 60) == "completed"


def test_every_call_about_an_unknown_instance_says_so(database: Any) -> None:
    with connect(database.owner_dsn) as client:
        for call in (client.status, client.result, client.nodes, client.cancel, client.await_instance):
            with pytest.raises(NotFound):
                call("deadbeef")
        with pytest.raises(NotFound):
            client.signal("deadbeef", "go")


def test_the_database_can_be_wrong_in_three_ways(database: Any, empty_database: str) -> None:
    with pytest.raises(DatabaseUnreachable):
        connect("host=/nonexistent")
    with connect(empty_database) as client, pytest.raises(SchemaMissing):
        client.start("'SELECT 1'")
    with connect(database.dsn(database.role(grant=False))) as client, pytest.raises(PermissionDenied):
        client.start("'SELECT 1'")
