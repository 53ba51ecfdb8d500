"""The step protocol on one login of a role: a step's effects and its journal row are one transaction.

    first step     BEGIN, sql                          -> rows    (round trip 1)
    and the next   reset, record, COMMIT, BEGIN, sql   -> rows    (one round trip each)
    the last       reset, record, COMMIT, sync         -> done

A step that fails is rolled back and its failure recorded in a transaction of its own. When `record` finds
the claim lost, the server ignores the rest of the batch: neither the COMMIT nor the next step happens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg import pq
from psycopg.pq.abc import PGresult

from durasql.errors import LeaseLost
from durasql_runtime.dam import Flood
from durasql_runtime.record import Record
from durasql_runtime.results import ResultTooLarge
from durasql_runtime.wire import CHUNK_ROWS, ConnectionLost, Wire

_BEGIN: Final = (b"df_begin", b"BEGIN")
_COMMIT: Final = (b"df_commit", b"COMMIT")
_RESET_ROLE: Final = (b"df_reset_role", b"RESET ROLE")
_RESET: Final = (b"df_reset", b"SELECT df._reset($1,$2)")
_RECORD: Final = (b"df_record", b"SELECT df._record($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13)")
_MOST_WORDS: Final = 65_536
"""Bytes of one field of an error that are kept: it is repeated in the journal for every composite around."""
_SLACK: Final = 65_536
"""Bytes beyond twice the limit of a result that may come at once."""
_LEASE_LOST: Final = "DF001"
_NO_SUCH_PREPARED: Final = "26000"


@dataclass(frozen=True, slots=True)
class ServerError:
    """PostgreSQL's own words about a statement it refused."""

    sqlstate: str
    message: str
    detail: str | None = None
    hint: str | None = None
    position: int | None = None

    @classmethod
    def of(cls, result: PGresult) -> ServerError:
        """Read the fields of an error result."""

        def field(code: pq.DiagnosticField) -> str | None:
            raw = result.error_field(code)
            if raw is None or len(raw) <= _MOST_WORDS:
                return None if raw is None else raw.decode(errors="replace")
            return raw[:_MOST_WORDS].decode(errors="ignore") + f"… ({len(raw)} bytes in all)"

        position = field(pq.DiagnosticField.STATEMENT_POSITION)
        return cls(
            field(pq.DiagnosticField.SQLSTATE) or "XX000",
            field(pq.DiagnosticField.MESSAGE_PRIMARY)
            or result.error_message.decode(errors="replace").strip(),
            field(pq.DiagnosticField.MESSAGE_DETAIL),
            field(pq.DiagnosticField.MESSAGE_HINT),
            int(position) if position else None,
        )


