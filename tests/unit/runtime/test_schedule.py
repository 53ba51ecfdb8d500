"""Cron (L13), with clocks that change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durasql_runtime.schedule import ScheduleError, next_tick


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def ticks(expression: str, zone: str | None, start: str, count: int) -> list[str]:
    now, found = at(start), []
    for _ in range(count):
        now = next_tick(expression, zone, now)
        found.append(now.astimezone(ZoneInfo(zone or "UTC")).strftime("%Y-%m-%d %H:%M %z"))
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("* * * * *", "2026-01-01T00:01:00"),
        ("0 * * * *", "2026-01-01T01:00:00"),
        ("*/20 3 * * *", "2026-01-01T03:00:00"),
        ("5,10-12 0 * * *", "2026-01-01T00:05:00"),
        ("0 0 * * 0", "2026-01-04T00:00:00"),
        ("0 0 * * 7", "2026-01-04T00:00:00"),
        ("0 0 * * sun", "2026-01-04T00:00:00"),
        ("0 0 * * Sunday", "2026-01-04T00:00:00"),
        ("0 0 * * 1-5", "2026-01-02T00:00:00"),
        ("0 0 * * MON-FRI", "2026-01-02T00:00:00"),
        ("0 0 13 * 5", "2026-01-02T00:00:00"),
        ("0 0 1 february *", "2026-02-01T00:00:00"),
        ("0 0 ? * 6", "2026-01-03T00:00:00"),
        ("0 0 29 2 *", "2028-02-29T00:00:00"),
        ("0 0 1 1 * 2030", "2030-01-01T00:00:00"),
        ("@hourly", "2026-01-01T01:00:00"),
        ("@daily", "2026-01-02T00:00:00"),
        ("@Midnight", "2026-01-02T00:00:00"),
        ("@weekly", "2026-01-04T00:00:00"),
        ("@monthly", "2026-02-01T00:00:00"),
        ("@yearly", "2027-01-01T00:00:00"),
        ("@annually", "2027-01-01T00:00:00"),
    ],
)
def test_L13_standard_cron(expression: str, expected: str) -> None:
    assert next_tick(expression, None, datetime(2026, 1, 1, tzinfo=UTC)) == at(expected + "+00:00")


NO_CRON = ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "H * * * *"]
NO_CRON += ["R 1 * * *", "0 0 L * *", "0 0 * * 5#2", "0 0 * * 5L", "@reboot", "a b c d e", "*/0 * * * *"]
NO_CRON += ["1 2 3 4 5 6 7"]


@pytest.mark.parametrize("expression", NO_CRON)
def test_L13_what_is_no_cron_is_refused(expression: str) -> None:
    with pytest.raises(ScheduleError, match="Invalid cron expression"):
        next_tick(expression, None, datetime(2026, 1, 1, tzinfo=UTC))


def test_a_date_that_never_comes_is_an_error() -> None:
    with pytest.raises(ScheduleError, match="has no date to come"):
        next_tick("0 0 30 2 *", None, datetime(2026, 1, 1, tzinfo=UTC))


def test_an_unknown_zone_is_an_error() -> None:
    for zone in ("Europe/Atlantis", "../etc/passwd"):
        with pytest.raises(ScheduleError, match="unknown time zone"):
            next_tick("* * * * *", zone, datetime(2026, 1, 1, tzinfo=UTC))


def test_two_waits_fire_on_two_successive_minutes() -> None:
    first = next_tick("* * * * *", None, at("2026-01-01T00:00:59.999999+00:00"))
    assert (first, next_tick("* * * * *", None, first)) == (
        at("2026-01-01T00:01+00:00"),
        at("2026-01-01T00:02+00:00"),
    )


# Berlin skips 2026-03-29 02:00-03:00 and repeats 2026-10-25 02:00-03:00;
# New York skips 2026-03-08 02:00-03:00 and repeats 2026-11-01 01:00-02:00.


@pytest.mark.parametrize(
    ("expression", "zone", "start", "expected"),
    [
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00+01:00",
            ["2026-03-29 03:00 +0200", "2026-03-30 02:30 +0200"],
        ),
        (
            "*/20 2 * * *",
            "Europe/Berlin",
            "2026-03-29T00:00+01:00",
            ["2026-03-29 03:00 +0200", "2026-03-30 02:00 +0200"],
        ),
        (
            "30 2 * * *",
            "America/New_York",
            "2026-03-08T00:00-05:00",
            ["2026-03-08 03:00 -0400", "2026-03-09 02:30 -0400"],
        ),
    ],
)
def test_L13_a_skipped_time_fires_when_the_clock_has_jumped(
    expression: str, zone: str, start: str, expected: list[str]
) -> None:
    assert ticks(expression, zone, start, 2) == expected


@pytest.mark.parametrize(
    ("expression", "zone", "start", "expected"),
    [
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-25T00:00+02:00",
            ["2026-10-25 02:30 +0200", "2026-10-26 02:30 +0100"],
        ),
        (
            "30 1 * * *",
            "America/New_York",
            "2026-11-01T00:00-04:00",
            ["2026-11-01 01:30 -0400", "2026-11-02 01:30 -0500"],
        ),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T02:10+01:00", ["2026-10-26 02:30 +0100"]),
    ],
)
def test_L13_a_repeated_time_fires_once(expression: str, zone: str, start: str, expected: list[str]) -> None:
    assert ticks(expression, zone, start, len(expected)) == expected


def test_L13_every_half_hour_stays_every_half_hour() -> None:
    assert ticks("*/30 * * * *", "Europe/Berlin", "2026-10-25T01:45+02:00", 5) == [
        "2026-10-25 02:00 +0200",
        "2026-10-25 02:30 +0200",
        "2026-10-25 02:00 +0100",
        "2026-10-25 02:30 +0100",
        "2026-10-25 03:00 +0100",
    ]
    assert ticks("*/30 * * * *", "Europe/Berlin", "2026-03-29T01:10+01:00", 3) == [
        "2026-03-29 01:30 +0100",
        "2026-03-29 03:00 +0200",
        "2026-03-29 03:30 +0200",
    ]


ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]
MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))


@given(st.sampled_from(["*/15 * * * *", "7 * * * *"]), st.sampled_from(ZONES), MOMENTS)
def test_elapsed_schedules_never_pause_longer_than_an_hour(expression: str, zone: str, now: datetime) -> None:
    assert timedelta(0) < next_tick(expression, zone, now) - now <= timedelta(hours=1, minutes=30)


@given(st.sampled_from(["30 2 * * *", "0 0 * * *", "30 1 * * *"]), st.sampled_from(ZONES), MOMENTS)
def test_daily_schedules_fire_once_a_day(expression: str, zone: str, now: datetime) -> None:
    first = next_tick(expression, zone, now)
    second = next_tick(expression, zone, first)
    days = [tick.astimezone(ZoneInfo(zone)).date() for tick in (first, second)]
    assert first > now
    assert days[1] - days[0] == timedelta(days=1)
