"""Truthiness: the table of the language, and L10."""

from __future__ import annotations

import pytest

from durasql_runtime.truth import truthy

TRUE = [
    "true",
    "1",
    "-1",
    "0.5",
    "[0]",
    '{"a":null}',
    '"x"',
    '"true"',
    '" T "',
    '"yes"',
    '"1"',
    '"nan"',
    '"inf"',
    '"-1"',
]
TRUE += ['"off"', '"n"', '"null"', '"1_0"', '"0x0"', "[[]]", "1e5"]
FALSE = [
    "false",
    "0",
    "-0",
    "0.0",
    "0e9",
    "null",
    "[]",
    "{}",
    '""',
    '"  "',
    '"False"',
    '"f"',
    '"NO"',
    '"0"',
    '"0.0"',
    '"-0"',
    '".0"',
]


@pytest.mark.parametrize(("value", "expected"), [(v, True) for v in TRUE] + [(v, False) for v in FALSE])
def test_a_value_is_judged_by_itself_and_as_first_column(value: str, expected: bool) -> None:
    assert truthy(value) is expected
    assert truthy(f'{{"rows":[{{"a":{value},"b":true}},{{"a":true,"b":true}}],"row_count":2}}') is expected
    assert truthy(f' {{ "row_count" : 1, "rows" : [ {{ "a" : {value} }} ] }}') is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('{"rows":[],"row_count":0}', False),
        ('{"rows":[{}],"row_count":1}', True),
        ('{"signal_name":"s","timed_out":true,"data":null}', True),
        ('{"rows":[],"row_count":0,"affected":2}', True),
        ('{"rows":[],"row_count":0,"affected":0}', False),
        ("not json", True),
        ("", False),
        ("no", False),
    ],
)
def test_results_and_other_texts(value: str, expected: bool) -> None:
    """L10: a statement without rows is true when it affected some."""
    assert truthy(value) is expected
