"""The worker's ear: LISTEN on a connection of its own, reconnecting by itself. Losing it costs
latency only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import psycopg
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from durasql.errors import DatabaseUnreachable
from durasql_runtime.claims import open_connection

log = logging.getLogger("durasql.worker")

CHANNEL = "df"


class Listener:
    """Calls `heard` with the payload of every notification on the channel of schema df."""

    def __init__(self, dsn: str, name: str, heard: Callable[[str], None]) -> None:
        self._dsn = dsn
        self._name = name
        self._heard = heard

    async def run(self) -> None:
        """Listen until cancelled."""
        attempts = AsyncRetrying(
            wait=wait_random_exponential(multiplier=0.1, max=5),
            retry=retry_if_exception_type((psycopg.Error, DatabaseUnreachable)),
            reraise=True,
        )
        async for attempt in attempts:
            with attempt:
                await self._listen()

    async def _listen(self) -> None:
        connection = await open_connection(self._dsn, f"durasql listen {self._name}")
        async with connection:
            await connection.execute(f"LISTEN {CHANNEL}".encode())
            self._heard("")
            async for notification in connection.notifies():
                self._heard(notification.payload)
