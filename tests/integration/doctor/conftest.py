"""Databases that lack something, and a way to ask the doctor about them."""

from __future__ import annotations

import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.integration.cli.conftest import durasql, no_database_in_the_environment

from durasql.doctor.examine import examine
from durasql.doctor.finding import Finding
from durasql.doctor.patient import Request

__all__ = ["durasql", "no_database_in_the_environment"]

Doctor = Callable[..., dict[str, Finding]]


@pytest.fixture
def doctor(database: Any) -> Doctor:
    """`doctor(role)` -> findings by check; of two of the same check the worse one."""

    def ask(role: str | None = None, dsn: str | None = None, **options: Any) -> dict[str, Finding]:
        report = examine(Request(dsn or database.dsn(role), **options))
        return {finding.check: finding for finding in reversed(report.findings)}

    return ask


@pytest.fixture
def alive(worker_process: Callable[..., subprocess.Popen[str]]) -> Callable[..., subprocess.Popen[str]]:
    """`alive(role)` starts a worker; it is ready."""

    def start(role: str | None = None, *arguments: str) -> subprocess.Popen[str]:
        process = worker_process(role, *arguments)
        assert process.stderr is not None
        for line in process.stderr:
            if "is ready" in line:
                return process
        raise AssertionError("the worker ended")

    return start


@pytest.fixture
def pooled(cluster: Any) -> Iterator[int]:
    """A port on which the server greets with another process number than its own, as poolers do."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_relay_all, args=(listening, cluster.port), daemon=True).start()
        yield listening.getsockname()[1]


def _relay_all(listening: socket.socket, port: int) -> None:
    while True:
        try:
            client, _ = listening.accept()
        except OSError:
            return
        server = socket.create_connection(("127.0.0.1", port))
        threading.Thread(target=_pump, args=(client, server, bytes), daemon=True).start()
        threading.Thread(target=_pump, args=(server, client, _forged), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket, change: Callable[[bytes], bytes]) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(change(data))
    except OSError:
        pass
    finally:
        target.close()


def _forged(data: bytes) -> bytes:
    """BackendKeyData is 'K', its length 12, process number and key."""
    head = b"K" + struct.pack("!i", 12)
    at = data.find(head)
    return data if at < 0 else data[: at + 5] + struct.pack("!i", 4711) + data[at + 9 :]
