"""Spans in OpenTelemetry's terms. In: what a worker tells its observer. Out: one span per step.

All spans of an instance are in one trace, whichever workers they come from: the trace's number is derived
from the instance. Below it there is one span for each stay of the instance in a worker's hands, and below
that the steps. Spans say what was done, when, how often and how it ended, never statements or values.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context

from durasql import __version__
from durasql.bytecode.opcodes import OPCODES, Op
from durasql.bytecode.program import Program
from durasql.telemetry.environment import exporters, resource
from durasql_runtime.claims import Claim
from durasql_runtime.machine import Activation
from durasql_runtime.outcome import Done, Failed, Outcome

_CALLS: Final = frozenset({Op.SQL, Op.HTTP, Op.HTTP_MULTIPART})


class _InstanceIds(RandomIdGenerator):
    """Random numbers, but for a trace that is known beforehand."""

    trace: int | None = None

    def generate_trace_id(self) -> int:
        known, self.trace = self.trace, None
        return known or super().generate_trace_id()


class Tracing:
    """Makes spans of what a worker does and hands them to a provider."""

    def __init__(self, name: str, provider: TracerProvider | None = None) -> None:
        self._ids = _InstanceIds()
        self.provider = provider or provider_of_environment(name)
        # A provider takes its numbers from one generator; ours is random wherever nothing is set.
        self.provider.id_generator = self._ids
        self._tracer = self.provider.get_tracer("durasql", __version__)

    def claimed(self, count: int) -> None: ...

    def run(self, claim: Claim, program: Program | None) -> _Run:
        self._ids.trace = trace_id(claim)
        span = self._tracer.start_span("run", attributes=_of_instance(claim))
        return _Run(self._tracer, span, claim, program)

    def close(self) -> None:
        """Send what has not been sent yet."""
        self.provider.shutdown()


class _Run:
    def __init__(self, tracer: Any, span: Any, claim: Claim, program: Program | None) -> None:
        self._tracer, self._span = tracer, span
        self._pcs = _leaves(program) if program is not None and span.is_recording() else {}
        self._attributes = _of_instance(claim)
        self._context = set_span_in_context(span)

    def step(self, activation: Activation, attempt: int) -> _Step:
        instruction = activation.instruction
        attributes = {
            **self._attributes,
            "durasql.op": instruction.op.value,
            "durasql.node": instruction.node,
            "durasql.generation": activation.key[1],
            "durasql.attempt": attempt,
        }
        if instruction.node in self._pcs:
            attributes["durasql.pc"] = self._pcs[instruction.node]
        if instruction.op is Op.SQL:
            attributes["db.system.name"] = "postgresql"
        kind = SpanKind.CLIENT if instruction.op in _CALLS else SpanKind.INTERNAL
        span = self._tracer.start_span(instruction.op.value, self._context, kind, attributes)
        return _Step(span)

    def waited(self, op: str, node: int, outcome: Outcome) -> None:
        """A span without length: the wait was no work, and may have begun on another worker."""
        attributes = {**self._attributes, "durasql.op": op, "durasql.node": node}
        _Step(self._tracer.start_span(op, self._context, attributes=attributes)).ended(outcome)

    def finished(self, outcome: Outcome, status: str) -> None:
        _judge(self._span, outcome, status)

    def ended(self) -> None:
        self._span.end()


class _Step:
    __slots__ = ("_span",)

    def __init__(self, span: Any) -> None:
        self._span = span

    def ended(self, outcome: Outcome | None) -> None:
        if outcome is None:
            self._span.set_attribute("durasql.status", "interrupted")
        else:
            _judge(self._span, outcome, "done" if isinstance(outcome, Done) else "failed")
        self._span.end()


def trace_id(claim: Claim) -> int:
    """The same on every worker. The program is in it because two databases may use the same instance id."""
    return int.from_bytes(sha256(f"{claim.program}/{claim.owner}/{claim.id}".encode()).digest()[:16])


def provider_of_environment(name: str) -> TracerProvider:
    """A provider as the variables OTEL_* describe it; `name` is the worker's. Raises `NotInstalled`."""
    provider = TracerProvider(resource=resource(name), shutdown_on_exit=False)
    for exporter in exporters("traces"):
        provider.add_span_processor(BatchSpanProcessor(exporter()))
    return provider


def _leaves(program: Program) -> dict[int, int]:
    """Node -> program counter of the steps and waits."""
    return {
        instruction.node: pc for pc, instruction in enumerate(program.code) if OPCODES[instruction.op].leaf
    }


def _of_instance(claim: Claim) -> dict[str, Any]:
    known = {
        "durasql.instance": claim.id,
        "durasql.label": claim.label,
        "durasql.role": claim.role,
        "db.namespace": claim.database,
    }
    return {name: value for name, value in known.items() if value is not None}


def _judge(span: Any, outcome: Outcome, status: str) -> None:
    span.set_attribute("durasql.status", status)
    if isinstance(outcome, Failed):
        # Not the message: it may quote values.
        cause = outcome.sqlstate or (str(outcome.http_status) if outcome.http_status else "_OTHER")
        span.set_attribute("error.type", cause)
        span.set_status(StatusCode.ERROR)
