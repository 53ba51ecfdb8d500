"""Metrics in Prometheus' terms. In: what a worker tells its observer. Out: a registry to be scraped.

Labels are bounded: opcodes, outcomes, statuses. Roles and labels of instances are not among them; what
concerns those is asked of the database (docs/operations.md has the queries).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from durasql import __version__
from durasql.bytecode.program import Program
from durasql_runtime.claims import Claim
from durasql_runtime.machine import Activation
from durasql_runtime.observe import Vitals
from durasql_runtime.outcome import Done, Outcome

_BUCKETS: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 60, 300, 1800)
"""Seconds: from a statement that reads one row to a report of half an hour."""


class Metrics:
    """Counts what a worker does. `registry` is what `/metrics` shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._claims = self._counter("claims", "Batches of instances that were claimed.")
        self._claimed = self._counter("claimed_instances", "Instances that were claimed.")
        self.steps = self._counter("steps", "Steps that were performed, by outcome.", "op", "outcome")
        self.retries = self._counter("step_retries", "Attempts after a step's first one.", "op")
        self.waits = self._counter("waits", "Timers, schedules and signals that came.", "op", "outcome")
        self.finished = self._counter("instances_finished", "Instances that are over.", "status")
        self.seconds = Histogram(
            "durasql_step_seconds",
            "How long performing a step took.",
            ["op"],
            buckets=_BUCKETS,
            registry=self.registry,
        )

    def show(self, name: str, vitals: Callable[[], Vitals]) -> None:
        """Let the registry show a worker's present state as well; `vitals` is called for each scrape."""
        self.registry.register(_Gauges(name, vitals))

    def claimed(self, count: int) -> None:
        self._claims.inc()
        self._claimed.inc(count)

    def run(self, claim: Claim, program: Program | None) -> _Run:
        return _Run(self)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(f"durasql_{name}", documentation, labels, registry=self.registry)


class _Run:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def step(self, activation: Activation, attempt: int) -> _Step:
        op = activation.instruction.op.value
        if attempt > 1:
            self._metrics.retries.labels(op).inc()
        return _Step(self._metrics, op)

    def waited(self, op: str, node: int, outcome: Outcome) -> None:
        self._metrics.waits.labels(op, _word(outcome)).inc()

    def finished(self, outcome: Outcome, status: str) -> None:
        self._metrics.finished.labels(status).inc()

    def ended(self) -> None: ...


class _Step:
    __slots__ = ("_began", "_metrics", "_op")

    def __init__(self, metrics: Metrics, op: str) -> None:
        self._metrics, self._op = metrics, op
        self._began = time.perf_counter()

    def ended(self, outcome: Outcome | None) -> None:
        self._metrics.seconds.labels(self._op).observe(time.perf_counter() - self._began)
        self._metrics.steps.labels(self._op, _word(outcome)).inc()


def _word(outcome: Outcome | None) -> str:
    if outcome is None:
        return "interrupted"
    return "done" if isinstance(outcome, Done) else "failed"


class _Gauges(Collector):
    """A worker's state, read when it is asked for."""

    def __init__(self, name: str, vitals: Callable[[], Vitals]) -> None:
        self._name = name
        self._vitals = vitals

    def collect(self) -> Iterator[GaugeMetricFamily | InfoMetricFamily]:
        now = self._vitals()
        yield InfoMetricFamily(
            "durasql_worker", "The worker.", value={"name": self._name, "version": __version__}
        )
        yield _gauge("signed_on", "1 while the worker has a database.", now.signed_on)
        yield _gauge("draining", "1 when the worker was told to stop.", now.draining)
        yield _gauge("instances_running", "Instances in the worker's memory.", now.running)
        yield _gauge("lag_seconds", "For how long the first due instance has waited.", now.lag_seconds)
        sessions = GaugeMetricFamily("durasql_sessions", "Database sessions for steps.", labels=["state"])
        sessions.add_metric(["busy"], now.sessions_busy)
        sessions.add_metric(["idle"], now.sessions_idle)
        yield sessions


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"durasql_{name}", documentation, value)
