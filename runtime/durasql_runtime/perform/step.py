"""The session that one strand of an instance holds while it runs SQL steps one after the other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from psycopg.pq.abc import PGresult

from durasql_runtime.claims import Claim
from durasql_runtime.journal import Key
from durasql_runtime.pool import Pool
from durasql_runtime.record import Record
from durasql_runtime.session import Session

_TURN: Final = 0.1
"""Seconds for which a strand may go from step to step while others wait for a session of its role."""


@dataclass(frozen=True, slots=True)
class Carried:
    """A record that waits to travel with the next step, and the step it is about."""

    record: Record
    key: Key


class Step:
    """Acquires a session on first use, keeps it between steps, gives it back at the end."""

    def __init__(self, pool: Pool, claim: Claim, *, plain: bool = False) -> None:
        self._pool = pool
        self._claim = claim
        self._plain = plain
        self._elsewhere = claim.database if claim.database != pool.home_database else None
        self._session: Session | None = None
        self._since = 0.0
        self.began = 0.0
        """When the latest statement was sent, on the monotonic clock."""
        self.carried: Carried | None = None
        self.pc = 0
        """Where in the program the strand is."""

    @property
    def database(self) -> str:
        """The database the steps run in, '' for the home database."""
        return self._elsewhere or ""

    @property
    def is_open(self) -> bool:
        """Whether a step's transaction is open and waits for its record."""
        return self._session is not None and self._session.in_transaction

    @property
    def overstays(self) -> bool:
        """Whether others of the role have waited for a session while this strand had one for long."""
        return (
            self._session is not None
            and time.monotonic() - self._since > _TURN
            and self._pool.awaited(self._session.role)
        )

    def carry(self, record: Record, key: Key) -> None:
        """Send this record together with the next step."""
        self.carried = Carried(record, key)

    async def session(self) -> Session:
        """The strand's session. Raises `LoginRefused`."""
        if self._session is None:
            assert self._claim.role is not None
            self._session = await self._pool.acquire(self._claim.role, self._elsewhere, self._claim.id)
            self._since = time.monotonic()
            self._session.plain = self._plain
        return self._session

    async def run(self, statements: Sequence[str], limit: int) -> list[PGresult]:
        """Run statements in a transaction that stays open, committing what is carried in the same
        round trip.
        """
        session = await self.session()
        carried, self.carried = self.carried, None
        self.began = time.monotonic()
        place = self._pool.place(self._claim.id, self.pc)
        before = carried.record if carried else None
        return await session.step(statements, self._claim.search_path, before, limit, place)

    async def run_outside(self, statement: str, limit: int) -> list[PGresult]:
        """Run a statement that refuses transactions."""
        session = await self.session()
        self.began = time.monotonic()
        return await session.autocommit(statement, self._claim.search_path, limit)

    async def flush(self) -> None:
        """Commit what is carried, when no SQL step follows that could take it along."""
        if self.carried is not None:
            carried, self.carried = self.carried, None
            await self.commit(carried.record)
            if carried.record.committed is not None:
                carried.record.committed()

    async def undo(self) -> None:
        """Roll back the open transaction: its step failed though its statements did not."""
        if self._session is not None and self._session.wire.broken:
            self.close()
        elif self._session is not None and self._session.in_transaction:
            await self._session.roll_back()

    async def renew(self) -> None:
        """Make the session as new after a step that was rolled back."""
        if self._session is not None:
            await self._session.renew(self._claim.search_path)

    async def commit(self, record: Record) -> None:
        """Record and commit the open transaction."""
        session = await self.session()
        await session.commit(record, self._claim.search_path)
        if self.overstays:
            self.close()

    async def record_failure(self, record: Record) -> bool:
        """Record on this session after its step failed; False when there is none, or not one to do it on."""
        if self._session is None or self._elsewhere:
            return False
        await self._session.record_after_failure(record, self._claim.search_path)
        return True

    @property
    def instance_id(self) -> str:
        """The instance whose steps these are."""
        return self._claim.id

    def close(self) -> None:
        """Give the session back; a transaction that is still open dies with its connection."""
        session, self._session = self._session, None
        if session is not None:
            self._pool.release(session, self._elsewhere)
