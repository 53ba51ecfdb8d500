"""P10: what is wrong between a worker and its server, and with the server, is found and named."""

from __future__ import annotations

import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import pq
from tests.conftest import FAST

from durasql.doctor import server as server_checks
from durasql.errors import Severity
from durasql.postgres import Server, binaries


@pytest.mark.parametrize(
    ("dsn", "what", "do"),
    [
        ("host=/nonexistent", "No such file", "Nothing listens there"),
        ("host=127.0.0.1 port=1", "refused", "Nothing listens there"),
        ("host=nowhere.invalid", "nowhere.invalid", "cannot be resolved"),
        ("postgresql://[", "]", "Write it as"),
        ("hots=db", "hots", "Write it as"),
        ("no dsn at all", "missing", "Write it as"),
    ],
)
def test_a_wrong_dsn_is_said_in_words(dsn: str, what: str, do: str, doctor: Any) -> None:
    found = doctor(dsn=dsn)["unreachable"]
    assert found.severity is Severity.ERROR
    assert what in found.what
    assert do in found.do


def test_a_wrong_name_is_said_in_words(doctor: Any, cluster: Any, database: Any) -> None:
    assert "Create the role" in doctor(dsn=cluster.dsn(database.name, "nobody_here"))["unreachable"].do
    assert "Create the database" in doctor(dsn=cluster.dsn("nothing_here", "postgres"))["unreachable"].do


def test_a_role_without_login_is_said_in_words(doctor: Any, database: Any) -> None:
    assert "LOGIN" in doctor(database.role("u", "NOLOGIN"))["unreachable"].do


def test_a_password_is_never_shown(doctor: Any, durasql: Any) -> None:
    for dsn in ("postgresql://u:hunter2@127.0.0.1:1/db", "postgresql://u:hunter2@ho st/db", "u:hunter2@[::1"):
        done = durasql("doctor", "--dsn", dsn)
        assert done.code == 5
        assert "hunter2" not in done.out + done.err


def test_a_pooler_is_recognised(doctor: Any, database: Any, pooled: int) -> None:
    dsn = f"host=127.0.0.1 port={pooled} dbname={database.name} user={database.owner}"
    found = doctor(dsn=dsn)["pooler"]
    assert found.severity is Severity.ERROR
    assert "pooler" in found.what


def test_a_clock_that_is_wrong_is_told_by_how_much(doctor: Any) -> None:
    found = doctor(clock=lambda: time.time() - 90)["clock-skew"]
    assert "90.0 s behind" in found.what
    assert "ahead of" in doctor(clock=lambda: time.time() + 5)["clock-skew"].what


def test_a_clock_that_is_right_is_not_mentioned(doctor: Any) -> None:
    assert "clock-skew" not in doctor()


def test_the_loopback_address_needs_no_encryption(doctor: Any, database: Any, cluster: Any) -> None:
    assert "unencrypted" not in doctor(dsn=cluster.tcp_dsn(database.name, database.owner))


def test_an_old_libpq_is_named(doctor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pq, "version", lambda: 130010)
    assert "libpq 13" in doctor()["old-libpq"].what


def test_an_old_psycopg_is_named(doctor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psycopg, "__version__", "3.1.20")
    assert "3.1.20" in doctor()["old-psycopg"].what


def test_psycopg_without_its_compiled_half_is_named(doctor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pq, "__impl__", "python")
    assert "binary" in doctor()["slow-psycopg"].do


def test_servers_outside_the_tested_range_are_named(doctor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_checks, "_NEWEST_TESTED", 13)
    assert doctor()["version"].severity is Severity.WARNING
    monkeypatch.setattr(server_checks, "OLDEST_SERVER", 990000)
    assert doctor()["version"].severity is Severity.ERROR


def test_another_encoding_is_an_error(doctor: Any, cluster: Any) -> None:
    cluster.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        assert "LATIN1" in doctor(dsn=cluster.superuser_dsn("latin"))["encoding"].what
    finally:
        cluster.execute("DROP DATABASE latin")


