"""libpq in pipeline mode under asyncio: queue messages, flush, read results one by one.

psycopg opens the connection (hosts, TLS, timeouts, service files); from then on the step protocol talks
to `pq.PGconn` itself, because a step's COMMIT, the next step's BEGIN and its SQL must share one round
trip.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import psycopg
from psycopg import pq
from psycopg.pq.abc import PGresult

from durasql_runtime.dam import let_through, unread

CHUNK_ROWS = 2_000
"""Rows per chunk of a result: bounds what libpq buffers before the size limit is checked."""

_LONG = 16_384
"""Bytes waiting in the socket from which on an answer is taken in by pieces."""
_MOST_SILENCE = 4
"""Ends of results in a row; after an error there is one per statement, with a result in between."""


_ERRORS = (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.PIPELINE_ABORTED)


class ConnectionLost(Exception):
    """The connection broke; whether the last COMMIT happened is unknown."""


class Wire:
    """One connection in pipeline mode. Not for concurrent use.

    Waiting for a result raises `Flood` when a piece of it (a chunk of rows, a notice) is larger than `most`
    bytes; 0 is no limit.
    """

    def __init__(self, connection: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
        self._connection = connection
        self._pgconn = connection.pgconn
        self._pgconn.nonblocking = 1
        self._pgconn.enter_pipeline_mode()
        self._prepared: set[bytes] = set()
        self.unread_syncs = 0
        # One registration for the connection's life: per wait it would cost two system calls a step.
        self._loop = asyncio.get_running_loop()
        self._socket: int | None = self._pgconn.socket
        self._reading = False
        self._arrived: asyncio.Future[None] | None = None
        self._sending = False
        self.most = 0

    @property
    def broken(self) -> bool:
        """Whether the connection is beyond use."""
        return self._connection.closed or self._pgconn.status != pq.ConnStatus.OK

    def alive(self) -> bool:
        """Whether an idle connection is still there, as far as this end knows: reads without waiting."""
        with suppress(psycopg.Error):
            self._pgconn.consume_input()
            # After the server's last words comes the end.
            self._pgconn.consume_input()
        return not self.broken

    @property
    def backend_pid(self) -> int:
        """The server process that serves this connection."""
        return self._pgconn.backend_pid

    def forget_prepared(self) -> None:
        """Send statements as text from now on: the step may have removed or replaced the prepared ones."""
        self._prepared.clear()

    def query(self, sql: str, params: Sequence[bytes | None] | None = None) -> None:
        """Queue one statement; its single result is read with `result`."""
        self._pgconn.send_query_params(sql.encode(), params)

    def execute(self, name: bytes, sql: bytes, params: Sequence[bytes | None] | None = None) -> int:
        """Queue a statement that is prepared on first use; returns how many results it will yield."""
        if name in self._prepared:
            self._pgconn.send_query_prepared(name, params)
            return 1
        self._prepared.add(name)
        self._pgconn.send_prepare(name, sql)
        self._pgconn.send_query_prepared(name, params)
        return 2

    def ask_flush(self) -> None:
        """Have the server send what it has so far, without ending the batch."""
        self._pgconn.send_flush_request()

    def sync(self) -> None:
        """End the batch: after an error the server ignores everything up to here."""
        self._pgconn.pipeline_sync()
        self.unread_syncs += 1

    async def send(self) -> None:
        """Push queued messages out, taking in what the server says meanwhile: it may not read on before."""
        try:
            while self._pgconn.flush():
                await self._writable()
        except psycopg.OperationalError as error:
            raise self._lost(str(error)) from error

    def stream(self) -> None:
        """Deliver the result that comes next in chunks."""
        with suppress(psycopg.Error):
            self._pgconn.set_chunked_rows_mode(CHUNK_ROWS)

    async def results(self, count: int) -> list[PGresult]:
        """The next statements' results, up to the first error; errors are results too."""
        found: list[PGresult] = []
        while len(found) < count:
            result = self._at_hand() if not self._pgconn.is_busy() else await self.chunk()
            if result is None:
                raise self._lost("the server sent no result")
            found.append(result)
            while (self._at_hand() if not self._pgconn.is_busy() else await self.chunk()) is not None:
                pass
            if result.status in _ERRORS:
                break
        return found

    async def result(self) -> PGresult:
        """The next statement's result; errors are results too."""
        return (await self.results(1))[0]

    async def chunk(self) -> PGresult | None:
        """The next piece of the current statement's result, None when it is complete."""
        if self._pgconn.is_busy():
            await self._input()
            if self._pgconn.is_busy() and not self.broken:
                await self._long_input()
        return self._at_hand()

    async def synced(self) -> None:
        """Read the mark that `sync` left."""
        silent = 0
        while silent < _MOST_SILENCE:
            result = await self.chunk()
            if result is not None and result.status == pq.ExecStatus.PIPELINE_SYNC:
                self.unread_syncs -= 1
                return
            silent = silent + 1 if result is None else 0
        raise ConnectionLost("the connection is closed, or out of step")

    async def cancel(self) -> None:
        """Ask the server to stop the running statement; its result will be an error."""
        with suppress(psycopg.Error):
            await self._connection.cancel_safe(timeout=5)

    async def close(self) -> None:
        """Close without waiting; an open transaction is rolled back by the server."""
        self._unregister()
        with suppress(psycopg.Error):
            await self._connection.close()

    def _at_hand(self) -> PGresult | None:
        """The next piece of a result that has arrived already."""
        try:
            result = self._pgconn.get_result()
        except psycopg.OperationalError as error:
            raise self._lost(str(error)) from error
        if result is not None and result.status == pq.ExecStatus.FATAL_ERROR and self.broken:
            raise self._lost(result.error_message.decode(errors="replace"))
        return result

    async def _input(self) -> None:
        """Wait until a result has arrived, or with a limit the beginning of one."""
        if self.broken or self._socket is None:
            raise self._lost("the connection is closed")
        if not self._reading:
            self._loop.add_reader(self._socket, self._on_readable)
            self._reading = True
        self._arrived = self._loop.create_future()
        await self._arrived

    def _on_readable(self) -> None:
        """Take in what has come, and wake whoever waits once a result is complete."""
        waiting = self._arrived
        if waiting is None or waiting.done():
            # Nobody asks: what comes may stay in the socket's bounded buffer.
            self._pause()
            return
        if self.most and not self._sending and self._socket is not None and unread(self._socket) >= _LONG:
            # With the beginning of a long message in its buffer, libpq would not stop before the end of it.
            self._arrived = None
            waiting.set_result(None)
            return
        try:
            self._pgconn.consume_input()
            complete = self.most > 0 or not self._pgconn.is_busy()
        except psycopg.Error:
            complete = True
        if self.broken:
            self._unregister()
            complete = True
        if complete:
            self._arrived = None
            waiting.set_result(None)

    async def _long_input(self) -> None:
        """Wait until all of a result has arrived of which the beginning has."""
        self._pause()
        assert self._socket is not None
        try:
            await let_through(self._pgconn, self._socket, self.most)
        except (psycopg.Error, OSError) as error:
            raise self._lost(str(error)) from error

    async def _writable(self) -> None:
        """Wait until the socket takes more, reading meanwhile."""
        if self.broken or self._socket is None:
            raise self._lost("the connection is closed")
        room = self._arrived = self._loop.create_future()
        self._loop.add_reader(self._socket, self._on_readable)
        self._reading = True
        self._loop.add_writer(self._socket, _wake, room)
        self._sending = True
        try:
            await room
        finally:
            self._sending = False
            self._arrived = None
            if self._socket is not None:
                self._loop.remove_writer(self._socket)

    def _pause(self) -> None:
        if self._reading and self._socket is not None:
            self._loop.remove_reader(self._socket)
        self._reading = False

    def _lost(self, reason: str) -> ConnectionLost:
        self._unregister()
        return ConnectionLost(reason)

    def _unregister(self) -> None:
        """Before libpq's socket is closed, or at once after: its number may soon be another's."""
        socket, self._socket = self._socket, None
        if socket is not None:
            self._reading = False
            self._loop.remove_reader(socket)
            self._loop.remove_writer(socket)


def _wake(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
