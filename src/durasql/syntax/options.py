"""What df.start refuses of its options, word for word as in PostgreSQL.

In: the options by name, as they were written. Out: the `Refusal`s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from durasql.limits import MAX_ATTEMPTS, MAX_KEY_BYTES
from durasql.syntax.durations import seconds, time_limit
from durasql.syntax.rules import Refusal
from durasql.syntax.values import ConversionError

_CHOICES: Final = {
    "on_failure": ("'fail' or 'continue'", ("fail", "continue")),
    "on_conflict": ("'return', 'reject' or 'replace'", ("return", "reject", "replace")),
}
_DURATIONS: Final = {"backoff": seconds, "max_backoff": seconds, "timeout": time_limit}


def start_refusals(options: Mapping[str, object]) -> Iterator[Refusal]:
    """Every option that df.start would refuse; one of a wrong type was reported before."""
    mode = options.get("transaction_mode")
    if isinstance(mode, str) and mode.lower() not in ("caller", "new"):
        message = f"invalid transaction_mode \"{mode}\" for df.start(): expected 'caller' or 'new'"
        yield Refusal("E214", "transaction_mode", message)
    attempts = options.get("max_attempts")
    if isinstance(attempts, int) and not 1 <= attempts <= MAX_ATTEMPTS:
        message = f"df.start: max_attempts must be between 1 and {MAX_ATTEMPTS}, not {attempts}"
        yield Refusal("E214", "max_attempts", message, "1 means that a failed step is not tried again")
    for name, (expected, choices) in _CHOICES.items():
        value = options.get(name)
        if isinstance(value, str) and value.lower() not in choices:
            yield Refusal("E214", name, f"df.start: {name} must be {expected}, not '{value}'")
    yield from _durations(options)
    yield from _key(options.get("key"), options.get("on_conflict"))


def _durations(options: Mapping[str, object]) -> Iterator[Refusal]:
    found = {}
    for name, read in _DURATIONS.items():
        value = options.get(name)
        if isinstance(value, str):
            try:
                found[name] = read(value)
            except ConversionError as error:
                yield Refusal("E214", name, f"df.start: {name} {error.message}", error.hint)
    if "backoff" in found and "max_backoff" in found and found["max_backoff"] < found["backoff"]:
        shown = (
            f"max_backoff ({options['max_backoff']}) must not be shorter than backoff ({options['backoff']})"
        )
        hint = "the pause between tries begins with backoff and doubles up to max_backoff"
        yield Refusal("E214", "max_backoff", f"df.start: {shown}", hint)


def _key(key: object, on_conflict: object) -> Iterator[Refusal]:
    if key is None and isinstance(on_conflict, str):
        hint = "name what must not run twice at a time: key => 'index:42', on_conflict => 'replace'"
        yield Refusal("E214", "on_conflict", "df.start: on_conflict needs a key", hint)
    elif isinstance(key, str) and not 1 <= (size := len(key.encode())) <= MAX_KEY_BYTES:
        message = f"df.start: key must have between 1 and {MAX_KEY_BYTES} bytes, not {size}"
        yield Refusal("E214", "key", message, "use a short name, or a hash of a long one")
