"""Configurations of control instructions as the listing shows them, and back.

In: an opcode and the `query` of its node. Out: a phrase such as `at most 5, 1 s … 60 s, jitter, on 40001`.
`phrase` gives None for a `query` that `query` would not read back to the same text; the listing then shows
it as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

from durasql.bytecode.opcodes import Op

CONTINUE_ON_FAILURE: Final = '{"continue_on_failure":true}'
"""The `query` of a loop that goes on after a failure."""

_RETRY: Final = re.compile(
    r"at most (?P<attempts>\S+), (?P<backoff>\S+) s … (?P<most>\S+) s"
    r"(?P<jitter>, jitter)?(?:, (?P<on>on .+))?"
)
_TIMEOUT: Final = re.compile(r"after (?P<seconds>\S+) s")
_ROWS: Final = re.compile(r"\$(?P<name>[A-Za-z_][A-Za-z0-9_]*)")


def phrase(op: Op, query: str | None) -> str | None:
    """The configuration in words; None where they would not say all of it."""
    if op not in _PHRASES or query is None:
        return None
    try:
        words = _PHRASES[op](json.loads(query, parse_int=str, parse_float=str))
        return words if read(op, words) == query else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def read(op: Op, words: str) -> str:
    """The `query` that a phrase was made of. Raises `ValueError` for what is no phrase."""
    return _READERS[op](words)


def _retry(config: dict[str, Any]) -> str:
    jitter = ", jitter" if config["jitter"] is True else ""
    on = f", {_on(config)}" if config["errors"] else ""
    return f"at most {config['max_attempts']}, {config['backoff']} s … {config['max_backoff']} s{jitter}{on}"


def _read_retry(words: str) -> str:
    found = _match(_RETRY, words)
    return (
        f'{{"max_attempts":{found["attempts"]},"backoff":{found["backoff"]},"max_backoff":{found["most"]},'
        f'"jitter":{"true" if found["jitter"] else "false"},"errors":{_errors(found["on"] or "")}}}'
    )


def _timeout(config: dict[str, Any]) -> str:
    return f"after {config['seconds']} s"


def _read_timeout(words: str) -> str:
    return f'{{"seconds":{_match(_TIMEOUT, words)["seconds"]}}}'


def _on(config: dict[str, Any]) -> str:
    return f"on {' '.join(config['errors'])}" if config["errors"] else ""


def _read_on(words: str) -> str:
    return f'{{"errors":{_errors(words)}}}'


def _errors(words: str) -> str:
    if not words:
        return "null"
    return json.dumps(words.split(" ")[1:], ensure_ascii=False, separators=(",", ":"))


def _rows(config: dict[str, Any]) -> str:
    return f"${config['result_name']}"


def _read_rows(words: str) -> str:
    return f'{{"condition_type":"result_has_rows","result_name":"{_match(_ROWS, words)["name"]}"}}'


def _match(pattern: re.Pattern[str], words: str) -> re.Match[str]:
    found = pattern.fullmatch(words)
    if found is None:
        raise ValueError(f"not a configuration: {words!r}")
    return found


_PHRASES: Final[dict[Op, Callable[[dict[str, Any]], str]]] = {
    Op.RETRY: _retry,
    Op.TIMEOUT: _timeout,
    Op.CATCH: _on,
    Op.IF_ROWS: _rows,
}
_READERS: Final[dict[Op, Callable[[str], str]]] = {
    Op.RETRY: _read_retry,
    Op.TIMEOUT: _read_timeout,
    Op.CATCH: _read_on,
    Op.IF_ROWS: _read_rows,
}
