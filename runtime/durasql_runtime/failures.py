"""What a failure is to a policy: worth another try, expected by a handler, or neither.

In: the configuration of a RETRY, CATCH or TIMEOUT node, or a run's own policy. Out: decisions about `Failed`.
Deterministic: jitter comes from the identity of the attempt, so that a replay agrees.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

from durasql_runtime.outcome import Failed
from durasql_runtime.settings import Settings

_HOPELESS_CLASSES: Final = frozenset({"0A", "22", "23", "28", "42"})
"""SQLSTATE classes that another try cannot cure: unsupported, data, constraints, login, syntax and rights."""
_HOPELESS_REASONS: Final = frozenset({"blocked", "invalid"})
_TRANSIENT_STATUSES: Final = frozenset({408, 425, 429})
"""HTTP responses below 500 that ask for another try."""
_QUERY_CANCELED: Final = "57014"
_CONNECTION_CLASSES: Final = frozenset({"08", "57"})
_LONGEST_RETRY_AFTER: Final = 86_400.0
"""Seconds that a server may make us wait with Retry-After."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Which failures a guard is about: words of its `errors`, None for its default."""

    words: tuple[str, ...] | None = None

    @classmethod
    def of(cls, config: str) -> Expected:
        """From the configuration of a CATCH node."""
        return _expected(config)

    def caught(self, failure: Failed) -> bool:
        """For a handler: everything by default."""
        return self.words is None or any(_matches(word, failure) for word in self.words)

    def retried(self, failure: Failed) -> bool:
        """For another try: by default everything that may get better."""
        if self.words is not None:
            return self.caught(failure)
        if failure.reason in _HOPELESS_REASONS or (failure.sqlstate or "")[:2] in _HOPELESS_CLASSES:
            return False
        status = failure.http_status
        return status is None or status >= 500 or status in _TRANSIENT_STATUSES

    def names_status(self, status: int) -> bool:
        """Whether a response of this status is a failure here although it is none by itself."""
        response = Failed("", http_status=status)
        return any(word.startswith("http") and _matches(word, response) for word in self.words or ())


def _matches(word: str, failure: Failed) -> bool:
    status, sqlstate = failure.http_status, failure.sqlstate or ""
    match word:
        case "any":
            return True
        case "timeout":
            return failure.reason == "timeout" or sqlstate == _QUERY_CANCELED
        case "connection":
            lost = sqlstate[:2] in _CONNECTION_CLASSES and sqlstate != _QUERY_CANCELED
            return failure.reason == "connection" or lost
        case "http":
            return status is not None
    if word.startswith("http:"):
        wanted = word.removeprefix("http:")
        return status is not None and (wanted == str(status) or wanted == f"{status // 100}xx")
    if len(word) == 2 or word.endswith("000"):
        return sqlstate[:2] == word[:2]
    return sqlstate == word


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how fast; durations in seconds."""

    max_attempts: int = 1
    backoff: float = 1.0
    max_backoff: float = 60.0
    jitter: bool = True
    errors: Expected = Expected()

    @classmethod
    def of(cls, config: str) -> RetryPolicy:
        """From the configuration of a RETRY node."""
        return _retry_policy(config)

    def delay(self, attempt: int, retry_after: float | None, identity: str) -> float:
        """Seconds between a failed attempt (from 1) and the next: doubled each time, up to the largest; with
        jitter between half and all of that; longer when the server asked for it.
        """
        base = min(self.backoff * 2.0 ** min(attempt - 1, 60), self.max_backoff)
        if self.jitter:
            base *= 0.5 + _fraction(identity) / 2
        return max(base, min(retry_after or 0.0, _LONGEST_RETRY_AFTER))


@dataclass(frozen=True, slots=True)
class RunPolicy:
    """What df.start was told; None leaves it to the installation's settings."""

    max_attempts: int | None = None
    backoff: float | None = None
    max_backoff: float | None = None
    on_failure: str | None = None
    deadline: datetime | None = None

    @classmethod
    def of(cls, document: str) -> RunPolicy:
        """From df.instances.policy. Raises ValueError, TypeError or KeyError."""
        found = json.loads(document)
        deadline = found.get("deadline")
        return cls(
            max_attempts=None if (most := found.get("max_attempts")) is None else int(most),
            backoff=None if (pause := found.get("backoff")) is None else float(pause),
            max_backoff=None if (longest := found.get("max_backoff")) is None else float(longest),
            on_failure=found.get("on_failure"),
            deadline=None if deadline is None else datetime.fromisoformat(deadline),
        )

    @property
    def forgiving(self) -> bool:
        """Whether the run goes on after failures that nothing catches."""
        return self.on_failure == "continue"

    def retries(self, settings: Settings) -> RetryPolicy:
        """How single steps are tried again that no df.retry decides about."""
        backoff = settings.step_backoff if self.backoff is None else self.backoff
        longest = settings.step_max_backoff if self.max_backoff is None else self.max_backoff
        most = settings.step_max_attempts if self.max_attempts is None else self.max_attempts
        return RetryPolicy(most, backoff, max(longest, backoff))


def timed_out(config: str) -> Failed:
    """What a TIMEOUT node fails with."""
    return Failed(f"Timeout: not finished after {seconds_of(config):g} s", reason="timeout")


def seconds_of(config: str) -> float:
    """The duration of a TIMEOUT node."""
    return float(_document(config).get("seconds", 0))


@cache
def _expected(config: str) -> Expected:
    words = _document(config).get("errors")
    return Expected(None if words is None else tuple(map(str, words)))


@cache
def _retry_policy(config: str) -> RetryPolicy:
    document = _document(config)
    return RetryPolicy(
        max_attempts=int(document["max_attempts"]),
        backoff=float(document["backoff"]),
        max_backoff=float(document["max_backoff"]),
        jitter=bool(document["jitter"]),
        errors=_expected(config),
    )


def _document(config: str) -> dict[str, Any]:
    found = json.loads(config)
    return found if isinstance(found, dict) else {}


def _fraction(identity: str) -> float:
    return int.from_bytes(hashlib.sha256(identity.encode()).digest()[:4]) / 2**32
