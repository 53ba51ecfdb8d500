"""A small embedding service for examples/embeddings.dsql: no model, no network, only the standard library.

    python examples/embedding_server.py [--port 8321]

POST / with {"input": ["text", …]} answers {"data": [{"index": 0, "embedding": [64 numbers]}, …]}, the shape
of the usual embedding services. A text's vector counts its three-letter pieces, so texts with common words
lie close together and the same text has the same vector for ever. A request with a known Idempotency-Key is
answered from memory.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

DIMENSIONS = 64
_REMEMBERED = 1000


def embed(text: str) -> list[float]:
    """A unit vector of `DIMENSIONS` numbers."""
    counts = [0.0] * DIMENSIONS
    padded = f"  {text.lower()} "
    for at in range(len(padded) - 2):
        piece = hashlib.sha256(padded[at : at + 3].encode()).digest()
        counts[piece[0] % DIMENSIONS] += 1.0
    length = math.sqrt(sum(count * count for count in counts)) or 1.0
    return [round(count / length, 6) for count in counts]


def answer(request: Any) -> bytes:
    """The response's JSON; ValueError for a request that is none."""
    texts = request.get("input") if isinstance(request, dict) else None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError('expected {"input": ["text", …]}')
    data = [{"index": index, "embedding": embed(text)} for index, text in enumerate(texts)]
    return json.dumps({"data": data}).encode()


class Handler(BaseHTTPRequestHandler):
    """One connection; keeps it open between requests."""

    protocol_version = "HTTP/1.1"
    answered: ClassVar[OrderedDict[str, bytes]] = OrderedDict()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        key = self.headers.get("Idempotency-Key", "")
        try:
            reply = self.answered.get(key) or answer(json.loads(body))
        except ValueError as error:
            return self._send(400, json.dumps({"error": str(error)}).encode())
        if key:
            self.answered[key] = reply
            while len(self.answered) > _REMEMBERED:
                self.answered.popitem(last=False)
        return self._send(200, reply)

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve(port: int) -> ThreadingHTTPServer:
    """A server on loopback, not yet running; port 0 takes a free one."""
    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve embeddings on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=8321)
    server = serve(parser.parse_args().port)
    print(f"embeddings at http://127.0.0.1:{server.server_address[1]}/ (Ctrl-C stops)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
