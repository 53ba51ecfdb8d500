"""The stage of the runtime's tests, on which a worker is observed; and workers as processes of their own."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from tests.integration.cli.conftest import durasql, no_database_in_the_environment, process
from tests.integration.runtime.conftest import Stage, held, stage

__all__ = ["Stage", "durasql", "held", "no_database_in_the_environment", "process", "stage"]


@dataclass(frozen=True)
class Served:
    """A worker process, and where its endpoint is."""

    process: subprocess.Popen[str]
    url: str

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30, trust_env=False)


@pytest.fixture
def serve(worker_process: Callable[..., subprocess.Popen[str]]) -> Callable[..., Served]:
    """`serve(role)` starts a worker that serves metrics on a free port; it is ready."""

    def start(role: str | None = None, *arguments: str, wait: str = "is ready") -> Served:
        process = worker_process(role, "--metrics", "0", *arguments)
        found = re.search(r"metrics are at (\S+)", until(process.stderr, "metrics are at"))
        assert found
        if wait:
            until(process.stderr, wait)
        return Served(process, f"http://{found[1]}")

    return start


def until(stream: Any, text: str) -> str:
    """Read lines until one holds the text; returns that line."""
    for line in stream:
        if text in line:
            return str(line)
    raise AssertionError(f"the process ended without saying {text!r}")
