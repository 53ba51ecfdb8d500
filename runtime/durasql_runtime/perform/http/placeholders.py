"""Secrets while a request is built. In: templates with `{secret:name}`. Out: texts with values, and texts
without.

A placeholder counts only where the author of the workflow wrote it. So it is swapped for an unguessable token
before `$names` and `{vars}` are resolved, and the token for the value after that: a row or a response that
contains the text `{secret:api_key}` is data and stays so.
"""

from __future__ import annotations

import base64
import html
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from urllib.parse import quote, quote_plus

from durasql_runtime.outcome import Failed
from durasql_runtime.secrets import SHORTEST

_PLACEHOLDER = re.compile(r"\{secret:([A-Za-z_][A-Za-z0-9_.-]*)\}")


# One number per process: tokens never leave it, and compiled templates with tokens in them can be remembered.
_NONCE = secrets.token_hex(16)

_TELLING = 8
"""Characters from which on a part of a secret is hidden by itself."""


class Placeholders:
    """The secrets of one request. Tokens are private-use characters around a random number."""

    def __init__(self) -> None:
        self._tokens: dict[str, str] = {}

    @property
    def names(self) -> frozenset[str]:
        """Names of all secrets met by `hide`."""
        return frozenset(self._tokens)

    def hide(self, template: str) -> str:
        """The template with tokens instead of placeholders."""
        if "{secret:" not in template:
            return template
        return _PLACEHOLDER.sub(lambda found: self._token(found[1]), template)

    def reveal(self, text: str, values: Mapping[str, str]) -> str:
        """The text with values instead of tokens."""
        for name, token in self._tokens.items():
            text = text.replace(token, values[name])
        return text

    def show(self, text: str) -> str:
        """The text with placeholders again, for messages."""
        return self.reveal(text, {name: f"{{secret:{name}}}" for name in self._tokens})

    def _token(self, name: str) -> str:
        return self._tokens.setdefault(name, f"\ue000{_NONCE}:{name}\ue001")


class Redactor:
    """Takes secrets out of whatever comes back: servers echo headers, libraries quote their input."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._shapes: dict[str, str] = {}
        self._failure_shapes: dict[str, str] = {}
        for name, value in values.items():
            for piece in _pieces(value):
                self._shapes |= dict.fromkeys(_shapes(piece), f"{{secret:{name}}}")
        self._sort()

    def hide(self, text: str) -> None:
        """Take out one more text, made of secrets."""
        self._shapes[text] = "***"
        self._sort()

    def hide_in_failures(self, text: str) -> None:
        """Take out one more text, but only of failures: results may well speak of it."""
        self._failure_shapes[text] = "***"

    def text(self, text: str) -> str:
        """The text with `{secret:name}` wherever a secret stood, plain or in a usual encoding."""
        for shape, placeholder in self._shapes.items():
            text = text.replace(shape, placeholder)
        return text

    def data(self, data: bytes) -> bytes:
        """The same for bytes."""
        for shape, placeholder in self._shapes.items():
            data = data.replace(shape.encode("utf-8", "replace"), placeholder.encode())
        return data

    def failed(self, failed: Failed) -> Failed:
        """The failure without secrets and without characters that PostgreSQL cannot store."""
        return Failed(
            self._clean(failed.message),
            detail=failed.detail and self._clean(failed.detail),
            hint=failed.hint and self._clean(failed.hint),
            http_status=failed.http_status,
        )

    def _clean(self, text: str) -> str:
        text = self.text(text)
        for shape, stand_in in self._failure_shapes.items():
            text = text.replace(shape, stand_in)
        return text.replace("\x00", "\\x00").encode("utf-8", "replace").decode()

    def _sort(self) -> None:
        """Longest first, so that no shape is broken up by a shorter one inside it."""
        self._shapes = dict(sorted(self._shapes.items(), key=lambda item: -len(item[0])))


def _pieces(value: str) -> Iterator[str]:
    """The value, and parts of it that are as telling: lines, what follows a host, what base64 hides."""
    yield value
    yield from (line.strip() for line in value.splitlines() if len(line.strip()) >= _TELLING)
    _, found, rest = value.partition("://")
    if found:
        path = rest.lstrip("/").partition("/")[2]
        yield from (piece for piece in (path, path.partition("?")[2]) if len(piece) >= _TELLING)
    with suppress(ValueError):
        decoded = base64.b64decode(value, validate=True).decode("utf-8")
        if len(decoded) >= _TELLING:
            yield decoded


def _shapes(value: str) -> set[str]:
    """How a secret may look in what a server or a library says."""
    raw = value.encode("utf-8", "replace")
    shapes = {
        value,
        value.strip(),
        value.lower(),
        quote(value),
        quote(value, safe=""),
        quote_plus(value),
        html.escape(value),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode(),
    }
    return {shape for shape in shapes if len(shape) >= SHORTEST}
