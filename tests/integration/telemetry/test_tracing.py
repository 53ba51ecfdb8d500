"""P10: one span per step, all of an instance in one trace, and nothing in them that a statement said."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from durasql.errors import NotInstalled
from durasql.telemetry.metrics import Metrics
from durasql.telemetry.tracing import Tracing, provider_of_environment
from durasql_runtime.observe import Several


@pytest.fixture
def exported() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exported: InMemorySpanExporter) -> Tracing:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    return Tracing("w", provider)


async def test_each_step_is_a_span_below_its_run(stage: Any, tracing: Any, exported: Any) -> None:
    async with stage.worker(observer=tracing):
        outcome = await stage.run("'SELECT 1' |=> 'a' ~> 'SELECT $a'")
    spans = exported.get_finished_spans()
    (run,) = [span for span in spans if span.name == "run"]
    steps = [span for span in spans if span.name == "SQL"]
    assert [step.attributes["durasql.pc"] for step in steps] == [0, 1]
    for step in steps:
        assert step.parent.span_id == run.context.span_id
        assert step.attributes["durasql.instance"] == outcome.id
        assert step.attributes["durasql.status"] == "done"
        assert step.attributes["durasql.attempt"] == 1
        assert step.attributes["durasql.role"] == stage.role
        assert step.attributes["db.system.name"] == "postgresql"
    assert run.attributes["durasql.status"] == "completed"


async def test_a_failed_step_tells_its_sqlstate_and_no_values(
    stage: Any, tracing: Any, exported: Any
) -> None:
    async with stage.worker(observer=tracing):
        await stage.run("$$SELECT 'secret'::int$$")
    spans = {span.name: span for span in exported.get_finished_spans()}
    assert spans["SQL"].status.status_code is StatusCode.ERROR
    assert spans["SQL"].attributes["error.type"] == "22P02"
    assert spans["run"].status.status_code is StatusCode.ERROR
    assert "secret" not in "".join(span.to_json() for span in spans.values())


async def test_an_instance_has_one_trace_whichever_workers_it_meets(
    stage: Any, tracing: Any, exported: Any
) -> None:
    async with stage.worker(observer=tracing):
        id_ = await stage.start_expression("'SELECT 1' ~> df.wait_for_signal('go') ~> 'SELECT 2'")
        await stage.until_parked(id_)
    async with stage.worker(observer=tracing):
        await stage.sql("SELECT df.signal(%s, 'go')", (id_,))
        await stage.outcome(id_)
        await stage.run("'SELECT 3'")
    spans = exported.get_finished_spans()
    own = {span.context.trace_id for span in spans if span.attributes["durasql.instance"] == id_}
    assert len(own) == 1
    assert len({span.context.trace_id for span in spans}) == 2
    assert "SIGNAL" in {span.name for span in spans}


async def test_a_step_that_lost_its_race_ends_as_interrupted(
    stage: Any, held: Any, tracing: Any, exported: Any
) -> None:
    async with stage.worker(observer=tracing):
        await stage.run(f"'{held('loser', 60)}' | 'SELECT 1'")
    statuses = {span.attributes["durasql.status"] for span in exported.get_finished_spans()}
    assert statuses == {"interrupted", "done", "completed"}


async def test_metrics_and_spans_go_together(stage: Any, tracing: Any, exported: Any) -> None:
    metrics = Metrics()
    async with stage.worker(observer=Several([metrics, tracing])):
        await stage.run("'SELECT 1'")
    assert len(exported.get_finished_spans()) == 2
    assert metrics.registry.get_sample_value("durasql_steps_total", {"op": "SQL", "outcome": "done"}) == 1


def test_the_environment_names_service_and_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert provider_of_environment("w").resource.attributes["service.name"] == "durasql"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "nightly")
    resource = provider_of_environment("w").resource
    assert resource.attributes["service.name"] == "nightly"
    assert resource.attributes["service.instance.id"] == "w"


def test_an_exporter_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "carrier-pigeon")
    with pytest.raises(NotInstalled, match="carrier-pigeon") as caught:
        provider_of_environment("w")
    assert "otlp_proto_http" in (caught.value.hint or "")


def test_a_worker_prints_its_spans_where_the_environment_says_so(database: Any, worker_process: Any) -> None:
    with database.connect() as connection:
        (id_,) = connection.execute("SELECT df.start('SELECT 1')").fetchone()
        worker = worker_process(
            None, "--otel", OTEL_TRACES_EXPORTER="console", OTEL_METRICS_EXPORTER="console"
        )
        connection.execute("SELECT df.await_instance(%s)", (id_,))
    worker.terminate()
    out, _ = worker.communicate()
    assert f'"durasql.instance": "{id_}"' in out
    assert '"service.name": "durasql"' in out
    assert '"durasql.instances.running"' in out


def test_a_collector_that_never_answers_does_not_keep_a_worker_from_ending(
    database: Any, worker_process: Any
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, database.connect() as connection:
        collector = f"http://127.0.0.1:{silent.getsockname()[1]}"
        (id_,) = connection.execute("SELECT df.start('SELECT 1')").fetchone()
        worker = worker_process(None, "--otel", OTEL_EXPORTER_OTLP_ENDPOINT=collector)
        connection.execute("SELECT df.await_instance(%s)", (id_,))
        worker.terminate()
        _, said = worker.communicate()
    assert worker.returncode == 0
    assert "the last telemetry could not be sent" in said
