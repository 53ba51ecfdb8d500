"""How `durasql worker` is observed. In: its options. Out: an observer, an endpoint, a health check."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from durasql.cli import render
from durasql.extras import needing

if TYPE_CHECKING:
    from durasql.telemetry.address import Address
    from durasql.telemetry.endpoint import Endpoint
    from durasql.telemetry.meters import Meters
    from durasql.telemetry.tracing import Tracing
    from durasql_runtime.observe import Observer, Vitals
    from durasql_runtime.worker import Worker

log = logging.getLogger("durasql.telemetry")

_FAREWELL: Final = 3.0
"""Seconds for the last spans and metrics when a worker ends."""
_PATIENCE: Final = 8.0
"""Seconds until a worker that does not answer is called unwell."""


class ListenAddress(click.ParamType["Address"]):
    """PORT or ADDRESS:PORT."""

    name = "[address:]port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        from durasql.telemetry.address import Address

        try:
            return value if isinstance(value, Address) else Address.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@dataclass
class Observation:
    """What a worker is to tell its deeds, and what wants to know the worker itself."""

    observer: Observer
    shown: list[Callable[[Callable[[], Vitals]], None]] = field(default_factory=list)
    endpoint: Endpoint | None = None

    def attach(self, worker: Worker) -> None:
        """The worker exists; to be called on its event loop."""
        for show in self.shown:
            show(lambda: worker.vitals)
        if self.endpoint is not None:
            self.endpoint.attach(worker, asyncio.get_running_loop())


@contextmanager
def observed(name: str, address: Address | None, otel: bool) -> Iterator[Observation]:
    """As the options say, while the block runs. Raises `NotInstalled`, `CannotListen`."""
    from durasql_runtime.observe import SILENT, Several

    observers: list[Observer] = []
    with ExitStack() as stack:
        observation = Observation(SILENT)
        if address is not None:
            with needing("metrics", "--metrics"):
                from durasql.telemetry.endpoint import Endpoint
                from durasql.telemetry.metrics import Metrics
            metrics = Metrics()
            observation.endpoint = Endpoint(address, metrics)
            stack.callback(observation.endpoint.close)
            render.note(f"metrics are at {observation.endpoint.address}")
            observation.shown.append(partial(metrics.show, name))
            observers.append(metrics)
        if otel:
            with needing("otel", "--otel"):
                from durasql.telemetry.meters import Meters
                from durasql.telemetry.tracing import Tracing
            meters, tracing = Meters(name), Tracing(name)
            stack.callback(_close_soon, meters, tracing)
            observation.shown.append(meters.show)
            observers += [meters, tracing]
        if observers:
            observation.observer = observers[0] if len(observers) == 1 else Several(observers)
        yield observation


def _close_soon(*senders: Meters | Tracing) -> None:
    """Send the last of everything, as far as that goes in a few seconds: a collector that is away shall not
    keep a worker from ending.
    """
    threads = [threading.Thread(target=sender.close, daemon=True) for sender in senders]
    for thread in threads:
        thread.start()
    latest = time.monotonic() + _FAREWELL
    for thread in threads:
        thread.join(max(0.0, latest - time.monotonic()))
    if any(thread.is_alive() for thread in threads):
        log.warning("the last telemetry could not be sent in %g s", _FAREWELL)


def healthcheck(address: Address | None) -> int:
    """Ask a running worker whether it works; the exit code for Docker's HEALTHCHECK."""
    import httpx

    if address is None:
        raise click.UsageError("--healthcheck asks the worker that serves --metrics (or DURASQL_METRICS)")
    try:
        answer = httpx.get(address.url("/readyz"), timeout=_PATIENCE, trust_env=False)
    except httpx.HTTPError as error:
        render.problem(f"no worker answers at {address}: {error}")
        return 1
    if answer.status_code != 200:
        render.problem(f"the worker at {address} is not ready: {answer.text.strip()[:200]}")
        return 1
    render.line("ok")
    return 0
