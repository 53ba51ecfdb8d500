"""Stage 7: claim instances and keep the claim. The control connection of a worker.

In: a connection string. Out: `Claim`s, each with the journal and the inbox it was claimed with. Every
call proves the worker's token; the database decides.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg
from tenacity import AsyncRetrying, retry_if_exception, wait_exponential

from durasql import __version__
from durasql.errors import (
    DatabaseUnreachable,
    DurasqlError,
    LeaseLost,
    PermissionDenied,
    SchemaMissing,
    StoreError,
)
from durasql.store.install import migrations
from durasql_runtime.failures import RunPolicy
from durasql_runtime.frontier import Frontier, Place
from durasql_runtime.journal import Row, State, UndoRow, UndoState

_READ_ONLY: Final = "25006"
_FRESH: Final = timedelta(seconds=1)
_FRESH_SHARE: Final = 8
"""While there is a backlog, every eighth place is for what fell due within a second before the last look."""
_LOCKED: Final = "55P03"
_HEAVY: Final = (
    "the instance's journal and inbox are larger than max_instance_bytes (in df.settings, at most 160 MB): "
    "keep bulk data in tables"
)
_CLAIM: Final = (
    "SELECT id, epoch, role, superuser, label, database, program, owner, search_path, vars::text, "
    "policy::text, history::text, inbox::text, now, heavy, since::text "
    "FROM df._claim(%s, %s, %s, %s, %s::oid[], %s::timestamptz, %s)"
)
"""Documents as text: roles have a say in them, and one that cannot be read concerns its instance only."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A signal in an instance's inbox; `data` is the text that was sent."""

    id: int
    name: str
    data: str


@dataclass(frozen=True, slots=True)
class Claim:
    """An instance in this worker's hands. `now` is the database's clock at the claim, `place` where in the
    queue it was.
    """

    id: str
    epoch: int
    role: str | None
    superuser: bool
    label: str | None
    database: str | None
    program: str
    owner: int
    search_path: str | None
    variables: dict[str, str] = field(repr=False)
    policy: RunPolicy
    history: tuple[Row, ...] = field(repr=False)
    undos: tuple[UndoRow, ...] = field(repr=False)
    inbox: tuple[Letter, ...] = field(repr=False)
    now: datetime
    place: Place
    defect: str | None = None
    """Why the instance cannot be run, when what came with the claim cannot be read."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a worker is in the database."""

    id: int
    token: str


