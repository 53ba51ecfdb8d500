"""An HTTP server for scrapes and probes. In: an address and a worker. Out: /metrics, /healthz and /readyz.

It runs in threads of its own, so that it can tell when the worker's event loop is stuck. It has no
authentication and listens on the loopback address unless told otherwise.
"""

from __future__ import annotations

import asyncio
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import TimeoutError as NotInTime
from contextlib import suppress
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import make_wsgi_app

from durasql.errors import CannotListen
from durasql.telemetry.address import Address
from durasql.telemetry.metrics import Metrics
from durasql_runtime.worker import Worker

_PATIENCE: Final = 5.0
"""Seconds in which the event loop has to answer."""
_DEADLINE: Final = 10.0
"""Seconds for a whole request, however slowly a client says what it wants."""
_MOST_CLIENTS: Final = 64
"""Connections at a time; further ones are closed at once."""

_Start = Callable[..., Any]
_Answer = tuple[str, str]


class Endpoint:
    """Listens from the moment it is made; answers once it knows the worker."""

    def __init__(self, address: Address, metrics: Metrics) -> None:
        """Raises `CannotListen`."""
        self._metrics = make_wsgi_app(metrics.registry)
        self._worker: Worker | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        try:
            self._server = _server(address)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise CannotListen(
                f"cannot serve metrics on {address}: {reason}",
                hint="Choose another --metrics ADDRESS:PORT, or 0 as the port for any that is free.",
            ) from error
        self._server.set_app(self._answer)
        self.address = Address(address.host, self._server.server_port)
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def attach(self, worker: Worker, loop: asyncio.AbstractEventLoop) -> None:
        """The worker to speak about, and the loop it runs on."""
        self._worker, self._loop = worker, loop

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environ: dict[str, Any], start: _Start) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            return self._metrics(environ, start)  # type: ignore[no-any-return]
        probes = {"/healthz": self._health, "/readyz": self._readiness}
        if path not in probes:
            status, text = "404 Not Found", "/metrics, /healthz and /readyz are here"
        elif environ.get("REQUEST_METHOD") not in ("GET", "HEAD"):
            status, text = "405 Method Not Allowed", "GET"
        else:
            status, text = probes[path]()
        start(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{text}\n".encode()]

    def _health(self) -> _Answer:
        """Whether the process works. A database that is away is no reason to restart it."""
        if self._loop is None:
            return _OK
        try:
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop).result(_PATIENCE)
        except NotInTime:
            return "503 Service Unavailable", f"the event loop has not answered for {_PATIENCE:g} s"
        except RuntimeError:
            return "503 Service Unavailable", "the event loop is closed"
        return _OK

    def _readiness(self) -> _Answer:
        """Whether it executes instances."""
        status, text = self._health()
        if status != _OK[0]:
            return status, text
        vitals = self._worker.vitals if self._worker else None
        if vitals is None or not vitals.signed_on:
            return "503 Service Unavailable", "not signed on to a database"
        if vitals.draining:
            return "503 Service Unavailable", "draining"
        return _OK


_OK: Final = ("200 OK", "ok")


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = _MOST_CLIENTS

    def __init__(self, *args: Any) -> None:
        self._places = threading.BoundedSemaphore(_MOST_CLIENTS)
        super().__init__(*args)

    def server_bind(self) -> None:
        # Not HTTPServer's own, which asks the name service who this address is.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", int(self.server_address[1])
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        timer = threading.Timer(_DEADLINE, _hang_up, (request,))
        timer.daemon = True
        timer.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            timer.cancel()
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is nobody's business."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Probes come every few seconds."""


def _hang_up(request: socket.socket) -> None:
    """Wakes the thread that reads from it."""
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


def _server(address: Address) -> _Server:
    """Raises OSError."""
    kind = _Server6 if ":" in address.host else _Server
    return kind((address.host, address.port), _Handler)
