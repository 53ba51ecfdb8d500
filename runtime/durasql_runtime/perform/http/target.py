"""Text to target. In: the URL after substitution. Out: httpx.URL and the Target that policy judges.

The same httpx.URL gives the host for the decision, for the Host header, for TLS and for dialling, so no trick
can make two parsers disagree. What a URL parser may let pass but name resolution would read in its own way
(octal or short IPv4, percent signs, zones) is refused here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import httpx

from durasql_runtime.addresses import parse_address
from durasql_runtime.perform.http.call import Blocked, StepFailed
from durasql_runtime.policy import Target

_DEFAULT_PORTS = {"http": 80, "https": 443}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class Place:
    """A parsed URL. `shown` is for messages: without credentials."""

    url: httpx.URL
    target: Target
    shown: str


def parse_place(text: str) -> Place:
    """Raises Blocked for a URL that policy never allows and StepFailed for one that is no URL."""
    _check_scheme(text)
    _check_characters(text)
    try:
        url = httpx.URL(text)
        host = url.raw_host.decode("ascii")
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise StepFailed(f"HTTP request failed: {show(text)} - {_first_line(error)}") from error
    if not host:
        raise Blocked("Blocked: unable to extract hostname from URL.")
    return Place(url, _target(url, host), show(text))


def show(text: str) -> str:
    """A URL as messages show it: credentials in front of the host are hidden, control characters escaped."""
    hidden = re.sub(r"://[^/?#]*@", "://***@", text)
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", hidden)


def _check_scheme(text: str) -> None:
    scheme = text.partition("://")[0].lower()
    if scheme not in _DEFAULT_PORTS:
        raise Blocked(
            f"Blocked: unsupported URL scheme '{show(scheme)}'. Only http and https are allowed.",
            hint="A URL begins with http:// or https://.",
        )


def _check_characters(text: str) -> None:
    if _CONTROL.search(text):
        raise Blocked("Blocked: the URL contains a control character.", detail=show(text))
    if "\\" in re.split(r"[?#]", text, maxsplit=1)[0]:
        raise Blocked("Blocked: the URL contains a backslash.", detail=show(text))


def _target(url: httpx.URL, host: str) -> Target:
    port = url.port if url.port is not None else _DEFAULT_PORTS[url.scheme]
    if not 0 < port < 65536:
        raise Blocked(f"Blocked: the URL names port {port}, which does not exist.")
    address = parse_address(host)
    if address is None:
        _check_name(host)
    return Target(url.scheme, host, port, address)


def _check_name(host: str) -> None:
    """Only plain names may go to the resolver, which knows many spellings of addresses."""
    reason = _fault(host)
    if reason:
        raise Blocked(f"Blocked: '{host}' is not a valid host name: {reason}.")


def _fault(host: str) -> str | None:
    labels = host.split(".")
    if host.endswith("."):
        return "it ends with a dot"
    if "%" in host:
        return "it contains a percent sign"
    if _NUMBER.fullmatch(labels[-1]):
        return "it reads like an IP address in an unusual notation"
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        return "only letters, digits, hyphens and dots may occur"
    return None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