class StepRefused(Exception):
    """The step's statement, or its COMMIT, failed: nothing of it happened."""

    def __init__(self, error: ServerError, statement: str | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.statement = statement


class SessionTainted(Exception):
    """The step removed the session's prepared statements; it was rolled back and can run again on
    plain ones.
    """


class Session:
    """A login as one role in one database, used by one strand at a time."""

    def __init__(self, wire: Wire, role: str, database: str) -> None:
        self.wire = wire
        self.role = role
        self.database = database
        self.plain = False
        self._search_path: str | None = None
        self._search_path_known = True
        self._open = False
        self._waiting = False
        self._used = False

    async def step(
        self,
        statements: Sequence[str],
        search_path: str | None,
        before: Record | None = None,
        limit: int = 0,
        place: str = "",
    ) -> list[PGresult]:
        """Commit `before`, begin, run the statements; the last one's result as a list of chunks. Meanwhile
        the session is called `place`, for pg_stat_activity and the server's log.

        Leaves the transaction open. Raises `StepRefused` with the transaction rolled back when a
        statement fails, `LeaseLost` when `before` cannot be recorded.
        """
        with self._exchange():
            expected = self._queue_record(before, search_path, place) if before else 0
            entering = self._queue_search_path(search_path)
            if not before:
                # Not set_config: a query before its first statement would keep the step from SET TRANSACTION.
                self.wire.query(f"SET application_name = '{place}'")
                entering += 1
            entering += self._call(_BEGIN)
            for statement in statements:
                self.wire.query(statement)
            self.wire.ask_flush()
            await self.wire.send()
            if before:
                await self._expect(expected, b"COMMIT")
                if before.committed is not None:
                    before.committed()
            self._open = self._used = True
            await self._expect(entering, b"BEGIN")
            chunks: list[PGresult] = []
            for statement in statements:
                chunks = await self._read_rows(statement, limit)
            return chunks

    async def commit(self, record: Record, search_path: str | None) -> None:
        """Record and commit the open transaction."""
        with self._exchange():
            expected = self._queue_record(record, search_path)
            self.wire.sync()
            await self.wire.send()
            await self._expect(expected, b"COMMIT")
            await self.wire.synced()
            self._open = self._used = False

    async def record_alone(self, record: Record) -> None:
        """Record in a transaction of its own, after a rollback or for a step without SQL."""
        with self._exchange():
            expected = self._call(_RECORD, record.params)
            self.wire.sync()
            await self.wire.send()
            await self._expect(expected)
            await self.wire.synced()

    async def record_after_failure(self, record: Record, search_path: str | None) -> None:
        """Record on a session whose step was rolled back or ran outside, and make the session as new."""
        with self._exchange():
            expected = self._queue_reset(search_path)
            expected += self._call(_RECORD, record.params)
            self.wire.sync()
            await self.wire.send()
            await self._expect(expected)
            await self.wire.synced()
            self._used = False

    async def renew(self, search_path: str | None) -> None:
        """Make the session as new after a step that was rolled back."""
        with self._exchange():
            expected = self._queue_reset(search_path)
            self.wire.sync()
            await self.wire.send()
            await self._expect(expected)
            await self.wire.synced()
            self._used = False

    async def extra(self, sql: str, params: Sequence[bytes | None]) -> PGresult:
        """One more query inside the step's transaction, to let the server convert values."""
        with self._exchange():
            self.wire.query(sql, params)
            self.wire.ask_flush()
            await self.wire.send()
            result = await self.wire.result()
            if result.status != pq.ExecStatus.TUPLES_OK:
                await self._refused(result, sql)
            return result

    async def query(self, sql: str, params: Sequence[bytes | None]) -> bytes | None:
        """The first value of a query outside any step."""
        with self._exchange():
            self.wire.query(sql, params)
            self.wire.sync()
            await self.wire.send()
            result = await self.wire.result()
            if result.status != pq.ExecStatus.TUPLES_OK:
                await self._refused(result, sql)
            await self.wire.synced()
            return result.get_value(0, 0) if result.ntuples else None

    async def commit_elsewhere(self, receipt: Sequence[bytes | None] | None) -> None:
        """Commit a step of another database, with its receipt where df is installed there."""
        with self._exchange():
            self.plain = True
            expected = self._call(_RESET_ROLE)
            if receipt is not None:
                self.wire.query("SELECT df._leave_receipt($1, $2, $3, $4)", receipt)
                expected += 1
            expected += self._call(_COMMIT)
            self.wire.sync()
            await self.wire.send()
            await self._expect(expected, b"COMMIT")
            await self.wire.synced()
            self._open = False

    async def autocommit(self, statement: str, search_path: str | None, limit: int = 0) -> list[PGresult]:
        """Run a statement that refuses transactions. It may have happened even when this raises."""
        with self._exchange():
            entering = self._queue_search_path(search_path)
            if entering:
                self.wire.sync()
                await self.wire.send()
                await self._expect(entering)
                await self.wire.synced()
            # What such a statement may do to the session (DISCARD ALL) is not undone by a rollback.
            self.plain = True
            self.wire.query(statement)
            self.wire.sync()
            await self.wire.send()
            chunks = await self._read_rows(statement, limit)
            await self.wire.synced()
            return chunks

    async def roll_back(self) -> None:
        """Undo the open transaction and whatever of the batch is still to come."""
        if not self.wire.unread_syncs:
            self.wire.sync()
        self.wire.query("ROLLBACK")
        self.wire.sync()
        await self.wire.send()
        await self.wire.synced()
        undone = await self.wire.result()
        if undone.status != pq.ExecStatus.COMMAND_OK:
            raise ConnectionLost("the transaction could not be rolled back")
        await self.wire.synced()
        self._open = False
        # Settings made in the transaction are undone with it, ours too.
        self._search_path_known = False

    async def end(self) -> None:
        """Stop what the server may still be doing for this session, and close it."""
        if self.busy:
            await self.wire.cancel()
        await self.wire.close()

    @property
    def in_transaction(self) -> bool:
        """Whether a step's transaction is open."""
        return self._open

    @property
    def busy(self) -> bool:
        """Whether the server may still be working for this session."""
        return self._waiting

    @property
    def clean(self) -> bool:
        """Whether the session may go back to the pool: nothing of a step is left in it.

        A rollback alone does not make it so: session locks and prepared statements outlive it.
        """
        return not (self._open or self._waiting or self._used or self.plain or self.wire.broken)

    # -- queueing -------------------------------------------------------------------------------------------

    def _call(self, statement: tuple[bytes, bytes], params: Sequence[bytes | None] | None = None) -> int:
        if self.plain:
            self.wire.query(statement[1].decode(), params)
            return 1
        return self.wire.execute(*statement, params)

    def _queue_record(self, record: Record, search_path: str | None, place: str | None = None) -> int:
        count = self._queue_reset(search_path, place)
        count += self._call(_RECORD, record.params)
        return count + self._call(_COMMIT)

    def _queue_reset(self, search_path: str | None, place: str | None = None) -> int:
        count = self._call(_RESET_ROLE)
        count += self._call(_RESET, [_bytes(search_path), _bytes(place)])
        self._note_search_path(search_path)
        return count

    def _queue_search_path(self, search_path: str | None) -> int:
        if self._search_path_known and search_path == self._search_path:
            return 0
        self._note_search_path(search_path)
        if search_path is None:
            self.wire.query("RESET search_path")
        else:
            self.wire.query("SELECT pg_catalog.set_config('search_path', $1, false)", [search_path.encode()])
        return 1

    def _note_search_path(self, search_path: str | None) -> None:
        self._search_path, self._search_path_known = search_path, True

    # -- reading --------------------------------------------------------------------------------------------

    @contextmanager
    def _exchange(self) -> Iterator[None]:
        """While messages are under way the session is busy; after a refusal it was put right already."""
        self._waiting = True
        try:
            yield
        except (StepRefused, LeaseLost, SessionTainted, ResultTooLarge):
            self._waiting = False
            raise
        except psycopg.OperationalError as error:
            # libpq refuses to queue anything more on a connection that broke a moment ago.
            raise ConnectionLost(str(error)) from error
        except Flood:
            raise ConnectionLost(f"the server sent more than {self.wire.most} bytes at once") from None
        self._waiting = False

    async def _expect(self, count: int, last: bytes | None = None) -> None:
        """Read results that must be successes; the last one's command must be `last`."""
        results = await self.wire.results(count)
        for result in results:
            if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
                await self._refused(result, None)
        command = results[-1].command_status if results else last
        if last is not None and command != last:
            self._tampered()

    async def _read_rows(self, statement: str, limit: int) -> list[PGresult]:
        if limit:
            self.wire.stream()
            self.wire.most = 2 * limit + _SLACK
        try:
            return await self._read_chunks(statement, limit)
        except Flood:
            # The server does not hear a cancellation while it sends; what it is in is undone when it cannot.
            await self.wire.close()
            raise ResultTooLarge(limit) from None

    async def _read_chunks(self, statement: str, limit: int) -> list[PGresult]:
        chunks: list[PGresult] = []
        size = 0
        while (chunk := await self.wire.chunk()) is not None:
            if chunk.status in (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.PIPELINE_ABORTED):
                await self._refused(chunk, statement)
            if chunk.status in (pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT, pq.ExecStatus.COPY_BOTH):
                raise ConnectionLost("COPY from or to the client is not possible in a step")
            size += _size_of(chunk)
            if limit and size > limit:
                await self._too_large(limit)
            chunks.append(chunk)
        return chunks

    async def _refused(self, result: PGresult, statement: str | None) -> None:
        """An error result: put the session right, then raise what it means."""
        error = ServerError.of(result)
        await self.roll_back()
        if error.sqlstate == _LEASE_LOST:
            raise LeaseLost(error.message)
        if error.sqlstate == _NO_SUCH_PREPARED and statement is None and not self.plain:
            self.wire.forget_prepared()
            self.plain = True
            raise SessionTainted
        raise StepRefused(error, statement)

    def _tampered(self) -> None:
        """A step put a statement of its own under the name of one of ours: what was asked for did not happen.

        Nothing more is sent, not even a sync, which could commit: the session is closed and all is undone.
        """
        if self.plain:
            raise ConnectionLost("the session does not do what it is told")
        self.plain = True
        raise SessionTainted

    async def _too_large(self, limit: int) -> None:
        await self.wire.cancel()
        await self.roll_back()
        raise ResultTooLarge(limit)


def _size_of(chunk: PGresult) -> int:
    """Bytes of the values of a full chunk; smaller results are measured when they are written."""
    rows, columns = chunk.ntuples, chunk.nfields
    if rows < CHUNK_ROWS:
        return 0
    values = (chunk.get_value(row, column) for row in range(rows) for column in range(columns))
    return sum(len(value) for value in values if value is not None)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()
