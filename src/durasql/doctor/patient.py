"""What the checks look at: one login in one database, and what was asked there, each thing once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import psycopg

from durasql.store import health
from durasql.store.health import Alive, Backlog, Registered

_SETTINGS: Final = (
    "autovacuum",
    "default_transaction_read_only",
    "fsync",
    "full_page_writes",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "synchronous_commit",
    "track_counts",
    "transaction_timeout",
)


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be examined: the worker's DSN and options, and this machine's clock (seconds since 1970)."""

    dsn: str
    role_dsns: Mapping[str, str] = field(default_factory=dict)
    sessions: int = 24
    sessions_per_role: int = 8
    clock: Callable[[], float] = time.time


@dataclass(frozen=True)
class Patient:
    """A connection in autocommit mode, and answers to questions over it."""

    request: Request
    connection: psycopg.Connection[Any]

    def ask(self, query: str) -> Any:
        """The first value of a query."""
        row = self.connection.execute(query.encode()).fetchone()
        return row[0] if row else None

    @cached_property
    def login(self) -> str:
        """The role that is logged in."""
        return str(self.ask("SELECT session_user"))

    @cached_property
    def settings(self) -> Mapping[str, str]:
        """Those that are looked at, as they are for this login; an older server lacks some."""
        return health.settings(self.connection, _SETTINGS)

    @cached_property
    def may_use_schema(self) -> bool:
        return bool(self.ask("SELECT has_schema_privilege(to_regnamespace('df'), 'USAGE')"))

    @cached_property
    def serves_all(self) -> bool:
        """Whether a worker with this login would serve every role."""
        return bool(self.ask("SELECT has_function_privilege('df._serve_all()', 'EXECUTE')"))

    @cached_property
    def alive(self) -> list[Alive]:
        return health.alive(self.connection)

    @cached_property
    def registered(self) -> list[Registered] | None:
        """None for a login that may not see workers."""
        try:
            with self.connection.transaction():
                return health.registered(self.connection)
        except psycopg.errors.InsufficientPrivilege:
            return None

    @property
    def backlog(self) -> list[Backlog]:
        """Raises the same error for each check, once the question was refused: a lock costs its wait once."""
        if isinstance(self._backlog, psycopg.Error):
            raise self._backlog
        return self._backlog

    @cached_property
    def _backlog(self) -> list[Backlog] | psycopg.Error:
        try:
            return health.backlog(self.connection)
        except psycopg.Error as error:
            return error

    def served(self, role: str) -> bool:
        """Whether a live worker serves a role."""
        return any(worker.serves_all or worker.role == role for worker in self.alive)
