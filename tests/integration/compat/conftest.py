"""One database serves a whole module: reading the catalogue changes nothing, and roles see only their own."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def database(cluster: Any) -> Iterator[Any]:
    """A database with schema df for all tests of a module."""
    module = sys.modules[type(cluster).__module__]
    name = f"compat_{os.getpid()}_{next(_numbers)}"
    cluster.execute(f"CREATE DATABASE {name} TEMPLATE {module.TEMPLATE} OWNER {module.OWNER}")
    made = module.Database(cluster, name)
    yield made
    made.drop()


@pytest.fixture(scope="module")
def worker(database: Any) -> Iterator[Callable[[str], None]]:
    """`worker(role)` runs a worker for a role until the module is over."""
    started: list[subprocess.Popen[str]] = []
    yield lambda role: started.append(database.worker(role))
    for process in started:
        process.kill()
        process.communicate()
