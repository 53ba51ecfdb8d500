"""Response to result. In: a Reply. Out: the envelope's JSON text, or the failure a server error is.

    {"status": 200, "body": "...", "encoding": "text", "headers": {...}, "ok": true, "duration_ms": 12}

A body is text if its type says so or its bytes are UTF-8, else base64. It must fit into jsonb, which cannot
hold NUL: text with NUL in it becomes base64 whatever its type says, so that nothing is lost.
"""

from __future__ import annotations

import base64
import codecs
import json
import re
from dataclasses import dataclass

from durasql_runtime.perform.http.call import StepFailed
from durasql_runtime.perform.http.exchange import Reply, Request
from durasql_runtime.perform.http.redact import Redactor
from durasql_runtime.perform.retry_after import seconds_until

_TEXT_TYPES = frozenset(
    {
        "application/json",
        "application/xml",
        "application/javascript",
        "application/ecmascript",
        "application/x-www-form-urlencoded",
        "application/graphql",
        "application/yaml",
        "application/x-yaml",
    }
)
_TEXT_SUFFIXES = ("+json", "+xml", "+yaml")
_CHARSET = re.compile(r";\s*charset\s*=\s*[\"']?([A-Za-z0-9_.:-]+)", re.IGNORECASE)
# Python knows codecs that are no charsets (rot13, zlib, unicode_escape, …): only real ones may be named by a
# server.
_CHARSETS = re.compile(
    r"utf-?(8|16|32)(-?[bl]e)?|ascii|iso8859-\d+|cp\d{3,4}|koi8-[rut]|mac-\w+|gb(k|2312|18030)|big5(hkscs)?"
    r"|shift_jis(_2004|x0213)?|euc_(jp|kr)|iso2022_(jp|kr)\w*|johab|tis-620|hz"
)
_VISIBLE = re.compile(rb"[\x20-\x7e\t]*")
_PREVIEW_BYTES = 512


@dataclass(frozen=True, slots=True)
class _Text:
    body: str
    encoding: str


def envelope(reply: Reply, redactor: Redactor) -> str:
    """The result of a status below 500: compact JSON."""
    body = _body(reply, redactor)
    document = {
        "status": reply.status,
        "body": body.body,
        "encoding": body.encoding,
        "headers": _headers(reply, redactor),
        "ok": 200 <= reply.status < 300,
        "duration_ms": reply.milliseconds,
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def server_error(node_type: str, request: Request, reply: Reply, redactor: Redactor) -> StepFailed:
    """The failure that a status of 500 or more is, with the beginning of the body."""
    body = _body(reply, redactor)
    message = (
        f"{node_type} {request.method} {request.shown} returned {reply.status}: {_preview(body, reply.cut)}"
    )
    headers = _headers(reply, redactor)
    wait = seconds_until(headers.get("retry-after"), headers.get("date"))
    return StepFailed(message, http_status=reply.status, retry_after=wait)


def _preview(body: _Text, cut: bool) -> str:
    raw = body.body.encode("utf-8", "replace")
    if len(raw) <= _PREVIEW_BYTES:
        return body.body
    head = raw[:_PREVIEW_BYTES].decode("utf-8", "ignore")
    unit = "base64 characters" if body.encoding == "base64" else "bytes"
    return f"{head}... [truncated, {'more than ' if cut else ''}{len(raw)} {unit} total]"


def _headers(reply: Reply, redactor: Redactor) -> dict[str, str]:
    """Lower-case names, the last of repeated ones; what cannot be shown is left out.

    A body that was decompressed here no longer has the length and encoding its headers speak of.
    """
    hidden = {b"content-encoding", b"content-length"} if reply.decoded else set()
    return {
        name.lower().decode("ascii"): redactor.text(value.decode("ascii"))
        for name, value in reply.headers
        if name.lower() not in hidden and _VISIBLE.fullmatch(value)
    }


def _body(reply: Reply, redactor: Redactor) -> _Text:
    content_type = _content_type(reply)
    if _is_textual(content_type):
        text = redactor.text(_decode(reply.body, content_type))
        if "\x00" not in text:
            return _Text(text, "text")
    data = redactor.data(reply.body)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return _base64(data)
    return _base64(data) if "\x00" in text else _Text(text, "text")


def _base64(data: bytes) -> _Text:
    return _Text(base64.b64encode(data).decode("ascii"), "base64")


def _content_type(reply: Reply) -> str:
    values = [value for name, value in reply.headers if name.lower() == b"content-type"]
    return values[0].decode("latin-1") if values else ""


def _is_textual(content_type: str) -> bool:
    media_type = content_type.partition(",")[0].partition(";")[0].strip().lower()
    return media_type.startswith("text/") or media_type.endswith(_TEXT_SUFFIXES) or media_type in _TEXT_TYPES


def _decode(data: bytes, content_type: str) -> str:
    found = _CHARSET.search(content_type)
    return data.decode(_codec(found[1]) if found else "utf-8-sig", "replace")


def _codec(charset: str) -> str:
    """Python's name for a declared charset; UTF-8 for one that is unknown. Latin 1 on the web means Windows
    1252.
    """
    try:
        name = codecs.lookup(charset).name
    except LookupError:
        return "utf-8-sig"
    if name in ("ascii", "iso8859-1"):
        return "cp1252"
    return "utf-8-sig" if name == "utf-8" or not _CHARSETS.fullmatch(name) else name
