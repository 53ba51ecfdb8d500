"""What can be asked about how a database is served. In: a connection. Out: workers, backlogs, settings.

Every question says who may ask it; none changes anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import psycopg
from psycopg.rows import class_row

from durasql.store.queries import named

_SQL: Final = named("health")
_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True)
class Alive:
    """A session that holds a worker's lock. Any granted role may ask."""

    role: str
    serves_all: bool


@dataclass(frozen=True, slots=True)
class Registered:
    """A row of df.workers; `alive` tells whether it still holds its lock. Administrators may ask."""

    name: str
    host: str
    version: str
    role: str
    heard_seconds: float
    alive: bool


@dataclass(frozen=True, slots=True)
class Backlog:
    """One role's unfinished instances, as far as a worker of the asking role would serve them.

    `role` is None when it was dropped. `due` of them wait for a worker, the first for `lag_seconds`; `lost`
    are in the hands of workers that are gone; `stuck` need an operator.
    """

    role: str | None
    can_login: bool | None
    superuser: bool | None
    unfinished: int
    due: int
    lag_seconds: float
    lost: int
    stuck: int


@dataclass(frozen=True, slots=True)
class Connections:
    """How many sessions the server admits, and how many others than durasql's it has; -1 is no limit."""

    most: int
    reserved: int
    used: int
    of_database: int
    of_role: int


def alive(connection: psycopg.Connection[Any]) -> list[Alive]:
    """The workers that live."""
    return _rows(connection, "alive", Alive)


def registered(connection: psycopg.Connection[Any]) -> list[Registered]:
    """The workers that signed on and did not sign off. Raises InsufficientPrivilege."""
    return _rows(connection, "registered", Registered)


def backlog(connection: psycopg.Connection[Any]) -> list[Backlog]:
    """What is unfinished, by role."""
    return _rows(connection, "backlog", Backlog)


def missing_privileges(connection: psycopg.Connection[Any]) -> list[str]:
    """What df.grant_usage would grant to the asking role, and it does not have."""
    return [row[0] for row in connection.execute(_SQL["missing_privileges"]).fetchall()]


def settings(connection: psycopg.Connection[Any], names: Sequence[str]) -> dict[str, str]:
    """Settings as they are in force for this session, in their base units."""
    return dict(connection.execute(_SQL["settings"], (list(names),)).fetchall())


def connections(connection: psycopg.Connection[Any]) -> Connections:
    """The room for sessions."""
    return _rows(connection, "connections", Connections)[0]


def _rows(connection: psycopg.Connection[Any], name: str, kind: type[_Row]) -> list[_Row]:
    with connection.cursor(row_factory=class_row(kind)) as cursor:
        return cursor.execute(_SQL[name]).fetchall()
