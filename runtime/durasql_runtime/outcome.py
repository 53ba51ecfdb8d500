"""What performing one instruction came to. Performers make outcomes, the machine decides what follows."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TypeAlias

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
    """

    message: str
    sqlstate: str | None = None
    detail: str | None = None
    hint: str | None = None
    position: int | None = None
    sql: str | None = None
    http_status: int | None = None

    def prefixed(self, prefix: str) -> Failed:
        """The same failure as the composite around it reports it."""
        return replace(self, message=prefix + self.message)

    def to_json(self) -> str:
        """The journal's error object: only the fields that are known."""
        known = {key: value for key, value in asdict(self).items() if value is not None}
        return json.dumps(known, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Failed:
        """The inverse of `to_json`; unknown fields of a newer version are ignored."""
        fields = json.loads(text)
        return cls(**{key: fields[key] for key in cls.__dataclass_fields__ if key in fields})


Outcome: TypeAlias = Done | Failed
