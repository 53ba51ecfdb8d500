"""Workflows as a role composes them in psql: every test talks to a real server as an ordinary granted role.

Building workflows changes nothing, and a role sees only its own instances, so one database serves a whole
module and every test has a role of its own.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def database(cluster: Any) -> Iterator[Any]:
    """A database with schema df for all tests of a module."""
    module = sys.modules[type(cluster).__module__]
    name = f"language_{os.getpid()}_{next(_numbers)}"
    cluster.execute(f"CREATE DATABASE {name} TEMPLATE {module.TEMPLATE} OWNER {module.OWNER}")
    made = module.Database(cluster, name)
    yield made
    made.drop()


@pytest.fixture
def role(database: Any) -> str:
    """A role that may use everything, HTTP builders included."""
    name: str = database.role(include_http=True)
    return name


@pytest.fixture
def user(database: Any, role: str) -> Iterator[psycopg.Connection[Any]]:
    """A session of that role."""
    with database.connect(role) as connection:
        yield connection


@pytest.fixture
def owner(database: Any) -> Iterator[psycopg.Connection[Any]]:
    """A session of the schema's owner."""
    with database.connect() as connection:
        yield connection


Ask = Callable[..., Any]
Refused = Callable[..., psycopg.Error]


@pytest.fixture
def ask(user: psycopg.Connection[Any]) -> Ask:
    """The single value of an expression, as the role: `ask("df.sleep(%s)", 5)`."""

    def value(expression: str, *parameters: object) -> Any:
        row = user.execute(f"SELECT {expression}", parameters or None).fetchone()
        assert row is not None
        return row[0]

    return value


@pytest.fixture
def refused(user: psycopg.Connection[Any]) -> Refused:
    """The error that an expression raises: `refused("df.sleep(-1)")`."""

    def error(expression: str, *parameters: object) -> psycopg.Error:
        with pytest.raises(psycopg.Error) as raised:
            user.execute(f"SELECT {expression}", parameters or None)
        return raised.value

    return error
