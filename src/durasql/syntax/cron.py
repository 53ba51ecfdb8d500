"""Which schedules `df.wait_for_schedule` accepts: standard cron, one table.

In: a cron text. Out: nothing, or what is wrong with it. The SQL builder implements the same table, and
grammar/README.md puts it into words; finding the next tick is the runtime's business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

SHORTHANDS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS: Final = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS: Final = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


@dataclass(frozen=True, slots=True)
class Field:
    """One of the five fields: its range and the names that stand for numbers."""

    name: str
    low: int
    high: int
    names: dict[str, int]


FIELDS: Final = (
    Field("minute", 0, 59, {}),
    Field("hour", 0, 23, {}),
    Field("day of month", 1, 31, {}),
    Field("month", 1, 12, {name: at for at, name in enumerate(_MONTHS, 1)}),
    Field("day of week", 0, 7, {name: at for at, name in enumerate(_DAYS)}),
)
_PART: Final = re.compile(
    r"(?:(\*)|([0-9]{1,2}|[a-z]{3})(?:-([0-9]{1,2}|[a-z]{3}))?)(?:/([0-9]{1,2}))?", re.ASCII
)
_NEVER: Final = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
"""The last day of the months that have fewer than 31."""


def problem(text: str) -> str | None:
    """What is wrong with a cron text, as the detail of an error message; None when it is a schedule."""
    words = text.strip(" \t").lower()
    if words.startswith("@"):
        return None if words in SHORTHANDS else f"unknown shorthand; use one of {', '.join(SHORTHANDS)}"
    fields = re.split(r"[ \t]+", words) if words else []
    if len(fields) != len(FIELDS):
        return f"expected 5 fields (minute hour day-of-month month day-of-week), found {len(fields)}"
    for rule, value in zip(FIELDS, fields, strict=True):
        for part in value.split(","):
            wrong = _part_problem(rule, part)
            if wrong:
                return wrong
    return _impossible_day(fields)


def _part_problem(rule: Field, part: str) -> str | None:
    found = _PART.fullmatch(part)
    if not found:
        return f"'{part}' is not valid for the {rule.name}"
    _, first, last, step = found.groups()
    if step is not None and not 1 <= int(step) <= rule.high:
        return f"the step of '{part}' must be from 1 to {rule.high}"
    if step is not None and first is not None and last is None:
        return f"'{part}' has a step without a range; write '{first}-{rule.high}/{step}'"
    bounds = [_number(rule, word) for word in (first, last) if word is not None]
    if any(bound is None or not rule.low <= bound <= rule.high for bound in bounds):
        return f"'{part}' is out of range for the {rule.name} ({rule.low}-{rule.high})"
    if len(bounds) == 2 and bounds[0] > bounds[1]:  # type: ignore[operator]
        return f"the range '{part}' ends before it begins"
    return None


def _number(rule: Field, word: str) -> int | None:
    return int(word) if word.isdigit() else rule.names.get(word)


def _impossible_day(fields: list[str]) -> str | None:
    """A date that no year has, such as 30 February: only plain numbers are looked at."""
    _, _, day, month, weekday = fields
    if weekday != "*" or not day.isdigit() or not re.fullmatch(r"[0-9a-z]+(,[0-9a-z]+)*", month):
        return None
    months = [_number(FIELDS[3], word) or 0 for word in month.split(",")]
    if all(int(day) > _NEVER.get(number, 31) for number in months):
        return "no such day in that month, so it never happens"
    return None