class Control:
    """The worker's own connection: claims, heartbeats, take-overs."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], identity: Identity) -> None:
        self.connection = connection
        self.identity = identity
        self._frontier = Frontier()
        self._backlog_since: datetime | None = None

    @classmethod
    async def sign_on(cls, dsn: str, name: str) -> Control:
        """Connect, refuse a transaction pooler, register the worker."""
        connection = await open_connection(dsn, f"durasql worker {name}")
        token = secrets.token_hex(16)
        try:
            await _refuse_pooler(connection)
            await _require_schema(connection)
            row = await _one(
                connection,
                "SELECT df._hello(%s, %s, %s, %s, %s)",
                (name, socket.gethostname() or platform.node(), os.getpid(), __version__, token),
            )
        except psycopg.Error as error:
            await connection.close()
            raise _explain(error) from error
        except StoreError:
            await connection.close()
            raise
        return cls(connection, Identity(row[0], token))

    async def claim(
        self, limit: int, only: str | None = None, but: Sequence[int] | None = None
    ) -> list[Claim]:
        """Claim up to `limit` due instances, none of the roles `but`; `only` names the one instance this
        worker is for.
        """
        if only is not None or but:
            return await self._claim((*self._me, limit, only, but, None, None))
        fresh = await self._claim_fresh(limit // _FRESH_SHARE)
        left = limit - len(fresh)
        with self._frontier.search() as origin:
            after = (None, None) if origin is None else (origin.since, origin.id)
            claims = await self._claim((*self._me, left, None, None, *after))
        if claims:
            self._frontier.place = claims[-1].place
        self._frontier.short = len(claims) < left
        self._backlog_since = claims[-1].now if claims and not self._frontier.short else None
        return fresh + claims

    async def _claim_fresh(self, limit: int) -> list[Claim]:
        """In front of a backlog, some of what fell due only now: ten thousand timers that fire together must
        not keep everything else waiting until they are done.
        """
        if not limit or self._backlog_since is None:
            return []
        since = self._backlog_since - _FRESH
        return await self._claim((*self._me, limit, None, None, since.isoformat(), ""))

    async def _claim(self, params: Sequence[Any]) -> list[Claim]:
        cursor = await self.connection.execute(_CLAIM, params, prepare=True)
        return [_claim(row) for row in await cursor.fetchall()]

    async def next_due(self) -> float | None:
        """Seconds until it is worth looking again: the next parked instance is due, or some may have been
        passed over. None when there is nothing to wait for.
        """
        place = self._frontier.place
        since = None if place is None else place.since
        row = await _one(self.connection, "SELECT df._next_due(%s, %s, %s::timestamptz)", (*self._me, since))
        waits = (None if row[0] is None else float(row[0]), self._frontier.pause)
        return min((wait for wait in waits if wait is not None), default=None)

    async def renew(self, claim: Claim) -> Claim:
        """The same claim under a new epoch, with the journal and inbox read again. Raises `LeaseLost`."""
        query = "SELECT epoch, history::text, inbox::text, now, heavy FROM df._reload(%s, %s, %s, %s)"
        try:
            async for attempt in _while_locked():
                with attempt:
                    row = await _one(self.connection, query, (*self._me, claim.id, claim.epoch))
        except psycopg.Error as error:
            if error.sqlstate in ("DF001", "DF002"):
                raise LeaseLost(str(error)) from error
            raise
        epoch, history, inbox, now, heavy = row
        if heavy:
            raise StoreError(_HEAVY)
        renewed = replace(claim, epoch=epoch, now=now)
        return _with_documents(renewed, None, None, history, inbox)

    async def held(
        self, instance_ids: Sequence[str] | None = None
    ) -> dict[str, tuple[int, tuple[Letter, ...]]]:
        """Epochs and inboxes of those of these instances (None: of all) that this worker holds."""
        ids = None if instance_ids is None else list(instance_ids)
        cursor = await self.connection.execute(
            "SELECT id, epoch, inbox FROM df._held(%s, %s, %s)", (*self._me, ids)
        )
        return {id_: (epoch, read_inbox(inbox)) for id_, epoch, inbox in await cursor.fetchall()}

    async def strays(self) -> list[tuple[int, str]]:
        """Server processes of step sessions whose worker is gone, and the roles they are logged in as."""
        cursor = await self.connection.execute("SELECT pid, role FROM df._strays(%s, %s)", self._me)
        return [(pid, role) for pid, role in await cursor.fetchall()]

    async def program(self, owner: int, program_hash: str) -> tuple[str, str | None]:
        """A program's graph, and its bytecode if it was compiled before. Raises `StoreError`: whoever inserts
        an instance by hand may name any program.
        """
        graph, code = await _one(
            self.connection,
            "SELECT graph, code FROM df._program(%s, %s, %s, %s)",
            (*self._me, owner, program_hash),
        )
        if graph is None:
            raise StoreError(
                f"its role has stored no program {program_hash:.64}", hint="start workflows with df.start"
            )
        return graph, code

    async def store_code(self, owner: int, program_hash: str, format_: int, code: str) -> str:
        """Store a program's bytecode unless it is stored; returns what is."""
        row = await _one(
            self.connection,
            "SELECT df._store_code(%s, %s, %s, %s, %s, %s)",
            (*self._me, owner, program_hash, format_, code),
        )
        return str(row[0])

    async def release(self, instance_ids: Sequence[str]) -> None:
        """Hand instances over."""
        if instance_ids:
            await self._call("SELECT df._release(%s, %s, %s)", (*self._me, list(instance_ids)))

    async def refuse(self, claim: Claim, error: str) -> None:
        """Fail an instance that cannot be admitted."""
        async for attempt in _while_locked():
            with attempt:
                await self._call(
                    "SELECT df._refuse(%s, %s, %s, %s, %s)", (*self._me, claim.id, claim.epoch, error)
                )

    async def heartbeat(self, *, idle: bool, running: int) -> None:
        """Say that the worker lives."""
        await self._call("SELECT df._heartbeat(%s, %s, %s, %s)", (*self._me, idle, running))

    async def reap(self) -> int:
        """Free the instances of lost workers; how many were freed."""
        row = await _one(self.connection, "SELECT df._reap(%s, %s)", self._me)
        return int(row[0])

    async def wake(self, instance_ids: Sequence[str] | None, *, ever: bool = False) -> int:
        """Make parked instances due whose signal has come: these, or any of the last hour, or any at all."""
        ids = None if instance_ids is None else list(instance_ids)
        row = await _one(self.connection, "SELECT df._wake(%s, %s, %s, %s)", (*self._me, ids, ever))
        return int(row[0])

    async def prune(self) -> int:
        """Remove a batch of instances that retention no longer keeps; how many they were."""
        row = await _one(self.connection, "SELECT instances FROM df.prune()", ())
        return int(row[0] or 0)

    async def settings(self, names: Sequence[str]) -> dict[str, str | None]:
        """Several installation settings at once."""
        cursor = await self.connection.execute(
            "SELECT name, df.setting(name) FROM unnest(%s::text[]) AS name", (list(names),)
        )
        return dict(await cursor.fetchall())

    async def setting(self, name: str) -> str | None:
        """One installation setting."""
        row = await _one(self.connection, "SELECT df.setting(%s)", (name,))
        return None if row[0] is None else str(row[0])

    async def sign_off(self) -> None:
        """Hand over everything and disappear."""
        await self._call("SELECT df._goodbye(%s, %s)", self._me)
        await self.connection.close()

    @property
    def _me(self) -> tuple[int, str]:
        return self.identity.id, self.identity.token

    async def _call(self, query: str, params: Sequence[Any]) -> None:
        await self.connection.execute(query.encode(), params)


