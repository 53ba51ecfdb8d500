"""A web site with manners and without, on loopback, and a performer that may reach it.

site        a running Site; site.url("/path"), site.requests, site.answer("/path", b"raw bytes", …)
perform     perform(site.url(…), method=…, …) -> Outcome, by a performer whose rules name loopback
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from durasql_runtime.outcome import Outcome
from durasql_runtime.perform.http import HttpCall, HttpLimits, HttpPerformer
from durasql_runtime.policy import NodeType, Rule, Rules, Standing
from durasql_runtime.secrets import missing

Handler = Callable[["Seen", asyncio.StreamWriter], Awaitable[None]]

INSTALLATION = "11111111-2222-3333-4444-555555555555"


@dataclass(frozen=True)
class Seen:
    """A request as the server got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int

    def json(self) -> Any:
        return json.loads(self.body)


def ok(
    body: bytes = b"", content_type: str | None = "text/plain", status: str = "200 OK", **more: str
) -> bytes:
    """A whole response."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"Content-Type: {content_type}"] if content_type is not None else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@dataclass
class Site:
    """Answers by path; without an answer it echoes what it got as JSON."""

    port: int = 0
    scheme: str = "http"
    requests: list[Seen] = field(default_factory=list)
    handlers: dict[str, Handler] = field(default_factory=dict)
    connections: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    def answer(self, path: str, raw: bytes) -> None:
        """Send these bytes for a path."""

        async def handler(_seen: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(raw)

        self.handlers[path] = handler

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        try:
            while (seen := await self._read(reader, number)) is not None:
                self.requests.append(seen)
                self.arrived.set()
                await self.handlers.get(seen.path.partition("?")[0], _echo)(seen, writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.gone.set()
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, number: int) -> Seen | None:
        head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
        if not head:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Seen(method, path, headers, body, number)


async def _echo(seen: Seen, writer: asyncio.StreamWriter) -> None:
    document = {
        "method": seen.method,
        "path": seen.path,
        "headers": seen.headers,
        "body": seen.body.decode("utf-8", "replace"),
    }
    writer.write(ok(json.dumps(document).encode(), "application/json"))


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    running = Site()
    server = await asyncio.start_server(running.serve, "127.0.0.1", 0)
    running.port = server.sockets[0].getsockname()[1]
    yield running
    server.close()


@dataclass
class StaticPolicy:
    """The same standing for every role."""

    rules: Rules
    may_execute: bool = True
    limits: HttpLimits | None = None

    async def standing(self, role: str, node_type: NodeType) -> Standing:
        return Standing(self.may_execute, self.rules, INSTALLATION, self.limits)


@dataclass
class StaticSecrets:
    """Secrets in the clear."""

    values: Mapping[str, str]

    async def reveal(self, role: str, names: frozenset[str]) -> Mapping[str, str]:
        for name in names:
            if name not in self.values:
                raise missing(name, role)
        return {name: self.values[name] for name in names}


def call(url: str, *, node_type: NodeType = "HTTP", node: int = 3, gen: str = "", **config: Any) -> HttpCall:
    """A call whose references are left alone."""
    document = {"url": url, "method": "GET", **config}
    return HttpCall(
        node_type=node_type,
        query=json.dumps(document),
        role="alice",
        instance_id="0123abcd",
        node=node,
        gen=gen,
        substitution=lambda text: text,
        whole_value=lambda text: text,
    )


Perform = Callable[..., Awaitable[Outcome]]

LOOPBACK = Rules((Rule(1, True, "127.0.0.0/8"), Rule(2, True, "::1")), "loopback")


@dataclass
class Lab:
    """What tests need: make performers, run calls, and have all closed at the end."""

    performers: list[HttpPerformer] = field(default_factory=list)

    def performer(
        self,
        rules: Rules = LOOPBACK,
        *,
        may_execute: bool = True,
        limits: HttpLimits | None = None,
        secrets: Mapping[str, str] | None = None,
        **options: Any,
    ) -> HttpPerformer:
        made = HttpPerformer(
            StaticPolicy(rules, may_execute), StaticSecrets(secrets or {}), limits or HttpLimits(), **options
        )
        self.performers.append(made)
        return made

    async def perform(self, url: str, *, performer: HttpPerformer | None = None, **config: Any) -> Outcome:
        return await (performer or self.performer()).perform(call(url, **config))


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    laboratory = Lab()
    yield laboratory
    for performer in laboratory.performers:
        await performer.aclose()


@pytest.fixture
def perform(lab: Lab) -> Perform:
    return lab.perform
