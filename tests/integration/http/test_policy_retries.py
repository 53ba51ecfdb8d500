"""HTTP steps and the failure policy: a server that fails, is slow, then answers (P2, P10)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from .conftest import Seen, Site, ok
from .test_workflow import allow_loopback, output, run

UNAVAILABLE = ok(b"later", status="503 Service Unavailable")
TOO_MANY = ok(b"slow down", status="429 Too Many Requests", Retry_After="1")


@pytest.fixture
def role(database: Any) -> str:
    name: str = database.role(include_http=True)
    allow_loopback(database)
    return name


def in_turn(site: Site, path: str, *answers: bytes | None) -> None:
    """Give these answers one after the other; None never answers, the last one is given for ever."""
    left = list(answers)
    never = asyncio.Event()

    async def handler(_: Seen, writer: asyncio.StreamWriter) -> None:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if answer is None:
            await never.wait()
        else:
            writer.write(answer)

    site.handlers[path] = handler


async def test_a_server_that_fails_twice_then_is_slow_then_answers(
    database: Any, site: Site, role: str, worker_process: Any
) -> None:
    worker_process(role)
    in_turn(site, "/order", UNAVAILABLE, UNAVAILABLE, None, ok(b"done"))
    id_, status = await run(
        database,
        role,
        "df.retry(df.http(%s, 'POST', 'x', timeout_seconds => 1), 5, '20 ms') |=> 'r' "
        "~> 'SELECT $r.body AS body'",
        site.url("/order"),
    )
    assert status == "completed", output(database, id_)
    assert json.loads(output(database, id_))["rows"] == [{"body": "done"}]
    assert len({seen.headers["idempotency-key"] for seen in site.requests}) == 1
    with database.connect(role) as connection:
        tries = connection.execute(
            "SELECT attempt, error::json->>'http_status', error::json->>'reason' FROM df.attempts "
            "WHERE instance_id = %s ORDER BY 1",
            (id_,),
        ).fetchall()
    assert tries == [(1, "503", None), (2, "503", None), (3, None, "timeout")]


async def test_retry_after_is_honoured_and_a_429_is_a_failure_inside_a_retry(
    database: Any, site: Site, role: str, worker_process: Any
) -> None:
    worker_process(role)
    in_turn(site, "/busy", TOO_MANY, ok(b"fine"))
    id_, status = await run(
        database, role, "df.retry(df.http(%s, 'GET'), 3, '1 ms', '1 ms')", site.url("/busy")
    )
    assert status == "completed", output(database, id_)
    with database.connect(role) as connection:
        row = connection.execute(
            "SELECT next_at - failed_at >= interval '900 ms', error::json->>'message' FROM df.attempts "
            "WHERE instance_id = %s",
            (id_,),
        ).fetchone()
    assert row == (True, "HTTP request returned 429: slow down")


async def test_a_response_below_500_stays_a_value_unless_a_guard_names_it(
    database: Any, site: Site, role: str, worker_process: Any
) -> None:
    worker_process(role)
    site.answer("/gone", ok(b"gone", status="404 Not Found"))
    for guard, expected in (
        ("df.retry(df.http(%s, 'GET'), 3, '1 ms') |=> 'r' ~> 'SELECT $r.status AS s'", 404),
        ("df.catch(df.http(%s, 'GET'), 'SELECT 1 AS s', 'http:4xx')", 1),
        ("df.catch(df.http(%s, 'GET') |=> 'r' ~> 'SELECT $r.status AS s', 'SELECT 1 AS s')", 404),
    ):
        id_, status = await run(database, role, guard, site.url("/gone"))
        assert status == "completed", output(database, id_)
        assert json.loads(output(database, id_))["rows"] == [{"s": expected}]


async def test_a_blocked_address_is_never_tried_again(
    database: Any, site: Site, role: str, worker_process: Any
) -> None:
    worker_process(role)
    id_, status = await run(database, role, "df.retry(df.http('http://10.0.0.1/', 'GET'), 9, '1 s')")
    assert status == "failed" and "Blocked" in output(database, id_)
    with database.connect(role) as connection:
        assert connection.execute("SELECT count(*), max(next_at) FROM df.attempts").fetchone() == (1, None)