def _while_locked() -> AsyncRetrying:
    """Ask again for as long as somebody holds the instance's row. A role can hold its own for ever, so the
    worker's one connection never waits for it: between attempts it is everybody's.
    """
    return AsyncRetrying(
        retry=retry_if_exception(
            lambda error: isinstance(error, psycopg.Error) and error.sqlstate == _LOCKED
        ),
        wait=wait_exponential(multiplier=0.02, max=2),
        reraise=True,
    )


async def open_connection(dsn: str, application_name: str) -> psycopg.AsyncConnection[Any]:
    """An autocommit connection; a failure is `DatabaseUnreachable` in plain words."""
    try:
        return await psycopg.AsyncConnection.connect(
            dsn, autocommit=True, connect_timeout=10, application_name=application_name[:63]
        )
    except psycopg.Error as error:
        raise DatabaseUnreachable(
            f"cannot connect to the database: {str(error).strip()}",
            hint="check --dsn, DURASQL_DSN or the PG* variables, and that the server is up",
        ) from error


def is_passing(error: psycopg.Error) -> bool:
    """Whether waiting may cure it: the connection broke, the server stops, is full, or a standby."""
    return (
        isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) or error.sqlstate == _READ_ONLY
    )


def read_history(document: Any) -> tuple[Row, ...]:
    """Rows of `df._history`."""
    return tuple(
        Row(node, gen, State(state), value, columns=columns, names=names, seq=seq, attempts=attempts,
            due=datetime.fromisoformat(due) if due else None)
        for node, gen, seq, state, value, columns, names, due, attempts in document
    )  # fmt: skip


