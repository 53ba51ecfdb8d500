"""P10: OpenTelemetry gets the same numbers as Prometheus."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from durasql.telemetry.meters import Meters


async def test_steps_ends_and_the_workers_state_are_sent(stage: Any) -> None:
    reader = InMemoryMetricReader()
    meters = Meters("w", MeterProvider([reader]))
    async with stage.worker(observer=meters) as worker:
        meters.show(lambda: worker.vitals)
        await stage.run("'SELECT 1' ~> 'SELECT 1 / 0'")
        points = read(reader)
    assert points["durasql.steps", "SQL", "done"] == 1
    assert points["durasql.steps", "SQL", "failed"] == 1
    assert points["durasql.instances.finished", "failed"] == 1
    assert points["durasql.worker.signed_on",] == 1
    assert points["durasql.step.duration", "SQL"] == 2
    assert ("durasql.lag",) in points


def read(reader: InMemoryMetricReader) -> dict[tuple[str, ...], float]:
    """Name and attributes -> value, or how many there are of a histogram."""
    data: Any = reader.get_metrics_data()
    return {
        (metric.name, *(point.attributes[key] for key in sorted(point.attributes))): getattr(
            point, "value", None
        )
        if hasattr(point, "value")
        else point.count
        for found in data.resource_metrics
        for scope in found.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }
