"""P10: what a worker does can be scraped, and what it is up to can be probed."""

from __future__ import annotations

import re
import signal
import socket
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from durasql.telemetry import endpoint
from durasql.telemetry.address import Address
from durasql.telemetry.metrics import Metrics

from .conftest import until


def samples(text: str) -> dict[tuple[str, ...], float]:
    """`("durasql_steps_total", "done", "SQL")` -> value; labels in the order of their names."""
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_steps_waits_and_ends_are_counted(stage: Any) -> None:
    metrics = Metrics()
    async with stage.worker(observer=metrics):
        await stage.run("'SELECT 1' ~> df.sleep(0) ~> 'SELECT 2'")
        await stage.run("'SELECT 1 / 0'")
    got = metrics.registry.get_sample_value
    assert got("durasql_steps_total", {"op": "SQL", "outcome": "done"}) == 2
    assert got("durasql_steps_total", {"op": "SQL", "outcome": "failed"}) == 1
    assert got("durasql_step_seconds_count", {"op": "SQL"}) == 3
    assert got("durasql_instances_finished_total", {"status": "completed"}) == 1
    assert got("durasql_instances_finished_total", {"status": "failed"}) == 1
    assert (got("durasql_claimed_instances_total") or 0) >= 2


async def test_a_wait_that_comes_is_counted(stage: Any) -> None:
    metrics = Metrics()
    async with stage.worker(observer=metrics):
        id_ = await stage.start_expression("df.wait_for_signal('go')")
        await stage.until_parked(id_)
        await stage.sql("SELECT df.signal(%s, 'go')", (id_,))
        await stage.outcome(id_)
    assert metrics.registry.get_sample_value("durasql_waits_total", {"op": "SIGNAL", "outcome": "done"}) == 1


async def test_a_step_that_lost_its_race_is_interrupted(stage: Any, held: Any) -> None:
    metrics = Metrics()
    async with stage.worker(observer=metrics):
        await stage.run(f"'{held('loser', 60)}' | 'SELECT 1'")
    got = metrics.registry.get_sample_value
    assert got("durasql_steps_total", {"op": "SQL", "outcome": "interrupted"}) == 1


async def test_an_attempt_after_a_lost_connection_is_a_retry(stage: Any, held: Any) -> None:
    metrics = Metrics()
    async with stage.worker(observer=metrics):
        id_ = await stage.start_expression(f"'{held('victim', 1)}'")
        pid = await stage.until_active("victim")
        await stage.admin(f"SELECT pg_terminate_backend({pid})")
        assert (await stage.outcome(id_)).status == "completed"
    assert (metrics.registry.get_sample_value("durasql_step_retries_total", {"op": "SQL"}) or 0) >= 1


async def test_an_instance_that_may_not_run_is_counted_as_failed(stage: Any) -> None:
    metrics = Metrics()
    id_ = await stage.start("SELECT 1")
    await stage.admin(f'ALTER ROLE "{stage.role}" SUPERUSER')
    async with stage.worker(stage.role, observer=metrics):
        assert (await stage.outcome(id_)).status == "failed"
    got = metrics.registry.get_sample_value
    assert got("durasql_instances_finished_total", {"status": "failed"}) == 1


def test_a_worker_process_is_scraped_and_probed(serve: Any, database: Any) -> None:
    worker = serve(None, "--name", "w1")
    with database.connect() as connection:
        (id_,) = connection.execute("SELECT df.start('SELECT 1')").fetchone()
        connection.execute("SELECT df.await_instance(%s)", (id_,))
    seen = samples(worker.get("/metrics").text)
    assert seen["durasql_steps_total", "SQL", "done"] == 1
    assert seen["durasql_instances_finished_total", "completed"] == 1
    assert seen["durasql_signed_on",] == 1
    assert ("durasql_lag_seconds",) in seen
    assert {("durasql_sessions", "busy"), ("durasql_sessions", "idle")} <= seen.keys()
    assert [value for (name, *labels), value in seen.items() if labels[:1] == ["w1"]] == [1]
    assert (worker.get("/healthz").text, worker.get("/readyz").text) == ("ok\n", "ok\n")
    assert worker.get("/nothing").status_code == 404
    assert httpx.post(worker.url + "/healthz", trust_env=False).status_code == 405


