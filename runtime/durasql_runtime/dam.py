"""A dam between a server and libpq: a long answer comes through in pieces, and no more of it than is allowed.

In: a connection of whose answer only the beginning has come. Out: the whole answer is with libpq, or `Flood`.
libpq reads for as long as there is something to read, and hands out a row, a notice or an error when all of
it is in memory; whoever only watches it read sees a hundred megabytes come at once. So while a long answer
comes, libpq's socket is one end of a pair, and the pieces are put in at the other.
"""

from __future__ import annotations

import asyncio
import os
import socket
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from termios import FIONREAD
from typing import Final

from psycopg.pq.abc import PGconn

_PIECE: Final = 65_536


class Flood(Exception):
    """The server sends more at once than anybody wants to hold: only closing the connection stops it."""


async def let_through(pgconn: PGconn, descriptor: int, most: int) -> None:
    """Read until an answer, or a chunk of rows, is complete or the connection is broken.

    Nothing else may read from the connection or write to it meanwhile. Raises `Flood` after `most` bytes.
    """
    loop = asyncio.get_running_loop()
    with _pair_instead_of(descriptor) as (server, inlet), _noticed(pgconn) as notices:
        passed = 0
        while pgconn.is_busy():
            piece = memoryview(await loop.sock_recv(server, _PIECE))
            if not piece:
                # libpq is to find the end of the connection itself.
                inlet.shutdown(socket.SHUT_WR)
                pgconn.consume_input()
                return
            passed = len(piece) + (0 if notices else passed)
            notices.clear()
            if passed > most:
                raise Flood
            while piece:
                piece = piece[inlet.send(piece) :]
                pgconn.consume_input()
                while unread(descriptor):
                    pgconn.consume_input()


@contextmanager
def _noticed(pgconn: PGconn) -> Iterator[list[bool]]:
    """Has an element when a notice came: any number of them may, since libpq forgets each."""
    seen: list[bool] = []
    before, pgconn.notice_handler = pgconn.notice_handler, lambda _: seen.append(True)
    try:
        yield seen
    finally:
        pgconn.notice_handler = before


@contextmanager
def _pair_instead_of(descriptor: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Puts one end of a pair in the place of a socket: the socket itself, and the other end."""
    outlet, inlet = socket.socketpair()
    server = socket.socket(fileno=os.dup(descriptor))
    with outlet, inlet, server:
        outlet.setblocking(False)
        server.setblocking(False)
        os.dup2(outlet.fileno(), descriptor, inheritable=False)
        try:
            yield server, inlet
        finally:
            os.dup2(server.fileno(), descriptor, inheritable=False)


def unread(descriptor: int) -> int:
    """Bytes that wait in a socket."""
    count = array("i", [0])
    ioctl(descriptor, FIONREAD, count)
    return count[0]
