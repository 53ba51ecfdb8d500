"""What the builder functions refuse, word for word as in PostgreSQL.

In: the arguments of one builder. Out: the `Refusal`s, each with the code of its diagnostic, the parameter it
is about and a hint. Both `evaluate` (texts) and `envelope` (hand-written leaves) ask here, so a node of the
AST is always one that the SQL builders would have made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import singledispatch
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from durasql.syntax import ast, cron

IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
HTTP_METHODS: Final = ("GET", "POST", "PUT", "DELETE", "PATCH")
MULTIPART_METHODS: Final = ("POST", "PUT", "PATCH")
HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
MAX_BIGINT: Final = 2**63 - 1
MAX_INTEGER: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a builder would raise an error: `argument` is the parameter's name."""

    code: str
    argument: str
    message: str
    hint: str | None = None


def result_name(name: str) -> Refusal | None:
    """The rule for names given by `|=>` and `df.as`."""
    if not name:
        return Refusal("E201", "name", "df.as: result name cannot be empty")
    if IDENTIFIER.fullmatch(name):
        return None
    message = f"df.as: result name '{name}' is not a valid identifier — must match [a-zA-Z_][a-zA-Z0-9_]*"
    suggestion = re.sub(r"\W+", "_", name.removeprefix("$"), flags=re.ASCII).strip("_")
    hint = f"use '{suggestion}'" if IDENTIFIER.fullmatch(suggestion) else None
    return Refusal("E201", "name", message, hint)


@singledispatch
def refusals(node: object) -> Iterator[Refusal]:
    """Every reason why the builder of a node would refuse its arguments."""
    return iter(())


@refusals.register
def _sleep(node: ast.Sleep) -> Iterator[Refusal]:
    if node.seconds < 0:
        yield Refusal("E202", "seconds", "Sleep duration must be non-negative")


@refusals.register
def _schedule(node: ast.WaitSchedule) -> Iterator[Refusal]:
    wrong = cron.problem(node.cron_expr)
    if wrong:
        hint = "five fields: minute hour day-of-month month day-of-week, as in '0 6 * * mon-fri', or @daily"
        yield Refusal("E203", "cron_expr", f"Invalid cron expression '{node.cron_expr}': {wrong}", hint)
    if node.timezone is not None and not _is_timezone(node.timezone):
        yield Refusal(
            "E204", "timezone", f"Unknown time zone '{node.timezone}'", "use a name such as 'Europe/Berlin'"
        )


def _is_timezone(name: str) -> bool:
    """Whether the IANA database has the name; PostgreSQL compares without regard to case."""
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        return name.lower() in {known.lower() for known in available_timezones()}
    return True


@refusals.register
def _signal(node: ast.Signal) -> Iterator[Refusal]:
    if not node.signal_name:
        yield Refusal("E210", "name", "Signal name cannot be empty")
    if node.timeout_seconds is not None and node.timeout_seconds <= 0:
        yield Refusal("E207", "timeout_seconds", "Timeout must be positive")


@refusals.register
def _http(node: ast.Http) -> Iterator[Refusal]:
    yield from _url(node.url)
    if node.method not in HTTP_METHODS:
        message = f"Invalid HTTP method: {node.method}. Must be GET, POST, PUT, DELETE, or PATCH"
        yield Refusal("E205", "method", message)
    yield from _timeout(node.timeout_seconds)
    yield from _headers(node.headers)


@refusals.register
def _multipart(node: ast.HttpMultipart) -> Iterator[Refusal]:
    yield from _url(node.url)
    if node.method not in MULTIPART_METHODS:
        message = f"Invalid HTTP method for multipart: {node.method}. Must be POST, PUT, or PATCH"
        yield Refusal("E205", "method", message)
    yield from _timeout(node.timeout_seconds)
    if node.parts is None:
        yield Refusal("E209", "parts", "parts is required and cannot be NULL")
    elif not isinstance(node.parts, list):
        yield Refusal("E209", "parts", "parts must be a JSON array of part objects")
    elif not node.parts:
        yield Refusal("E209", "parts", "parts must contain at least one part")
    yield from _headers(node.headers)


def _url(url: str) -> Iterator[Refusal]:
    """Only the scheme: a URL with `{` or one that begins with `$name` is judged when it is known."""
    scheme = url.partition("://")[0]
    if "{" in url or re.match(r"\$[A-Za-z_]", url) or scheme.lower() in ("http", "https"):
        return
    message = f"Blocked: unsupported URL scheme '{scheme}'. Only http and https are allowed."
    hint = f"did you mean 'https://{url}'?" if "://" not in url else None
    yield Refusal("E206", "url", message, hint)


def _timeout(seconds: int) -> Iterator[Refusal]:
    if seconds <= 0:
        yield Refusal("E207", "timeout_seconds", "Timeout must be positive")


def _headers(headers: ast.Json) -> Iterator[Refusal]:
    if headers is None:
        return
    if not isinstance(headers, dict):
        yield Refusal("E208", "headers", "headers must be a JSON object of header names and string values")
        return
    for name, value in headers.items():
        if not HEADER_NAME.fullmatch(name):
            yield Refusal("E208", "headers", f"Invalid HTTP header name '{name}'")
        elif not isinstance(value, str):
            hint = f"write the value of '{name}' in double quotes"
            yield Refusal("E208", "headers", f"HTTP header '{name}' must be a string", hint)
        elif any(char in value for char in "\r\n\0"):
            yield Refusal("E208", "headers", f"HTTP header '{name}' must not contain line breaks")
