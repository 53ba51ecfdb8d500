"""Headers of a request. In: the config's `headers`, substituted. Out: name and value pairs in bytes,
complete.

Nothing is dropped silently: a header that cannot be sent fails the step, and so does one that would let a
workflow decide about framing or about the host, which are the client's business.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping

from durasql import __version__
from durasql_runtime.perform.http.call import HttpCall

Pairs = list[tuple[bytes, bytes]]

USER_AGENT = f"durasql/{__version__}"

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ILLEGAL_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_OURS = frozenset(
    {
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "keep-alive",
        "expect",
        "proxy-connection",
        "proxy-authorization",
    }
)


class HeaderError(Exception):
    """A header that cannot be sent; the text names the header, never its value."""


def idempotency_key(call: HttpCall, installation: str) -> str:
    """The same for every attempt of one step, different for any other step anywhere."""
    space = uuid.uuid5(uuid.NAMESPACE_OID, installation)
    return str(uuid.uuid5(space, f"{call.instance_id}/{call.node}/{call.gen}"))


def check(name: str, value: object) -> str:
    """The value to send, or HeaderError."""
    if not _TOKEN.fullmatch(name):
        raise HeaderError(f"header name {_safe(name)} is not valid")
    if not isinstance(value, str):
        raise HeaderError(f"the value of header '{name}' must be a string")
    if _ILLEGAL_VALUE.search(value):
        raise HeaderError(f"the value of header '{name}' contains a line break or another control character")
    if name.lower() in _OURS:
        raise HeaderError(f"header '{name}' cannot be set: it belongs to the connection")
    return value.strip(" \t")


def complete(given: Mapping[str, str], host: str, length: int | None, defaults: Mapping[str, str]) -> Pairs:
    """All headers: Host first, then the user's as given, then the defaults the user did not name."""
    length_text = None if length is None else str(length)
    _same_or_absent(given, "host", host)
    _same_or_absent(given, "content-length", length_text)
    if given_value(given, "connection") not in (None, "close", "keep-alive"):
        raise HeaderError("header 'Connection' can only be 'close' or 'keep-alive'")
    taken = {name.lower() for name in given}
    pairs = [("Host", host)]
    pairs += [
        (name, value) for name, value in given.items() if name.lower() not in ("host", "content-length")
    ]
    pairs += [(name, value) for name, value in defaults.items() if name.lower() not in taken]
    if length_text is not None:
        pairs.append(("Content-Length", length_text))
    return [(name.encode("ascii"), _bytes(name, value)) for name, value in pairs]


def given_value(given: Mapping[str, str], name: str) -> str | None:
    """A header's value in lower case, whatever the case of its name."""
    return next((value.lower() for key, value in given.items() if key.lower() == name), None)


def _same_or_absent(given: Mapping[str, str], name: str, sent: str | None) -> None:
    value = given_value(given, name)
    if value is not None and value != (sent or "").lower():
        raise HeaderError(f"header '{name.title()}' cannot be set to something else than what is sent")


def _bytes(name: str, value: str) -> bytes:
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise HeaderError(f"the value of header '{name}' is not valid Unicode") from error


def _safe(name: str) -> str:
    return "'" + _ILLEGAL_VALUE.sub("?", name)[:64] + "'"