def test_a_worker_without_a_database_is_healthy_but_not_ready(process: Any) -> None:
    worker = process("worker", "--dsn", "host=/nonexistent", "--metrics", "0")
    found = re.search(r"metrics are at (\S+)", until(worker.stderr, "metrics are at"))
    assert found
    until(worker.stderr, "Retrying")
    ready = httpx.get(f"http://{found[1]}/readyz", trust_env=False)
    assert (ready.status_code, ready.text) == (503, "not signed on to a database\n")
    assert httpx.get(f"http://{found[1]}/healthz", trust_env=False).status_code == 200
    worker.send_signal(signal.SIGTERM)
    worker.communicate()
    assert worker.returncode == 0


def test_a_stopped_process_fails_its_health_check(serve: Any, durasql: Any) -> None:
    worker = serve()
    address = worker.url.removeprefix("http://")
    assert durasql("worker", "--healthcheck", "--metrics", address).code == 0
    worker.process.send_signal(signal.SIGTERM)
    worker.process.communicate()
    gone = durasql("worker", "--healthcheck", "--metrics", address)
    assert gone.code == 1
    assert f"no worker answers at {address}" in gone.err


def test_a_health_check_needs_to_know_where(durasql: Any) -> None:
    done = durasql("worker", "--healthcheck")
    assert done.code == 2
    assert "--metrics" in done.err


def test_a_busy_port_is_named_before_anything_begins(durasql: Any, database: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        done = durasql("worker", "--dsn", database.owner_dsn, "--metrics", str(port))
    assert done.code == 2
    assert f"cannot serve metrics on 127.0.0.1:{port}: Address already in use" in done.err


def test_an_address_that_is_not_ours_is_named(durasql: Any, database: Any) -> None:
    done = durasql("worker", "--dsn", database.owner_dsn, "--metrics", "192.0.2.1:0")
    assert done.code == 2
    assert "cannot serve metrics on 192.0.2.1:0" in done.err


def test_clients_that_say_nothing_do_not_keep_others_waiting(serve: Any) -> None:
    worker = serve()
    host, port = worker.url.removeprefix("http://").split(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(5)]
    assert worker.get("/healthz").status_code == 200
    for connection in silent:
        connection.close()


def test_several_processes_serve_on_ports_of_their_own(database: Any, process: Any) -> None:
    workers = process("worker", "--dsn", database.owner_dsn, "--metrics", "0", "--processes", "2")
    said: list[str] = []
    while sum("is ready" in line for line in said) < 2:
        said.append(workers.stderr.readline())
        assert said[-1], "the processes ended"
    assert len({line for line in said if "metrics are at" in line}) == 2
    workers.send_signal(signal.SIGTERM)
    workers.communicate()
    assert workers.returncode == 0


def test_a_crowd_of_silent_clients_is_thrown_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe that fails restarts a worker, so nobody may hold all places for ever."""
    monkeypatch.setattr(endpoint, "_DEADLINE", 0.2)
    served = endpoint.Endpoint(Address.parse("0"), Metrics())
    try:
        place = (served.address.host, served.address.port)
        crowd = [socket.create_connection(place, timeout=30) for _ in range(80)]
        for connection in crowd:
            assert connection.recv(1) == b""
            connection.close()
        assert httpx.get(served.address.url("/healthz"), trust_env=False).status_code == 200
    finally:
        served.close()


@pytest.mark.parametrize(
    "request_",
    [
        b"\x00\xff\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/9\r\n\r\n",
        b"\r\n",
    ],
)
def test_nonsense_is_answered_or_cut_off(request_: bytes, serve: Any) -> None:
    worker = serve()
    host, port = worker.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(request_)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
    assert worker.get("/healthz").status_code == 200


async def test_a_step_that_the_runs_policy_tries_again_is_a_retry(stage: Any) -> None:
    metrics = Metrics()
    failing = "DO $$ BEGIN RAISE EXCEPTION 'not yet'; END $$"
    async with stage.worker(observer=metrics):
        start = "SELECT df.start(%s, max_attempts => 2, backoff => '0.1 s')"
        await stage.outcome(await stage.one(start, (failing,)))
    got = metrics.registry.get_sample_value
    assert got("durasql_steps_total", {"op": "SQL", "outcome": "failed"}) == 2
    assert got("durasql_step_retries_total", {"op": "SQL"}) == 1
    assert got("durasql_instances_finished_total", {"status": "failed"}) == 1
