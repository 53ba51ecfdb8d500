"""OpenTelemetry's own variables. In: OTEL_*. Out: who we are, and which exporters are wanted."""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from typing import Any

from opentelemetry.sdk.resources import OTELResourceDetector, Resource

from durasql import __version__
from durasql.errors import NotInstalled


def resource(name: str) -> Resource:
    """This worker, called `name`; what the environment says wins."""
    described = {"service.name": "durasql", "service.instance.id": name, "service.version": __version__}
    return Resource.create().merge(Resource(described)).merge(OTELResourceDetector().detect())


def exporters(signal: str) -> list[Any]:
    """Classes of the exporters that OTEL_<SIGNAL>_EXPORTER names for `traces` or `metrics`; default: OTLP.

    Raises `NotInstalled`.
    """
    names = os.environ.get(f"OTEL_{signal.upper()}_EXPORTER", "otlp").split(",")
    return [_exporter(signal, name.strip()) for name in names if name.strip() not in ("", "none")]


def _exporter(signal: str, name: str) -> Any:
    group = f"opentelemetry_{signal}_exporter"
    if name == "otlp":
        name = "otlp_proto_grpc" if _protocol(signal) == "grpc" else "otlp_proto_http"
    for entry in entry_points(group=group, name=name):
        return entry.load()
    known = sorted({entry.name for entry in entry_points(group=group)})
    raise NotInstalled(
        f"no exporter {name!r} for OpenTelemetry's {signal} is installed",
        hint=f"OTEL_{signal.upper()}_EXPORTER and OTEL_EXPORTER_OTLP_PROTOCOL choose; installed:"
        f" {', '.join(known)}.",
    )


def _protocol(signal: str) -> str:
    own = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL")
    return own or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
