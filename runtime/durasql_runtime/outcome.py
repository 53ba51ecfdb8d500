"""What performing one instruction came to. Performers make outcomes, the machine decides what follows."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Final, TypeAlias

Columns: TypeAlias = "tuple[tuple[str, str], ...]"
"""Names and SQL types of a result's columns, in order."""


@dataclass(frozen=True, slots=True)
class Done:
    """It succeeded. `value` is compact JSON text; `columns` describe an SQL result without rows."""

    value: str
    columns: Columns | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """It failed for good. `message` is what users see first; the rest is PostgreSQL's or the
    server's own detail.

    `reason` is for policies: timeout, connection, blocked (by a rule or for want of a right) or invalid (it
    can never work as it is written). `retry_after` are the seconds that an HTTP server asked to wait,
    `attempts` the tries of the df.retry that gave up. `node` is where it began; not stored, the row tells.
    """

    message: str
    sqlstate: str | None = None
    detail: str | None = None
    hint: str | None = None
    position: int | None = None
    sql: str | None = None
    http_status: int | None = None
    reason: str | None = None
    retry_after: float | None = None
    attempts: int | None = None
    node: int | None = field(default=None, compare=False)

    def prefixed(self, prefix: str) -> Failed:
        """The same failure as the composite around it reports it."""
        return replace(self, message=prefix + self.message)

    def to_json(self) -> str:
        """The journal's error object: only the fields that are known."""
        known = {key: value for key, value in asdict(self).items() if value is not None and key != "node"}
        return json.dumps(known, ensure_ascii=False, separators=(",", ":"))

    def at(self, node: int) -> Failed:
        """The same failure, with the place where it began if that is not known yet."""
        return self if self.node is not None else replace(self, node=node)

    def row(self) -> Done:
        """The failure as `$error`: a result of one row."""
        shown: dict[str, object] = {name: getattr(self, name) for name in _SHOWN}
        shown["node"] = None if self.node is None else f"{self.node:08x}"
        shown["attempts"] = self.attempts or 1
        return Done(_compact({"rows": [shown], "row_count": 1}))

    def forgiven(self) -> Done:
        """The value of a step whose failure the run passes over: a result without rows."""
        return Done(_compact({"rows": [], "row_count": 0, "error": json.loads(self.to_json())}))

    @classmethod
    def from_json(cls, text: str) -> Failed:
        """The inverse of `to_json`; unknown fields of a newer version are ignored."""
        fields = json.loads(text)
        return cls(**{key: fields[key] for key in cls.__dataclass_fields__ if key in fields})


_SHOWN: Final = ("message", "sqlstate", "detail", "hint", "node", "attempts", "http_status")


def _compact(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


NO_ERROR: Final = Done(_compact({"rows": [dict.fromkeys(_SHOWN)], "row_count": 1}))
"""`$error` where nothing failed: all its columns are NULL."""


Outcome: TypeAlias = Done | Failed
