"""L13: standard cron, as the table in grammar/README.md says."""

from __future__ import annotations

from datetime import datetime

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from durasql.syntax import cron

GOOD = [
    "* * * * *",
    "*/5 0-6/2 1,15 jan-mar MON-fri",
    "0 0 29 feb *",
    " 0\t6 * * 7 ",
    "@daily",
    "@Midnight",
    "@annually",
    "59 23 31 12 0",
    "* * 30 2 mon",
    "*/5,10 * * * sun-sat",
    "* * * * 5-7",
]
BAD = [
    "",
    "* * * *",
    "* * * * * *",
    "60 * * * *",
    "* 24 * * *",
    "* * 0 * *",
    "* * 32 * *",
    "* * * 13 *",
    "* * * * 8",
    "*/0 * * * *",
    "*/60 * * * *",
    "5/10 * * * *",
    "10-5 * * * *",
    "1,,2 * * * *",
    "? * * * *",
    "* * L * *",
    "* * * * monday",
    "@reboot",
    "0 0 30 feb *",
    "0 0 31 4,6 *",
    "-1 * * * *",
    "1.5 * * * *",
    "٣ * * * *",
]


@pytest.mark.parametrize("text", GOOD)
def test_l13_accepted(text: str) -> None:
    assert cron.problem(text) is None


@pytest.mark.parametrize("text", BAD)
def test_l13_refused(text: str) -> None:
    assert cron.problem(text)


def _part(rule: cron.Field) -> st.SearchStrategy[str]:
    number = st.integers(rule.low, rule.high)
    pair = st.tuples(number, number).map(lambda ends: f"{min(ends)}-{max(ends)}")
    step = st.integers(1, rule.high).map("/{}".format)
    stepped = st.tuples(pair | st.just("*"), step).map("".join)
    return st.lists(number.map(str) | pair | stepped | st.just("*"), min_size=1, max_size=3).map(",".join)


@settings(max_examples=200, deadline=None)
@given(st.tuples(*map(_part, cron.FIELDS)).map(" ".join))
def test_l13_whatever_is_accepted_has_a_next_tick(text: str) -> None:
    if cron.problem(text) is None:
        now = datetime(2026, 1, 1)
        assert croniter(text, now, max_years_between_matches=50).get_next(datetime) > now
