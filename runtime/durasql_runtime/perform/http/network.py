"""Resolving, checking, dialling. In: a host and a port from the pool. Out: a stream to an address that was
checked.

The check sits between resolving and dialling inside one function, so the answer that was judged is the answer
that is dialled and a second lookup with another answer (DNS rebinding) cannot come in between. httpcore takes
it as its network backend; Host header and TLS name stay those of the URL.

A connection outlives the request it was made for, so a pool serves one role, one scheme and one state of the
rules: nobody can ride on a connection that their own rules would not have let them open.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeAlias

import httpcore
from httpcore import AnyIOBackend, AsyncNetworkBackend, AsyncNetworkStream

from durasql_runtime.addresses import Address, parse_address
from durasql_runtime.perform.http.call import Blocked
from durasql_runtime.policy import Rules, Target, Verdict, refusal

Resolver: TypeAlias = Callable[[str, int], Awaitable[list[str]]]
"""Host and port to the texts of its addresses, best first; raises OSError."""

SocketOption: TypeAlias = (
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
)

KEPT_IDLE = 100
"""Idle connections a pool keeps."""
IDLE_SECONDS = 15.0
"""How long an idle connection is kept; most servers close theirs later than that."""
MAX_POOLS = 256
"""Pools kept at once. Unused ones beyond that are closed, the longest unused first."""
POOL_SECONDS = 60.0
"""How long an unused pool is kept."""
_LOOKUP_THREADS = 16
_DIAL_SECONDS = 10.0
"""How long one of several addresses is tried before the next one is."""


class ThreadResolver:
    """getaddrinfo in threads of its own: slow names must not hold up the rest of the process."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOKUP_THREADS, thread_name_prefix="durasql-dns")

    async def __call__(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _look_up, host, port)
        return list(dict.fromkeys(found))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int) -> list[str]:
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [str(answer[4][0]) for answer in answers]


class CheckedBackend(AsyncNetworkBackend):
    """httpcore's way to the network, for one scheme and one set of rules."""

    def __init__(self, scheme: str, rules: Rules, resolver: Resolver) -> None:
        self._scheme = scheme
        self._rules = rules
        self._resolver = resolver
        self._dialler = AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 (httpcore's signature)
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> AsyncNetworkStream:
        """Raises Blocked when no address may be dialled, httpcore.ConnectError when none answers."""
        target = Target(self._scheme, host, port, parse_address(host))
        addresses = self._checked(target, await self._addresses(target))
        for address in addresses[:-1]:
            try:
                return await self._dialler.connect_tcp(str(address), port, timeout=_DIAL_SECONDS)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._dialler.connect_tcp(str(addresses[-1]), port, timeout=timeout)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _addresses(self, target: Target) -> list[Address]:
        if target.address is not None:
            return [target.address]
        try:
            found = await self._resolver(target.host, target.port)
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else "not a valid name"
            raise httpcore.ConnectError(f"could not resolve '{target.host}': {why}") from error
        return [address for text in found if (address := parse_address(text)) is not None]

    def _checked(self, target: Target, addresses: list[Address]) -> list[Address]:
        """The addresses that may be dialled. Those that may not are not named in the refusal."""
        decisions = [(address, self._rules.decide_address(target, address)) for address in addresses]
        allowed = [address for address, decision in decisions if decision.verdict is Verdict.ALLOWED]
        if allowed:
            return allowed
        if not decisions:
            raise httpcore.ConnectError(f"could not resolve '{target.host}': it has no usable address")
        message, hint = refusal(target, decisions[0][1])
        raise Blocked(message, hint=hint)


@dataclass(slots=True)
class Pool:
    """Connections of one role and scheme; `busy` counts the requests that use it."""

    digest: str
    connections: httpcore.AsyncConnectionPool
    busy: int = 0
    retired: bool = False
    used_at: float = 0.0


@dataclass(slots=True)
class Pools:
    """All pools of a worker. A pool whose rules are out of date is retired: closed once nothing uses it."""

    resolver: Resolver
    context: ssl.SSLContext
    proxied: Callable[[Target], httpcore.Proxy | None]
    _pools: dict[tuple[str, str, str], Pool] = field(default_factory=dict)

    async def take(self, role: str, target: Target, rules: Rules, *, use_proxy: bool) -> Pool:
        """The pool for a request; give it back with `give_back`."""
        proxy = self.proxied(target) if use_proxy else None
        key = (role, target.scheme, "" if proxy is None else str(proxy.url))
        known = self._pools.pop(key, None)
        current = known if known is not None and known.digest == rules.digest else None
        pool = current or Pool(rules.digest, self._open(target.scheme, rules, proxy))
        # Last in the dict is last used. No await before this line: two requests must not make two pools.
        self._pools[key] = pool
        pool.busy += 1
        if known is not None and known is not pool:
            await self._retire(known)
        await self._trim()
        return pool

    async def give_back(self, pool: Pool) -> None:
        """The request is over."""
        pool.busy -= 1
        pool.used_at = time.monotonic()
        if pool.retired and pool.busy == 0:
            await pool.connections.aclose()

    async def aclose(self) -> None:
        """Close everything."""
        pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            await pool.connections.aclose()

    def _open(self, scheme: str, rules: Rules, proxy: httpcore.Proxy | None) -> httpcore.AsyncConnectionPool:
        return httpcore.AsyncConnectionPool(
            ssl_context=self.context,
            proxy=proxy,
            # How many requests run at a time is the worker's business, not the pool's.
            max_connections=None,
            max_keepalive_connections=KEPT_IDLE,
            keepalive_expiry=IDLE_SECONDS,
            # With a proxy it is the proxy that resolves and dials; the operator asked for it.
            network_backend=None if proxy else CheckedBackend(scheme, rules, self.resolver),
        )

    async def _retire(self, pool: Pool) -> None:
        pool.retired = True
        if pool.busy == 0:
            await pool.connections.aclose()

    async def _trim(self) -> None:
        """Close pools that nobody has used for a while, and the oldest ones when there are too many."""
        idle = [key for key, pool in self._pools.items() if pool.busy == 0]
        too_many = len(self._pools) - MAX_POOLS
        old = time.monotonic() - POOL_SECONDS
        doomed = [key for n, key in enumerate(idle) if n < too_many or self._pools[key].used_at < old]
        for pool in [self._pools.pop(key) for key in doomed]:
            await self._retire(pool)


def reason(error: BaseException) -> str:
    """Why a connection failed, in the system's words and without the address that was dialled."""
    step: BaseException | None = error
    while step is not None:
        if isinstance(step, ssl.SSLError):
            return str(step.reason or step)
        if isinstance(step, OSError) and step.errno is not None and step.errno > 0:
            return os.strerror(step.errno)
        step = step.__cause__ or step.__context__
    return str(error) or "timed out"
