"""Parts of df.http_multipart. In: the config's `parts`. Out: the body's bytes, and its content type.

The boundary is derived from the Idempotency-Key, so every attempt sends the same bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from durasql_runtime.perform.http.call import HttpCall, Invalid
from durasql_runtime.perform.http.placeholders import Placeholders

_MEDIA_TYPE = re.compile(
    r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+"
    r"(\s*;\s*[!#$%&'*+.^_`|~0-9A-Za-z-]+=([!#$%&'*+.^_`|~0-9A-Za-z-]+|\"[^\"\\\x00-\x1f\x7f]*\"))*"
)
_WHOLE_SECRET = re.compile(r"\s*\{secret:[A-Za-z_][A-Za-z0-9_.-]*\}\s*")
_NAME = "[A-Za-z_][A-Za-z0-9_]*"
_WHOLE_REFERENCE = re.compile(rf"\s*(\${_NAME}(\.{_NAME})?\??|\{{{_NAME}\}})\s*")
_WHITESPACE = re.compile(r"[ \t\n\r\f\v]+")


@dataclass(frozen=True, slots=True)
class PartDraft:
    """One part before its secrets; `data_b64` is base64 text, maybe with white space or a secret's token."""

    name: str
    data_b64: str
    filename: str | None
    content_type: str | None


@dataclass(frozen=True, slots=True)
class Part:
    """One part as it is sent."""

    name: str
    data: bytes
    filename: str | None
    content_type: str | None


def draft_parts(
    call: HttpCall, config: Mapping[str, Any], placeholders: Placeholders
) -> tuple[PartDraft, ...]:
    """Resolve the references of all parts; raises Invalid and SubstituteError."""
    if "parts" not in config:
        raise _invalid("missing field `parts`")
    given = config["parts"]
    if not isinstance(given, list):
        raise _invalid("parts must be a JSON array of part objects")
    if not given:
        raise _invalid("parts must contain at least one part")
    return tuple(_draft(call, fields, placeholders) for fields in given)


def decode(part: PartDraft, data_b64: str) -> Part:
    """The part with its payload; `data_b64` has its secret revealed."""
    try:
        # encode(x, 'base64') of PostgreSQL wraps its lines.
        data = base64.b64decode(_WHITESPACE.sub("", data_b64).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise Invalid(f"Invalid base64 in part '{part.name}': {_why(error)}") from error
    return Part(part.name, data, part.filename, part.content_type)


def encode(parts: tuple[Part, ...], seed: str) -> tuple[bytes, str]:
    """Body and content type."""
    boundary = _boundary(parts, seed)
    chunks: list[bytes] = []
    for part in parts:
        chunks += [b"--", boundary, b"\r\n", _head(part), b"\r\n", part.data, b"\r\n"]
    chunks += [b"--", boundary, b"--\r\n"]
    return b"".join(chunks), f"multipart/form-data; boundary={boundary.decode()}"


def _draft(call: HttpCall, fields: Any, placeholders: Placeholders) -> PartDraft:
    if not isinstance(fields, dict):
        raise _invalid("a part must be a JSON object")
    name = call.substitution(_text(fields, "name", required=True) or "")
    filename = _text(fields, "filename")
    data = _text(fields, "data_b64", required=True) or ""
    return PartDraft(
        name,
        _payload(call, name, data, placeholders),
        None if filename is None else call.substitution(filename),
        _content_type(name, _text(fields, "content_type")),
    )


def _payload(call: HttpCall, name: str, text: str, placeholders: Placeholders) -> str:
    if _WHOLE_SECRET.fullmatch(text):
        return placeholders.hide(text)
    if "$" not in text and "{" not in text:
        return text
    value = call.whole_value(text) if _WHOLE_REFERENCE.fullmatch(text) else None
    if value is None:
        raise Invalid(
            f"HTTP_MULTIPART node {call.node:08x}: data_b64 for part '{name}' mixes a variable reference"
            " with other text. Only a whole-value reference is supported"
            " ($name, $name?, $name.col, $name.col? or {var})."
        )
    return value


def _text(fields: Mapping[str, Any], key: str, *, required: bool = False) -> str | None:
    value = fields.get(key)
    if value is None and required:
        raise _invalid(f"missing field `{key}`")
    if value is not None and not isinstance(value, str):
        raise _invalid(f"`{key}` of a part must be a string")
    return value


def _content_type(name: str, value: str | None) -> str | None:
    if value is not None and not _MEDIA_TYPE.fullmatch(value):
        raise Invalid(f"Invalid content_type for part '{name}': it must be a media type such as image/png")
    return value


def _boundary(parts: tuple[Part, ...], seed: str) -> bytes:
    """Derived from the seed and in none of the payloads, so that no payload can pretend to be a part."""
    boundary = seed.encode()
    while True:
        boundary = hashlib.sha256(boundary).hexdigest().encode()
        if not any(boundary in part.data for part in parts):
            return boundary


def _head(part: Part) -> bytes:
    lines = [f'Content-Disposition: form-data; name="{_quoted(part.name)}"']
    content_type = part.content_type
    if part.filename is not None:
        lines[0] += f'; filename="{_quoted(part.filename)}"'
        content_type = content_type or "application/octet-stream"
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    return "".join(f"{line}\r\n" for line in lines).encode("utf-8", "replace")


def _quoted(text: str) -> str:
    """As browsers do it: quotes and line breaks cannot end the header."""
    escaped = text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    return "".join(char for char in escaped if char >= " " and char != "\x7f")


def _why(error: Exception) -> str:
    return (
        "it has characters outside the base64 alphabet"
        if isinstance(error, UnicodeEncodeError)
        else str(error)
    )


def _invalid(what: str) -> Invalid:
    return Invalid(f"Invalid multipart HTTP config: {what}")
