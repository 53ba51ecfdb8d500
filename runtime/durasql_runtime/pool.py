"""Logins per role: opened on demand, kept while they are useful, bounded per role and in all.

A step runs in a session that logged in as the role that called df.start, so there is nothing to fall back
to for whatever the step says. Waiting for a free login never fails a step.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from durasql_runtime.session import Session
from durasql_runtime.wire import Wire

log = logging.getLogger("durasql.pool")

_SETTINGS: Final = {
    "df.in_workflow": "true",
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "TimeZone": "UTC",
    "DateStyle": "ISO,MDY",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "client_connection_check_interval": "1000",
}
"""What every step's session starts with; a `RESET ALL` comes back to it."""

_PASSING: Final = (
    "too many",
    "remaining connection slots",
    "starting up",
    "shutting down",
    "recovery",
    "timeout",
)
"""Words in a refused login that mean: later."""


class LoginRefused(Exception):
    """The role cannot log in; the message is what the step fails with."""


@dataclass(slots=True)
class _Lane:
    """The sessions of one role in one database."""

    slots: asyncio.Semaphore
    idle: list[tuple[float, Session]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """`per_role` and `total` sessions open at a time; `idle_seconds` until an unused one is closed."""

    per_role: int = 8
    total: int = 24
    idle_seconds: float = 30.0
    login_patience: float = 15.0


class Pool:
    """Sessions of all roles that a worker serves."""

    def __init__(self, dsn: str, role_dsns: Mapping[str, str], limits: PoolLimits, worker_name: str) -> None:
        self._dsn = dsn
        self._role_dsns = role_dsns
        self._limits = limits
        self._name = worker_name
        self._home = conninfo_to_dict(dsn)
        self._lanes: dict[tuple[str, str | None], _Lane] = defaultdict(
            lambda: _Lane(asyncio.Semaphore(limits.per_role))
        )
        self._total = asyncio.Semaphore(limits.total)
        self._control = _Lane(asyncio.Semaphore(limits.per_role))

    async def acquire(self, role: str, database: str | None) -> Session:
        """A session of this role; waits for a free one. Raises `LoginRefused`."""
        lane = self._lanes[role, database]
        await lane.slots.acquire()
        try:
            return self._reuse(lane) or await self._open(lane, role, database)
        except BaseException:
            lane.slots.release()
            raise

    async def release(self, session: Session, database: str | None) -> None:
        """Give a session back; one that is not clean is closed."""
        lane = self._lanes[session.role, database]
        await self._give_back(lane, session)

    @asynccontextmanager
    async def control(self) -> AsyncIterator[Session]:
        """A session of the worker's own role, for records without SQL."""
        await self._control.slots.acquire()
        session = self._reuse(self._control)
        try:
            if session is None:
                session = await self._login(self._dsn, {}, "", "")
            yield session
        finally:
            if session is None:
                self._control.slots.release()
            else:
                await self._give_back(self._control, session, counted=False)

    async def close_idle(self) -> None:
        """Close what nobody used for a while."""
        horizon = time.monotonic() - self._limits.idle_seconds
        for lane in self._lanes.values():
            stale = [session for since, session in lane.idle if since < horizon]
            lane.idle = [entry for entry in lane.idle if entry[0] >= horizon]
            for session in stale:
                self._total.release()
                await session.wire.close()

    async def close(self) -> None:
        """Close every idle session."""
        for lane in (*self._lanes.values(), self._control):
            while lane.idle:
                await lane.idle.pop()[1].wire.close()

    def _reuse(self, lane: _Lane) -> Session | None:
        while lane.idle:
            _, session = lane.idle.pop()
            if not session.wire.broken:
                return session
            if lane is not self._control:
                self._total.release()
        return None

    async def _give_back(self, lane: _Lane, session: Session, *, counted: bool = True) -> None:
        try:
            if session.clean:
                lane.idle.append((time.monotonic(), session))
            else:
                if counted:
                    self._total.release()
                await session.wire.close()
        finally:
            lane.slots.release()

    async def _open(self, lane: _Lane, role: str, database: str | None) -> Session:
        if self._total.locked():
            await self._evict()
        await self._total.acquire()
        try:
            return await self._login(*self._address(role, database), role, database or self._home_database)
        except BaseException:
            self._total.release()
            raise

    async def _evict(self) -> None:
        """Make room by closing an idle session of whichever role used its own least recently."""
        lanes = [lane for lane in self._lanes.values() if lane.idle]
        if lanes:
            lane = min(lanes, key=lambda candidate: candidate.idle[0][0])
            _, session = lane.idle.pop(0)
            self._total.release()
            await session.wire.close()

    @property
    def _home_database(self) -> str:
        return str(self._home.get("dbname") or self._home.get("user") or "")

    def _address(self, role: str, database: str | None) -> tuple[str, dict[str, Any]]:
        overrides: dict[str, Any] = {"dbname": database} if database else {}
        if role in self._role_dsns:
            return self._role_dsns[role], overrides
        overrides["user"] = role
        if role != self._home.get("user"):
            # Another role's password would only lock accounts; .pgpass, a service file or --role-dsn has
            # the right one.
            overrides["password"] = None
        return self._dsn, overrides

    async def _login(self, dsn: str, overrides: dict[str, Any], role: str, database: str) -> Session:
        conninfo = _with_settings(dsn, overrides, f"durasql {self._name}")
        attempts = AsyncRetrying(
            wait=wait_random_exponential(multiplier=0.1, max=2),
            stop=stop_after_delay(self._limits.login_patience),
            retry=retry_if_exception(_will_pass),
            reraise=True,
        )
        try:
            async for attempt in attempts:
                with attempt:
                    connection = await psycopg.AsyncConnection.connect(conninfo, autocommit=True)
        except psycopg.OperationalError as error:
            raise LoginRefused(
                f"Failed to connect to database '{database}' as '{role}'. Error: {str(error).strip()}"
            ) from error
        return Session(Wire(connection), role, database)


def _will_pass(error: BaseException) -> bool:
    return isinstance(error, psycopg.OperationalError) and any(word in str(error) for word in _PASSING)


def _with_settings(dsn: str, overrides: dict[str, Any], application_name: str) -> str:
    options = conninfo_to_dict(dsn).get("options") or ""
    ours = " ".join(f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in _SETTINGS.items())
    kept = {key: value for key, value in overrides.items() if value is not None}
    dropped = {key for key, value in overrides.items() if value is None}
    base = {key: value for key, value in conninfo_to_dict(dsn).items() if key not in dropped}
    base.pop("options", None)
    return make_conninfo(
        "",
        **{
            "connect_timeout": "30",
            **base,
            **kept,
            "options": f"{options} {ours}".strip(),
            "application_name": application_name[:63],
        },
    )
