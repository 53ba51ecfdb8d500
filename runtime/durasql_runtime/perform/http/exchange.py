"""One exchange on the wire. In: a Request and a pool. Out: a Reply, its body within the limits.

One clock runs from the first byte of connecting to the last byte of the body.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

import httpcore

from durasql_runtime.perform.http.body import BROKEN, read
from durasql_runtime.perform.http.call import StepFailed
from durasql_runtime.perform.http.headers import Pairs
from durasql_runtime.perform.http.network import KEPT_IDLE, reason
from durasql_runtime.perform.http.target import Place
from durasql_runtime.policy import HttpLimits


@dataclass(frozen=True, slots=True)
class Request:
    """Ready to be sent. `shown` is the URL as messages show it, `timeout` in seconds."""

    method: str
    place: Place
    shown: str
    headers: Pairs
    content: bytes | None
    timeout: int
    timeout_hint: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `cut` says that the body went on beyond the limit (only kept for failures)."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    milliseconds: int
    cut: bool = False
    decoded: bool = False


async def exchange(pool: httpcore.AsyncConnectionPool, request: Request, limits: HttpLimits) -> Reply:
    """Send and read. Raises StepFailed with the phrase for whatever went wrong."""
    started = time.monotonic()
    progress = _Progress()
    try:
        async with asyncio.timeout(request.timeout):
            response = await _send(pool, request)
            progress.in_body = True
            body = await read(response, limits.max_response_bytes)
    except TimeoutError as error:
        raise _timed_out(request, progress.in_body) from error
    elapsed = round((time.monotonic() - started) * 1000)
    return Reply(response.status, response.headers, body.data, elapsed, body.cut, body.decoded)


@dataclass(slots=True)
class _Progress:
    in_body: bool = False


def _timed_out(request: Request, in_body: bool) -> StepFailed:
    if in_body:
        return StepFailed(
            f"Failed to read response body: it was not complete after {request.timeout}s: {request.shown}",
            hint=request.timeout_hint,
            reason="timeout",
        )
    message = f"HTTP timeout after {request.timeout}s: {request.shown}"
    return StepFailed(message, hint=request.timeout_hint, reason="timeout")


async def _send(pool: httpcore.AsyncConnectionPool, request: Request) -> httpcore.Response:
    """To the response's headers.

    A server may close an idle connection just when it is used again. Nothing was answered then, and
    the request carries its Idempotency-Key, so it is sent again on the next connection; a failure of
    a fresh connection is final. Every such failure uses up one idle connection, so this ends.
    """
    for _ in range(KEPT_IDLE):
        fresh = _Fresh()
        try:
            return await pool.handle_async_request(_core_request(request, fresh))
        except (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.ProxyError) as error:
            message = f"HTTP connection failed: {request.shown} - {reason(error)}"
            raise StepFailed(message, reason="connection") from error
        except BROKEN as error:
            if fresh.dialled or isinstance(error, httpcore.LocalProtocolError):
                message = f"HTTP request failed: {request.shown} - {reason(error)}"
                raise StepFailed(message, reason="connection") from error
    message = f"HTTP request failed: {request.shown} - the server closed every connection"
    raise StepFailed(message, reason="connection")


class _Fresh:
    """Notes whether a connection was made for the request."""

    def __init__(self) -> None:
        self.dialled = False

    async def trace(self, event: str, _info: Mapping[str, object]) -> None:
        if event.startswith("connection.connect_tcp"):
            self.dialled = True


def _core_request(request: Request, fresh: _Fresh) -> httpcore.Request:
    url = request.place.url
    return httpcore.Request(
        request.method,
        httpcore.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=request.place.target.port, target=url.raw_path
        ),
        headers=request.headers,
        content=request.content,
        extensions={"trace": fresh.trace},
    )
