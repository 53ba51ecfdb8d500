"""Schedules (L13): the SQL builder and the Python check are one table, which the runtime's parser takes."""

from __future__ import annotations

import random
from typing import Any

import psycopg
from croniter import croniter

from durasql.syntax import cron

ACCEPTED = [
    "* * * * *",
    "0 0 * * *",
    "*/5 * * * *",
    "0-30/10 1,2,3 * * *",
    "59 23 31 12 7",
    "0 6 * * mon-fri",
    "0 0 1 jan,JUL *",
    "0 0 29 2 *",
    "0 0 30 2 mon",
    "5 4 * * sun",
    "0 22-23 * * 1-5",
    "  0 0 * * *\t",
    "@daily",
    "@Hourly",
    "@midnight",
    "@weekly",
    "@monthly",
    "@yearly",
    "@annually",
    "0 0 31 1,2 *",
    "0 0 * * 0,7",
    "1,2,3 * * * *",
    "00 01 02 03 04",
]
REFUSED = [
    "",
    "   ",
    "x",
    "* * * *",
    "* * * * * *",
    "60 * * * *",
    "* 24 * * *",
    "* * 0 * *",
    "* * 32 * *",
    "* * * 0 *",
    "* * * 13 *",
    "* * * * 8",
    "* * * foo *",
    "* * * * jan",
    "mon * * * *",
    "5-1 * * * *",
    "*/0 * * * *",
    "*/60 * * * *",
    "5/2 * * * *",
    "-1 * * * *",
    "1- * * * *",
    "1,,2 * * * *",
    ", * * * *",
    "1-2-3 * * * *",
    "1.5 * * * *",
    "? ? ? ? ?",
    "* * l * *",
    "* * 15w * *",
    "* * * * 1#2",
    "0 0 30 2 *",
    "0 0 31 4,6 *",
    "@reboot",
    "@",
    "@every 5m",
    "* * * *\n*",
    "٣ * * * *",
    "100 * * * *",
    "* * * * * 2030",
    "* * * * *; DROP TABLE df.instances",
    "'",
    "\\",
    "{a} * * * *",
]


def defect(user: psycopg.Connection[Any], text: str) -> str | None:
    row = user.execute("SELECT df._cron_defect(%s)", (text,)).fetchone()
    assert row is not None
    found: str | None = row[0]
    return found


def test_schedules_that_are_accepted_run_in_the_workers_parser(user: psycopg.Connection[Any]) -> None:
    for text in ACCEPTED:
        assert defect(user, text) is None, text
        assert croniter.is_valid(text.strip(" \t")), text


def test_schedules_that_are_refused_have_a_reason(user: psycopg.Connection[Any]) -> None:
    for text in REFUSED:
        assert defect(user, text), text


def test_the_builder_says_what_the_check_says(user: psycopg.Connection[Any]) -> None:
    """P1"""
    parts = [
        "*",
        "0",
        "7",
        "31",
        "60",
        "mon",
        "jan",
        "1-5",
        "5-1",
        "*/5",
        "1-9/3",
        "5/2",
        "1,2",
        "?",
        "007",
        "MON",
        "0-7",
        "",
    ]
    pick = random.Random(7)
    texts = ACCEPTED + REFUSED + [" ".join(pick.choice(parts) for _ in range(5)) for _ in range(300)]
    assert {text: defect(user, text) for text in texts} == {text: cron.problem(text) for text in texts}


def test_time_zones(ask: Any) -> None:
    names = ["UTC", "utc", "Europe/Berlin", "america/port-au-prince", "Etc/GMT+3", "EST5EDT", "Japan"]
    assert [name for name in names if not ask("df._is_timezone(%s)", name)] == []
    assert not any(
        ask("df._is_timezone(%s)", name)
        for name in ["", "Mars/Crater", "FOO+3", "+3", "Foo/Bar-3", "Europe", "'; --"]
    )
