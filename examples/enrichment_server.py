"""A lookup service that answers by webhook, and the webhook, for examples/enrichment.dsql.

    python examples/enrichment_server.py [--port 8322] [--dsn DSN]

POST /lookups {"id": 1, "company": "…", "hook": "/hooks/…"} is accepted with 202. A little later the service
posts {"id": 1, "sector": "…"} to the hook; about companies it does not know it never says anything. POST
/hooks/INSTANCE/SIGNAL is the other side: it hands its body to the run as a signal. A request with a known
Idempotency-Key is accepted again and answered once.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from durasql.client import connect
from durasql.errors import NotFound

SECTORS = {'Acme "Rockets"': "aerospace", "Globex": "energy"}
DELAY = 0.1


class Service(ThreadingHTTPServer):
    """Both sides on one port of loopback; `dsn` is where the webhook sends its signals."""

    daemon_threads = True

    def __init__(self, port: int, dsn: str) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.dsn = dsn

    def answer(self, request: Any) -> None:
        """Call the hook of a lookup, as a service somewhere else would."""
        answer = {"id": request["id"], "sector": SECTORS[request["company"]]}
        connection = http.client.HTTPConnection("127.0.0.1", self.server_address[1], timeout=10)
        connection.request("POST", request["hook"], json.dumps(answer))
        connection.getresponse().read()
        connection.close()

    def deliver(self, path: str, data: Any) -> None:
        """/hooks/INSTANCE/SIGNAL: give the run its signal."""
        _, _, instance, name = path.split("/")
        with connect(self.dsn) as client:
            client.signal(instance, name, data)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Service
    accepted: ClassVar[set[str]] = set()

    def do_POST(self) -> None:
        try:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
            if self.path.startswith("/hooks/"):
                self.server.deliver(self.path, body)
                return self._send(204)
            key = self.headers.get("Idempotency-Key", "")
            if body["company"] in SECTORS and key not in self.accepted:
                self.accepted.update({key} - {""})
                threading.Timer(DELAY, self.server.answer, [body]).start()
        except NotFound:
            return self._send(404)
        except (ValueError, KeyError, TypeError):
            return self._send(400)
        return self._send(202)

    def _send(self, status: int) -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", "0")
        self.end_headers()


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve lookups and their webhook on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=8322)
    dsn = os.environ.get("DURASQL_DSN", "")
    parser.add_argument("--dsn", default=dsn, help="where the runs are; default: DURASQL_DSN, PG* variables")
    arguments = parser.parse_args()
    service = Service(arguments.port, arguments.dsn)
    print(f"lookups at http://127.0.0.1:{service.server_address[1]}/lookups (Ctrl-C stops)", flush=True)
    try:
        service.serve_forever()
    except KeyboardInterrupt:
        service.server_close()


if __name__ == "__main__":
    main()