def read_undos(document: Any) -> tuple[UndoRow, ...]:
    """What can be undone, as `df._history` has it."""
    return tuple(
        UndoRow(node, gen, UndoState(state), names, error, seq, settled)
        for node, gen, seq, state, names, error, settled in document
    )


def read_inbox(document: Any) -> tuple[Letter, ...]:
    """Rows of `df._inbox_of`."""
    return tuple(Letter(id_, name, data) for id_, name, data in document or ())


def _claim(row: Sequence[Any]) -> Claim:
    id_, epoch, role, superuser, label, database, program, owner, path, *documents, now, heavy, since = row
    place = Place(since, id_)
    claim = Claim(
        id_, epoch, role, superuser, label, database, program, owner, path, {}, RunPolicy(), (), (), (),
        now, place,
    )  # fmt: skip
    if heavy:
        return replace(claim, defect=_HEAVY)
    try:
        return _with_documents(claim, *documents)
    except StoreError as error:
        return replace(claim, defect=error.message)


def _with_documents(
    claim: Claim, variables: str | None, policy: str | None, history: str | None, inbox: str | None
) -> Claim:
    """The claim with what came as JSON. Raises `StoreError` for what only a forger can have written."""
    try:
        journal = json.loads(history) if history else {}
        return replace(
            claim,
            variables=_variables(variables) or claim.variables,
            policy=RunPolicy.of(policy) if policy else claim.policy,
            history=read_history(journal.get("rows") or ()),
            undos=read_undos(journal.get("undos") or ()),
            inbox=read_inbox(json.loads(inbox or "[]")),
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise StoreError(f"the instance cannot be read: {error}") from None


def _variables(document: str | None) -> dict[str, str]:
    found = json.loads(document or "{}")
    if not all(isinstance(value, str) for value in found.values()):
        raise ValueError("its variables are not all text")
    return dict(found)


async def _one(connection: psycopg.AsyncConnection[Any], query: str, params: Sequence[Any]) -> Any:
    cursor = await connection.execute(query.encode(), params)
    return await cursor.fetchone() or (None, None)


async def _refuse_pooler(connection: psycopg.AsyncConnection[Any]) -> None:
    """A pooler would hand our session lock and prepared statements to somebody else; in session mode too, it
    cannot be told apart.
    """
    row = await _one(connection, "SELECT pg_backend_pid()", ())
    if row[0] != connection.info.backend_pid:
        raise StoreError(
            "there is a connection pooler between this worker and PostgreSQL",
            hint="point the worker's DSN at PostgreSQL itself; callers of df.start may use the pooler",
        )


async def _require_schema(connection: psycopg.AsyncConnection[Any]) -> None:
    """A worker of a later version speaks to functions that this schema does not have."""
    found = (await _one(connection, "SELECT df._schema_version()", ()))[0]
    needed = migrations()[-1].version
    if found is not None and found < needed:
        raise SchemaMissing(
            f"schema df is at migration {found:04}, this worker needs {needed:04}",
            hint="upgrade the schema first, as its owner: durasql db install --dsn …",
        )


def _explain(error: psycopg.Error) -> DurasqlError:
    if is_passing(error):
        return DatabaseUnreachable(f"the database is not available: {str(error).strip()}")
    if error.sqlstate in ("3F000", "42883", "42P01"):
        return SchemaMissing(
            "the database has no schema df of this version", hint="run: durasql db install --dsn …"
        )
    if error.sqlstate == "42501":
        return PermissionDenied(
            f"this role may not run a worker: {error.diag.message_primary}",
            hint="as the owner of schema df: SELECT df.grant_usage('role'); or df.grant_worker('role')",
        )
    return StoreError(str(error).strip())
