"""The node's config to a draft. In: an HttpCall. Out: a Draft, all references resolved, secrets still as
tokens.

The config may have been written by hand, so nothing about its shape is taken for granted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from durasql_runtime.perform.http.call import HttpCall, Invalid
from durasql_runtime.perform.http.headers import HeaderError, check
from durasql_runtime.perform.http.multipart import PartDraft, draft_parts
from durasql_runtime.perform.http.placeholders import Placeholders
from durasql_runtime.substitute import SubstituteError

_METHODS = {
    "HTTP": ("GET", "POST", "PUT", "DELETE", "PATCH"),
    "HTTP_MULTIPART": ("POST", "PUT", "PATCH"),
}
_DEFAULT_TIMEOUT = 30


@dataclass(frozen=True, slots=True)
class Draft:
    """A request before its secrets. Exactly one of `body` and `parts` can be set; `timeout` is in seconds."""

    method: str
    url: str
    headers: dict[str, str]
    body: str | None
    parts: tuple[PartDraft, ...] | None
    timeout: int


def draft(call: HttpCall, placeholders: Placeholders) -> Draft:
    """Raises Invalid for a config that is none and for a reference that cannot be resolved."""
    kind = "multipart HTTP" if call.is_multipart else "HTTP"
    config = _Config(kind, _object(kind, call.query))

    def resolve(template: str) -> str:
        return call.substitution(placeholders.hide(template))

    with _resolving():
        body = None if call.is_multipart else _resolved(config.text("body"), resolve)
        url = resolve(config.required("url"))
        method = _method(call, config.required("method"))
        headers = _headers(config.fields.get("headers"), placeholders.show(url), resolve)
        parts = draft_parts(call, config.fields, placeholders) if call.is_multipart else None
    return Draft(method, url, headers, body, parts, config.timeout())


@contextmanager
def _resolving() -> Iterator[None]:
    try:
        yield
    except SubstituteError as error:
        raise Invalid(str(error)) from error


def _resolved(template: str | None, resolve: Callable[[str], str]) -> str | None:
    return None if template is None else resolve(template)


def _object(kind: str, text: str) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"Invalid {kind} config: {error}") from error
    if not isinstance(fields, dict):
        raise Invalid(f"Invalid {kind} config: it must be a JSON object")
    return fields


@dataclass(frozen=True, slots=True)
class _Config:
    """The fields with their checks; `kind` begins the messages."""

    kind: str
    fields: dict[str, Any]

    def text(self, name: str) -> str | None:
        value = self.fields.get(name)
        if value is not None and not isinstance(value, str):
            raise Invalid(f"Invalid {self.kind} config: `{name}` must be a string")
        return value

    def required(self, name: str) -> str:
        value = self.text(name)
        if value is None:
            raise Invalid(f"Invalid {self.kind} config: missing field `{name}`")
        return value

    def timeout(self) -> int:
        value = self.fields.get("timeout_seconds", _DEFAULT_TIMEOUT)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Invalid(f"Invalid {self.kind} config: `timeout_seconds` must be an integer")
        if value <= 0:
            raise Invalid("Timeout must be positive")
        return value


def _method(call: HttpCall, method: str) -> str:
    if method not in _METHODS[call.node_type]:
        what = "HTTP method for multipart" if call.is_multipart else "HTTP method"
        raise Invalid(f"Unsupported {what}: {method}")
    return method


def _headers(given: Any, url: str, resolve: Callable[[str], str]) -> dict[str, str]:
    if given is None:
        return {}
    try:
        if not isinstance(given, dict):
            raise HeaderError("headers must be a JSON object")
        return {name: check(name, _resolve_value(given[name], resolve)) for name in sorted(given)}
    except HeaderError as error:
        raise Invalid(f"HTTP request failed: {url} - {error}") from error


def _resolve_value(value: object, resolve: Callable[[str], str]) -> object:
    return resolve(value) if isinstance(value, str) else value
