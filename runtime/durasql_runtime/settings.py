"""What the owner of schema df has set, as a worker sees it.

In: rows of df.settings. Out: one object that is brought up to date while the worker runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from durasql.limits import MAX_RESULT_BYTES


@dataclass(slots=True)
class Settings:
    """Rows of df.settings that workers act on, by their names there; 0 turns a limit off.

    `max_result_bytes` of one step's JSON, `loop_max_iterations`, `loop_min_interval` in seconds from one
    iteration's start to the next, `step_statement_timeout` in milliseconds for roles that have none,
    `reconcile_interval` in seconds between retention passes; `step_max_attempts`, `step_backoff` and
    `step_max_backoff` in seconds for steps that no df.retry and no argument of df.start says more about.
    """

    max_result_bytes: int = MAX_RESULT_BYTES
    loop_max_iterations: int = 0
    loop_min_interval: float = 0.0
    step_statement_timeout: int = 0
    reconcile_interval: float = 0.0
    step_max_attempts: int = 1
    step_backoff: float = 1.0
    step_max_backoff: float = 60.0

    @classmethod
    def names(cls) -> list[str]:
        """The rows to ask for."""
        return [field.name for field in fields(cls)]

    def update(self, rows: Mapping[str, str | None]) -> None:
        """Take over what the table says; a value that is no number leaves the old one in force."""
        for field in fields(self):
            text = rows.get(field.name)
            kind = type(getattr(self, field.name))
            if text is not None and _is_number(text):
                setattr(self, field.name, kind(float(text)))


def is_on(text: str | None) -> bool:
    """Whether a switch is on, in any of the spellings that df.start takes."""
    return text is not None and text.strip().lower() in ("on", "true", "yes", "1")


def _is_number(text: str) -> bool:
    try:
        return float(text) >= 0
    except ValueError:
        return False
