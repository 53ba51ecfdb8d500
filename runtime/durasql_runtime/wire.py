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

CHUNK_ROWS = 2_000
"""Rows per chunk of a result: bounds what libpq buffers before the size limit is checked."""

_MOST_SILENCE = 4
"""Ends of results in a row; after an error there is one per statement, with a result in between."""


class ConnectionLost(Exception):
    """The connection broke; whether the last COMMIT happened is unknown."""


class Wire:
    """One connection in pipeline mode. Not for concurrent use."""

    def __init__(self, connection: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
        self._connection = connection
        self._pgconn = connection.pgconn
        self._pgconn.nonblocking = 1
        self._pgconn.enter_pipeline_mode()
        self._prepared: set[bytes] = set()
        self.unread_syncs = 0

    @property
    def broken(self) -> bool:
        """Whether the connection is beyond use."""
        return self._connection.closed or self._pgconn.status != pq.ConnStatus.OK

    def alive(self) -> bool:
        """Whether an idle connection is still there, as far as this end knows: reads without waiting."""
        try:
            self._pgconn.consume_input()
        except psycopg.Error:
            return False
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
                await self._ready(write=True)
                self._pgconn.consume_input()
        except psycopg.OperationalError as error:
            raise ConnectionLost(str(error)) from error

    def stream(self) -> None:
        """Deliver the result that comes next in chunks."""
        with suppress(psycopg.Error):
            self._pgconn.set_chunked_rows_mode(CHUNK_ROWS)

    async def result(self) -> PGresult:
        """The next statement's result; errors are results too."""
        result = await self.chunk()
        if result is None:
            raise ConnectionLost("the server sent no result")
        while await self.chunk() is not None:
            pass
        return result

    async def chunk(self) -> PGresult | None:
        """The next piece of the current statement's result, None when it is complete."""
        try:
            while self._pgconn.is_busy():
                await self._ready()
                self._pgconn.consume_input()
            result = self._pgconn.get_result()
        except psycopg.OperationalError as error:
            raise ConnectionLost(str(error)) from error
        if result is not None and self._pgconn.status != pq.ConnStatus.OK:
            raise ConnectionLost(result.error_message.decode(errors="replace"))
        return result

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
        with suppress(psycopg.Error):
            await self._connection.close()

    async def _ready(self, write: bool = False) -> None:
        loop = asyncio.get_running_loop()
        socket = self._pgconn.socket
        done = loop.create_future()
        loop.add_reader(socket, _wake, done)
        if write:
            loop.add_writer(socket, _wake, done)
        try:
            await done
        finally:
            loop.remove_reader(socket)
            if write:
                loop.remove_writer(socket)


def _wake(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