@pytest.mark.parametrize(
    ("setting", "value", "check", "severity"),
    [
        ("default_transaction_read_only", "on", "read-only", Severity.ERROR),
        ("synchronous_commit", "off", "volatile-commit", Severity.WARNING),
        ("idle_in_transaction_session_timeout", "'5s'", "idle-limits", Severity.WARNING),
        ("idle_session_timeout", "'20s'", "idle-limits", Severity.WARNING),
    ],
)
def test_settings_that_hurt_are_found(
    setting: str, value: str, check: str, severity: Severity, doctor: Any, database: Any, cluster: Any
) -> None:
    role = database.role()
    cluster.execute(f"ALTER ROLE {role} SET {setting} = {value}")
    found = doctor(role)[check]
    assert found.severity is severity
    assert setting in found.what
    cluster.execute(f"ALTER ROLE {role} SET {setting} = {'on' if setting == 'synchronous_commit' else '0'}")
    assert check not in doctor(role)


def test_limits_of_sessions_are_compared_with_what_a_worker_opens(
    doctor: Any, database: Any, cluster: Any
) -> None:
    role = database.role()
    assert "connections" not in doctor(role)
    cluster.execute(f"ALTER ROLE {role} CONNECTION LIMIT 10")
    assert "leaves 10 sessions, a worker may open 34" in doctor(role)["connections"].what
    assert "connections" not in doctor(role, sessions=4, sessions_per_role=2)
    assert "max_connections" in doctor(sessions=500)["connections"].what


@pytest.fixture
def odd_server() -> Iterator[Server]:
    """A server without autovacuum, that believes to be a standby."""
    directory = Path(tempfile.mkdtemp(prefix="durasql-test-"))
    server = Server(directory, binaries(), {**FAST, "autovacuum": "off"})
    try:
        server.start()
        server.stop()
        (server.data / "standby.signal").touch()
        server.start()
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(directory, ignore_errors=True)


def test_a_standby_and_a_server_without_vacuum_are_found(doctor: Any, odd_server: Server) -> None:
    found = doctor(dsn=odd_server.dsn("postgres", "postgres"))
    assert found["standby"].severity is Severity.ERROR
    assert "target_session_attrs" in found["standby"].do
    assert found["no-autovacuum"].severity is Severity.WARNING
    assert "fsync and full_page_writes are off" in found["unsafe-storage"].what


def test_functions_that_somebody_made_are_not_called(doctor: Any, database: Any, cluster: Any) -> None:
    """A function whose arguments fit better than PostgreSQL's own wins, if the search_path shows it."""
    cluster.execute("GRANT CREATE ON SCHEMA public TO PUBLIC", database.name)
    trap = """
        CREATE FUNCTION public.has_schema_privilege(regnamespace, text) RETURNS boolean LANGUAGE plpgsql
        AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
        CREATE FUNCTION public.has_function_privilege(text, text) RETURNS boolean LANGUAGE plpgsql
        AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;"""
    with database.connect(database.role()) as connection:
        connection.execute(trap)
    found = doctor(dsn=database.superuser_dsn)
    assert not [finding for finding in found.values() if "could not be checked" in finding.what]


def test_a_locked_table_keeps_nobody_waiting(doctor: Any, database: Any) -> None:
    with database.connect(autocommit=False) as connection:
        connection.execute("LOCK TABLE df.instances")
        found = doctor()
    assert "could not be checked" in found["lag"].what


def test_a_server_of_another_kind_is_said_in_words(doctor: Any) -> None:
    import threading

    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            client, _ = other.accept()
            with client:
                client.recv(100)
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        found = doctor(dsn=f"host=127.0.0.1 port={other.getsockname()[1]} dbname=x user=x")
    assert found["unreachable"].severity is Severity.ERROR
