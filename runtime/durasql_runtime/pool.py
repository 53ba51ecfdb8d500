"""Logins per role: opened on demand, kept while they are useful, bounded per role and in all.

A step runs in a session that logged in as the role that called df.start, so there is nothing to fall back
to for whatever the step says. Waiting for a free login never fails a step.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    before_sleep_log,
    retry_if_exception,
    stop_after_delay,
    wait_random_exponential,
)

from durasql_runtime.session import Session
from durasql_runtime.settings import Settings
from durasql_runtime.turns import Turns
from durasql_runtime.wire import ConnectionLost, Wire

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
    # A role that is to read only by default has a journal all the same.
    "default_transaction_read_only": "off",
}
"""What every step's session starts with; a `RESET ALL` comes back to it."""

_SHARED: Final = "-c lock_timeout=100"
"""Sessions that all roles' records share wait no longer than this for a row that its role has locked."""

_CROWDED: Final = ("too many", "remaining connection slots")
"""Words in a refused login that mean: wait for your turn, however long."""
_PASSING: Final = (
    "starting up",
    "shutting down",
    "recovery",
    "not yet accepting",
    "timeout",
    "refused",
    "no such file",
    "closed the connection",
    "terminating connection",
    "reset by peer",
    "broken pipe",
    "unreachable",
)
"""Words that mean: the server is away. If that lasts, the worker loses its own connection, and the runs."""


class LoginRefused(Exception):
    """The role cannot log in; the message is what the step fails with."""


@dataclass(slots=True)
class _Lane:
    """The sessions of one role in one database; `slots` are the role's, in all databases."""

    slots: Turns
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

    def __init__(
        self,
        dsn: str,
        role_dsns: Mapping[str, str],
        limits: PoolLimits,
        worker_name: str,
        settings: Settings | None = None,
    ) -> None:
        self._settings = settings or Settings()
        self._dsn = dsn
        self._role_dsns = role_dsns
        self._limits = limits
        self._name = worker_name
        self._home = conninfo_to_dict(dsn)
        self._slots: dict[str, Turns] = defaultdict(lambda: Turns(limits.per_role))
        self._open_of: Counter[str] = Counter()
        self._lanes: dict[tuple[str, str | None], _Lane] = {}
        self._total = asyncio.Semaphore(limits.total)
        self._control = _Lane(Turns(limits.per_role))
        self._hungry = 0
        self._busy = 0
        self._endings: set[asyncio.Task[None]] = set()

    def place(self, instance_id: str, pc: int) -> str:
        """What a session is called while it runs a step: worker, instance, program counter."""
        return f"durasql {' '.join(self._name.split(' ')[:2])} {instance_id} pc {pc:04d}"

    async def acquire(self, role: str, database: str | None, instance: str) -> Session:
        """A session of this role; waits for one in turn with other instances. Raises `LoginRefused`."""
        lane = self._lanes.setdefault((role, database), _Lane(self._slots[role]))
        await lane.slots.acquire(instance)
        try:
            session = self._reuse(lane) or await self._open(lane, role, database)
        except BaseException:
            lane.slots.release()
            raise
        self._busy += 1
        return session

    def awaited(self, role: str) -> bool:
        """Whether anybody waits for a session of this role."""
        return self._slots[role].awaited

    def release(self, session: Session, database: str | None) -> None:
        """Give a session back. One that is not clean is stopped and closed, for which nobody has to wait."""
        self._busy -= 1
        self._give_back(self._lanes[session.role, database], session)

    @asynccontextmanager
    async def control(self) -> AsyncIterator[Session]:
        """A session of the worker's own role, for records without SQL. Raises `ConnectionLost`."""
        await self._control.slots.acquire("")
        session: Session | None = None
        try:
            session = self._reuse(self._control) or await self._login(self._dsn, {}, "", "", _SHARED)
            yield session
        except LoginRefused as error:
            raise ConnectionLost(str(error)) from error
        finally:
            if session is None:
                self._control.slots.release()
            else:
                self._give_back(self._control, session)

    async def end_process(self, role: str, pid: int) -> None:
        """End another session of this role, past all queues: what waits in them may wait for that session."""
        session = await self._login(*self._address(role, None), role, self.home_database)
        try:
            await session.query("SELECT pg_catalog.pg_terminate_backend($1)", [b"%d" % pid])
        finally:
            await session.end()

    @property
    def census(self) -> tuple[int, int]:
        """Sessions that steps use at the moment, and sessions that wait for the next step."""
        return self._busy, sum(len(lane.idle) for lane in list(self._lanes.values()))

    def close_idle(self) -> None:
        """Close what nobody used for a while."""
        horizon = time.monotonic() - self._limits.idle_seconds
        for lane in self._lanes.values():
            stale = [session for since, session in lane.idle if since < horizon]
            lane.idle = [entry for entry in lane.idle if entry[0] >= horizon]
            for session in stale:
                self._discard(lane, session, slot=False)

    async def close(self) -> None:
        """Close every idle session, and wait for those that are being stopped."""
        for lane in (*self._lanes.values(), self._control):
            while lane.idle:
                self._discard(lane, lane.idle.pop()[1], slot=False)
        await asyncio.gather(*self._endings, return_exceptions=True)

    def _reuse(self, lane: _Lane) -> Session | None:
        """An idle session that is still there: a restart or an administrator may have ended them all."""
        while lane.idle:
            _, session = lane.idle.pop()
            if session.wire.alive():
                return session
            self._discard(lane, session, slot=False)
        return None

    def _give_back(self, lane: _Lane, session: Session) -> None:
        if session.clean and (lane is self._control or not self._hungry):
            lane.idle.append((time.monotonic(), session))
            lane.slots.release()
        else:
            self._discard(lane, session, slot=True)

    def _discard(self, lane: _Lane, session: Session, *, slot: bool) -> None:
        """Stop and close a session; its place, and with `slot` its owner's, are free when it is gone.

        In a task of its own, because the owner may be cancelled while it waits, and the place lost.
        """

        async def end() -> None:
            try:
                await session.end()
            finally:
                if lane is not self._control:
                    self._total.release()
                    self._open_of[session.role] -= 1
                if slot:
                    lane.slots.release()

        task = asyncio.create_task(end())
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def _open(self, lane: _Lane, role: str, database: str | None) -> Session:
        self._hungry += 1
        try:
            if self._open_of[role] >= self._limits.per_role:
                # It has its turn, so one of them is idle, or about to be gone: in another database.
                self._evict(role)
            elif self._total.locked():
                self._evict()
            await self._total.acquire()
        finally:
            self._hungry -= 1
        self._open_of[role] += 1
        try:
            return await self._login(*self._address(role, database), role, database or self.home_database)
        except BaseException:
            self._total.release()
            self._open_of[role] -= 1
            raise

    def _evict(self, of: str | None = None) -> None:
        """Make room by closing the idle session (of one role, or any) that was used least recently."""
        lanes = [lane for (role, _), lane in self._lanes.items() if lane.idle and of in (None, role)]
        if lanes:
            lane = min(lanes, key=lambda candidate: candidate.idle[0][0])
            self._discard(lane, lane.idle.pop(0)[1], slot=False)

    @property
    def home_database(self) -> str:
        """The database that the worker itself is in, as far as its DSN says."""
        return str(self._home.get("dbname") or self._home.get("user") or "")

    def _address(self, role: str, database: str | None) -> tuple[str, dict[str, Any]]:
        return _address(self._dsn, self._role_dsns, role, database)

    async def _login(
        self, dsn: str, overrides: dict[str, Any], role: str, database: str, more: str = ""
    ) -> Session:
        conninfo = _with_settings(dsn, overrides, f"durasql {self._name}", more)
        connection = await self._connect(conninfo, role, database)
        timeout = self._settings.step_statement_timeout
        if timeout and role and not await _has_timeout(connection):
            # As a start-up option, so that a RESET ALL comes back to it; a role's own setting wins.
            await connection.close()
            conninfo = _with_settings(
                dsn, overrides, f"durasql {self._name}", f"-c statement_timeout={timeout}"
            )
            connection = await self._connect(conninfo, role, database)
        return Session(Wire(connection), role, database)

    async def _connect(self, conninfo: str, role: str, database: str) -> psycopg.AsyncConnection[Any]:
        """Log in, waiting for what will pass. Raises `LoginRefused`."""
        patience = stop_after_delay(self._limits.login_patience)
        attempts = AsyncRetrying(
            wait=wait_random_exponential(multiplier=0.1, max=2),
            stop=lambda state: not _is_crowded(state) and patience(state),
            retry=retry_if_exception(_will_pass),
            before_sleep=before_sleep_log(log, logging.INFO),
            reraise=True,
        )
        try:
            async for attempt in attempts:
                with attempt:
                    return await psycopg.AsyncConnection.connect(conninfo, autocommit=True)
        except psycopg.OperationalError as error:
            raise LoginRefused(
                f"Failed to connect to database '{database}' as '{role}'. Error: {str(error).strip()}"
            ) from error
        raise AssertionError("tenacity returns or raises")


