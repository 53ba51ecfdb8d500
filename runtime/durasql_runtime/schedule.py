"""When a cron schedule fires next.

Comes in: a cron expression, a time zone and a moment. Goes out: the next moment strictly after it, in UTC.
Standard cron (L13): five fields, names, 0 and 7 for Sunday, `@daily` and friends, day-of-month OR day-of-week
when both are restricted; a sixth field is a year, as in pg_durable.

Schedules are read on the zone's clock. When the clock changes:

    the hour field is not `*`   a time that is skipped fires when the clock has jumped, once for all skipped
                                times; a time that comes twice fires the first time only
    the hour field is `*`       the schedule goes by elapsed time: skipped times do not fire, times that come
                                twice fire twice, so "every 15 minutes" stays every 15 minutes

which is what Vixie cron does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, CroniterError, croniter

from durasql.errors import RunError


class ScheduleError(RunError):
    """An expression that is no cron, a zone nobody knows, or a date that never comes."""

    code = "R623"


_LONGEST_REPEAT: Final = timedelta(hours=3)
"""No zone sets its clock back by more."""

_SHORTHANDS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FULL_NAME: Final = re.compile(
    r"\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|sun|mon|tue|wed|thu|fri|sat)[a-z]+\b", re.IGNORECASE
)
_FIELD: Final = re.compile(r"[0-9A-Za-z*?,/-]+")


def next_tick(cron_expr: str, timezone: str | None, now: datetime) -> datetime:
    """The first moment after `now` (aware) at which the schedule fires, in UTC. Raises ScheduleError."""
    fields = _fields(cron_expr)
    zone = _zone(timezone)
    by_the_clock = not fields[1].startswith("*")
    try:
        found = _wall_tick(fields, zone, now) if by_the_clock else _elapsed_tick(fields, zone, now)
    except CroniterBadDateError:
        raise ScheduleError(f"cron expression '{cron_expr}' has no date to come") from None
    except (CroniterError, ValueError, OverflowError) as error:
        raise ScheduleError(f"Invalid cron expression '{cron_expr}': {error}") from None
    return found.astimezone(UTC)


def _fields(cron_expr: str) -> list[str]:
    """The fields, shorthands and long names of months and days replaced."""
    text = cron_expr.strip()
    fields = _FULL_NAME.sub(r"\1", _SHORTHANDS.get(text.lower(), text)).split()
    if len(fields) not in (5, 6):
        raise ScheduleError(
            f"Invalid cron expression '{cron_expr}': expected 5 fields (minute hour day month weekday)"
        )
    wrong = next((field for field in fields if not _FIELD.fullmatch(field)), None)
    if wrong is not None or re.search(r"(?<![A-Za-z])[HhLlRr](?![A-Za-z])", text):
        raise ScheduleError(
            f"Invalid cron expression '{cron_expr}': {wrong or 'H, L and R'} is not standard cron"
        )
    return fields


def _zone(name: str | None) -> ZoneInfo:
    try:
        return ZoneInfo(name or "UTC")
    except (OSError, ValueError, LookupError):
        raise ScheduleError(f"unknown time zone '{name}'") from None


def _local_times(fields: list[str], after: datetime) -> Iterator[datetime]:
    """Times on the wall clock that match, in order, after one that need not."""
    expression = " ".join(fields if len(fields) == 5 else ["0", *fields])
    times = croniter(expression, after.replace(tzinfo=None), second_at_beginning=True)
    while True:
        yield times.get_next(datetime)


def _wall_tick(fields: list[str], zone: ZoneInfo, now: datetime) -> datetime:
    for local in _local_times(fields, now.astimezone(zone)):
        moment = _moment(local, zone)
        if moment > now:
            return moment
    raise AssertionError("croniter raises at the end of its range")


def _moment(local: datetime, zone: ZoneInfo) -> datetime:
    """When the clock shows `local` first; for a time it skips, when it has jumped over it."""
    first = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if first.astimezone(zone).replace(tzinfo=None) == local:
        return first
    # In a gap fold=0 reckons with the offset before it and fold=1 with the one after it.
    early = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    return _jump(early, first, zone)


def _jump(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The second between two moments at which the zone's offset changes."""
    offset = before.astimezone(zone).utcoffset()
    low, high = int(before.timestamp()), int(after.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)


def _elapsed_tick(fields: list[str], zone: ZoneInfo, now: datetime) -> datetime:
    local_now = now.astimezone(zone)
    base = local_now - _LONGEST_REPEAT if _clock_is_set_back(local_now) else local_now
    found: datetime | None = None
    for local in _local_times(fields, base):
        moments = [moment for moment in _moments(local, zone) if moment > now]
        found = min([*moments, found] if found else moments, default=None)
        if found and local > local_now.replace(tzinfo=None):
            return found
    raise AssertionError("croniter raises at the end of its range")


def _clock_is_set_back(local: datetime) -> bool:
    """Whether times before this one may come again soon."""
    later = (local.astimezone(UTC) + _LONGEST_REPEAT).astimezone(local.tzinfo)
    before, after = local.utcoffset(), later.utcoffset()
    return before is not None and after is not None and after < before


def _moments(local: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """The moments at which the clock shows `local`: none, one or two."""
    for fold in (0, 1):
        moment = local.replace(tzinfo=zone, fold=fold).astimezone(UTC)
        shown = moment.astimezone(zone)
        if shown.replace(tzinfo=None) == local and shown.fold == fold:
            yield moment
