"""Metrics in OpenTelemetry's terms: the same numbers as `metrics`, sent instead of scraped.

In: what a worker tells its observer. Out: counters, a histogram and gauges, by way of a provider.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

from durasql import __version__
from durasql.bytecode.program import Program
from durasql.telemetry.environment import exporters, resource
from durasql_runtime.claims import Claim
from durasql_runtime.machine import Activation
from durasql_runtime.observe import Vitals
from durasql_runtime.outcome import Done, Outcome


class Meters:
    """Counts what a worker does and hands it to a provider."""

    def __init__(self, name: str, provider: MeterProvider | None = None) -> None:
        self.provider = provider or _provider_of_environment(name)
        self._meter = self.provider.get_meter("durasql", __version__)
        self._claimed = self._meter.create_counter("durasql.instances.claimed")
        self.finished = self._meter.create_counter("durasql.instances.finished")
        self.steps = self._meter.create_counter("durasql.steps")
        self.retries = self._meter.create_counter("durasql.step.retries")
        self.waits = self._meter.create_counter("durasql.waits")
        self.seconds = self._meter.create_histogram("durasql.step.duration", unit="s")

    def show(self, vitals: Callable[[], Vitals]) -> None:
        """Send a worker's present state as well; `vitals` is called for each export, on another thread."""
        for name, unit, read in _GAUGES:
            self._meter.create_observable_gauge(name, [_reading(read, vitals)], unit=unit)

    def claimed(self, count: int) -> None:
        self._claimed.add(count)

    def run(self, claim: Claim, program: Program | None) -> _Run:
        return _Run(self)

    def close(self) -> None:
        """Send what has not been sent yet."""
        self.provider.shutdown()


class _Run:
    def __init__(self, meters: Meters) -> None:
        self._meters = meters

    def step(self, activation: Activation, attempt: int) -> _Step:
        op = activation.instruction.op.value
        if attempt > 1:
            self._meters.retries.add(1, {"durasql.op": op})
        return _Step(self._meters, op)

    def waited(self, op: str, node: int, outcome: Outcome) -> None:
        self._meters.waits.add(1, {"durasql.op": op, "durasql.status": _word(outcome)})

    def finished(self, outcome: Outcome, status: str) -> None:
        self._meters.finished.add(1, {"durasql.status": status})

    def ended(self) -> None: ...


class _Step:
    __slots__ = ("_began", "_meters", "_op")

    def __init__(self, meters: Meters, op: str) -> None:
        self._meters, self._op = meters, op
        self._began = time.perf_counter()

    def ended(self, outcome: Outcome | None) -> None:
        self._meters.seconds.record(time.perf_counter() - self._began, {"durasql.op": self._op})
        self._meters.steps.add(1, {"durasql.op": self._op, "durasql.status": _word(outcome)})


_GAUGES: tuple[tuple[str, str, Callable[[Vitals], float]], ...] = (
    ("durasql.worker.signed_on", "1", lambda now: now.signed_on),
    ("durasql.instances.running", "1", lambda now: now.running),
    ("durasql.sessions.busy", "1", lambda now: now.sessions_busy),
    ("durasql.sessions.idle", "1", lambda now: now.sessions_idle),
    ("durasql.lag", "s", lambda now: now.lag_seconds),
)


def _reading(
    read: Callable[[Vitals], float], vitals: Callable[[], Vitals]
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    return lambda _: [Observation(read(vitals()))]


def _word(outcome: Outcome | None) -> str:
    if outcome is None:
        return "interrupted"
    return "done" if isinstance(outcome, Done) else "failed"


def _provider_of_environment(name: str) -> MeterProvider:
    readers = [PeriodicExportingMetricReader(exporter()) for exporter in exporters("metrics")]
    return MeterProvider(readers, resource(name), shutdown_on_exit=False)