def login_conninfo(dsn: str, role_dsns: Mapping[str, str], role: str, application_name: str) -> str:
    """The connection string with which a worker with these options logs in as a role."""
    return _with_settings(*_address(dsn, role_dsns, role, None), application_name)


def _address(
    dsn: str, role_dsns: Mapping[str, str], role: str, database: str | None
) -> tuple[str, dict[str, Any]]:
    overrides: dict[str, Any] = {"dbname": database} if database else {}
    if role in role_dsns:
        return role_dsns[role], overrides
    overrides["user"] = role
    if role != conninfo_to_dict(dsn).get("user"):
        # Another role's password would only lock accounts; .pgpass, a service file or --role-dsn has the
        # right one.
        overrides["password"] = None
    return dsn, overrides


async def _has_timeout(connection: psycopg.AsyncConnection[Any]) -> bool:
    row = await (await connection.execute("SHOW statement_timeout")).fetchone()
    return row is not None and row[0] != "0"


def _will_pass(error: BaseException) -> bool:
    return isinstance(error, psycopg.OperationalError) and _says(error, _CROWDED + _PASSING)


def _is_crowded(state: RetryCallState) -> bool:
    error = state.outcome.exception() if state.outcome else None
    return error is not None and _says(error, _CROWDED)


def _says(error: BaseException, words: Iterable[str]) -> bool:
    text = str(error).lower()
    return any(word in text for word in words)


def _with_settings(dsn: str, overrides: dict[str, Any], application_name: str, more: str = "") -> str:
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
            "options": f"{options} {ours} {more}".strip(),
            "application_name": application_name[:63],
        },
    )
