"""Whole workflows with HTTP steps, run by a worker process (P2, P4, S3, S6)."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from durasql_runtime.secrets import keys_from_environment, new_key, seal

TOKEN = "sk-très-s3cr&t/value=="


async def run(database, role: str, statement: str, *arguments: object) -> tuple[str, str]:
    """Start a workflow and wait for it without blocking the site; id and status."""
    async with await psycopg.AsyncConnection.connect(database.dsn(role), autocommit=True) as connection:
        id_ = await _one(connection, f"SELECT df.start({statement})", *arguments)
        return id_, await _one(connection, "SELECT df.await_instance(%s, 60)", id_)


async def _one(connection: psycopg.AsyncConnection[Any], statement: str, *arguments: object) -> Any:
    row = await (await connection.execute(statement, arguments)).fetchone()
    assert row is not None
    return row[0]


def allow_loopback(database) -> None:
    with database.connect() as connection:
        connection.execute("SELECT df.http_allow('127.0.0.1')")


def output(database, id_: str) -> str:
    with database.connect() as connection:
        row = connection.execute("SELECT output FROM df.instances WHERE id = %s", (id_,)).fetchone()
    return str(row[0])


@pytest.fixture
def role(database) -> str:
    name: str = database.role(include_http=True)
    return name


async def test_names_and_fields_flow_through_http_steps(database, site, role, worker_process):
    allow_loopback(database)
    worker_process(role)
    site.answer("/items/7", b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone")
    id_, status = await run(
        database,
        role,
        "'SELECT 7 AS id' |=> 'item' ~> df.http(%s, 'GET') |=> 'r'"
        " ~> 'SELECT $r.status AS s, $r.ok AS ok, $r.body AS b'",
        site.url("/items/$item.id"),
    )
    assert status == "completed", output(database, id_)
    assert json.loads(output(database, id_))["rows"] == [{"s": 404, "ok": False, "b": "gone"}]


async def test_a_url_may_begin_with_a_name(database, site, role, worker_process):
    """L15: it is checked when it is known."""
    allow_loopback(database)
    worker_process(role)
    text = "('SELECT ''%s'' AS u' |=> 'a') ~> df.http('$a.u', 'GET')".replace("%s", site.url("/x"))
    id_, status = await run(database, role, text)
    assert status == "completed", output(database, id_)
    assert site.requests[0].path == "/x"
    id_, status = await run(database, role, "('SELECT ''file:///x'' AS u' |=> 'a') ~> df.http('$a.u', 'GET')")
    assert status == "failed"
    assert output(database, id_) == (
        "Blocked: unsupported URL scheme 'file'. Only http and https are allowed."
    )


async def test_without_a_rule_loopback_is_blocked_and_a_rule_opens_it(database, site, role, worker_process):
    worker_process(role)
    id_, status = await run(database, role, "df.http(%s, 'GET')", site.url())
    assert status == "failed"
    assert output(database, id_).startswith("Blocked: the resolved IP address for '127.0.0.1'")
    allow_loopback(database)
    _, status = await run(database, role, "df.http(%s, 'GET')", site.url())
    assert status == "completed"


async def test_a_revoked_privilege_stops_the_next_request(database, site, role, worker_process):
    allow_loopback(database)
    worker_process(role)
    with database.connect() as connection:
        graph = connection.execute("SELECT df.http(%s, 'GET')", (site.url(),)).fetchone()[0]
        connection.execute(f"REVOKE EXECUTE ON FUNCTION df.http(text,text,text,jsonb,integer) FROM {role}")
    id_, status = await run(database, role, "%s", graph)
    assert status == "failed"
    assert "does not have EXECUTE privilege on df.http()" in output(database, id_)
    assert not site.requests


async def test_a_killed_worker_sends_again_with_the_same_key(database, site, role, worker_process):
    """P2, P4: at least once, and the receiver can tell."""
    allow_loopback(database)
    first = worker_process(role)
    hold = asyncio.Event()

    async def stall(_seen, _writer):
        await hold.wait()

    site.handlers["/x"] = stall
    running = asyncio.ensure_future(run(database, role, "df.http(%s, 'POST', 'body')", site.url("/x")))
    await site.arrived.wait()
    first.kill()
    del site.handlers["/x"]
    worker_process(role)
    _, status = await running
    hold.set()
    assert status == "completed"
    keys = [seen.headers["idempotency-key"] for seen in site.requests]
    assert len(keys) >= 2 and len(set(keys)) == 1


Start = Callable[..., subprocess.Popen[str]]


async def test_a_secret_is_in_nothing_that_a_run_writes(database, site, role, worker_process: Start):
    """Programs, journal, results, explain, errors, logs: everything is searched."""
    key = new_key()
    keys = keys_from_environment({"DURASQL_SECRET_KEY": key})
    allow_loopback(database)
    with database.connect() as connection:
        connection.execute("SELECT df.put_secret('api', %s, %s)", (seal(TOKEN, role, "api", keys), role))
    worker = worker_process(role, "--log-level", "debug", DURASQL_SECRET_KEY=key)
    echo = TOKEN.encode()
    site.answer("/fail", f"HTTP/1.1 500 X\r\nContent-Length: {len(echo)}\r\n\r\n".encode() + echo)
    arguments = '\'POST\', \'{"k":"{secret:api}"}\', \'{"Authorization":"Bearer {secret:api}"}\''
    id_, status = await run(
        database,
        role,
        f"df.http(%s, {arguments}) |=> 'r' ~> 'SELECT $r.body AS echoed'",
        site.url("/x?key={secret:api}"),
    )
    assert status == "completed", output(database, id_)
    assert site.requests[0].json() == {"k": TOKEN}
    failed, status = await run(database, role, f"df.http(%s, {arguments})", site.url("/fail"))
    assert status == "failed"
    assert "{secret:api}" in output(database, failed)
    worker.terminate()
    logs = "".join(await asyncio.to_thread(worker.communicate))
    assert_nowhere("s3cr", everything(database) + explained(database, role, id_, failed) + logs)


async def test_a_worker_without_the_key_says_what_to_do(database, site, role, worker_process: Start):
    keys = keys_from_environment({"DURASQL_SECRET_KEY": new_key()})
    allow_loopback(database)
    with database.connect() as connection:
        connection.execute("SELECT df.put_secret('api', %s, %s)", (seal(TOKEN, role, "api", keys), role))
    worker_process(role, DURASQL_SECRET_KEY="")
    id_, status = await run(database, role, "df.http(%s, 'GET')", site.url("/{secret:api}"))
    assert (status, output(database, id_)) == (
        "failed",
        "secret 'api' cannot be opened: this worker has no DURASQL_SECRET_KEY",
    )
    assert not site.requests


def everything(database) -> str:
    """Every row of every table of schema df, as text."""
    with database.connect() as connection:
        tables = connection.execute(
            "SELECT c.oid::regclass::text FROM pg_class c"
            " WHERE c.relnamespace = 'df'::regnamespace AND c.relkind = 'r'"
        ).fetchall()
        assert len(tables) > 8
        rows = [connection.execute(f"SELECT t::text FROM {name} t").fetchall() for (name,) in tables]
    return str(rows)


def explained(database, role: str, *ids: str) -> str:
    with database.connect(role) as connection:
        return str([connection.execute("SELECT df.explain(%s)", (id_,)).fetchall() for id_ in ids])


def assert_nowhere(needle: str, text: str) -> None:
    at = text.find(needle)
    assert at < 0, text[max(0, at - 200) : at + 200]
