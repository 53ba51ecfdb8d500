"""How `durasql worker` is observed. In: its options. Out: an observer, an endpoint, a health check."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from durasql.cli import render
from durasql.extras import needing

if TYPE_CHECKING:
    from durasql.telemetry.address import Address
    from durasql.telemetry.endpoint import Endpoint
    from durasql.telemetry.metrics import Metrics
    from durasql_runtime.observe import Observer
    from durasql_runtime.worker import Worker

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
    _name: str
    _metrics: Metrics | None = None
    _endpoint: Endpoint | None = None

    def attach(self, worker: Worker) -> None:
        """The worker exists; to be called on its event loop."""
        if self._metrics is not None and self._endpoint is not None:
            self._metrics.show(self._name, lambda: worker.vitals)
            self._endpoint.attach(worker, asyncio.get_running_loop())


@contextmanager
def observed(name: str, address: Address | None, otel: bool) -> Iterator[Observation]:
    """As the options say, while the block runs. Raises `NotInstalled`, `CannotListen`."""
    from durasql_runtime.observe import SILENT, Several

    observers: list[Observer] = []
    with ExitStack() as stack:
        observation = Observation(SILENT, name)
        if address is not None:
            with needing("metrics", "--metrics"):
                from durasql.telemetry.endpoint import Endpoint
                from durasql.telemetry.metrics import Metrics
            metrics = Metrics()
            endpoint = Endpoint(address, metrics)
            stack.callback(endpoint.close)
            render.note(f"metrics are at {endpoint.address}")
            observation = Observation(SILENT, name, metrics, endpoint)
            observers.append(metrics)
        if otel:
            with needing("otel", "--otel"):
                from durasql.telemetry.tracing import Tracing
            tracing = Tracing(name)
            stack.callback(tracing.close)
            observers.append(tracing)
        if observers:
            observation.observer = observers[0] if len(observers) == 1 else Several(observers)
        yield observation


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
