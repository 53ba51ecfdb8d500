"""PostgreSQL's text of a value to JSON, by type; the server's side is in tests/integration/values."""

from __future__ import annotations

from json.encoder import encode_basestring as quote

import pytest

from durasql_runtime import pgtext
from durasql_runtime.results import unique_names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-06-15 12:30:00+00", "2024-06-15T12:30:00+00:00"),
        ("2024-06-15 12:30:00.5+00", "2024-06-15T12:30:00.500+00:00"),
        ("2024-06-15 12:30:00.1234+00", "2024-06-15T12:30:00.123400+00:00"),
        ("2024-06-15 12:30:00.000001+02", "2024-06-15T10:30:00.000001+00:00"),
        ("2024-06-15 12:30:00-03:30", "2024-06-15T16:00:00+00:00"),
        ("1890-01-01 00:53:28+00:53:28", "1890-01-01T00:00:00+00:00"),
        ("12024-06-15 12:30:00+00", "12024-06-15T12:30:00+00:00"),
        ("12024-06-15 12:30:00+02", "12024-06-15 12:30:00+02"),
        ("infinity", "infinity"),
        ("0044-03-15 12:00:00+00 BC", "0044-03-15 12:00:00+00 BC"),
    ],
)
def test_timestamptz_is_rfc_3339_in_utc(text: str, expected: str) -> None:
    assert pgtext.timestamptz(text) == f'"{expected}"'


def test_timestamp_has_no_zone() -> None:
    assert pgtext.timestamp("2024-06-15 12:30:00.25") == '"2024-06-15T12:30:00.250"'
    assert pgtext.timestamp("-infinity") == '"-infinity"'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", "1.0"),
        ("0.1", "0.1"),
        ("1e+20", "1e+20"),
        ("-0", "-0.0"),
        ("NaN", "null"),
        ("-Infinity", "null"),
    ],
)
def test_doubles_keep_their_point(text: str, expected: str) -> None:
    assert pgtext.double(text) == expected


def test_real_is_widened_to_double() -> None:
    assert pgtext.real("3.14") == "3.140000104904175"
    assert pgtext.real("3.4028235e+38") == "3.4028234663852886e+38"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", "[]"),
        ("{1,NULL,3}", "[1,null,3]"),
        ("{{1,2},{3,4}}", "[[1,2],[3,4]]"),
        ("[0:1][-1:0]={{1,2},{3,4}}", "[[1,2],[3,4]]"),
    ],
)
def test_L11_arrays_of_numbers(text: str, expected: str) -> None:
    assert pgtext.array(pgtext.as_is)(text) == expected


def test_L11_arrays_of_text() -> None:
    convert = pgtext.array(quote)
    assert convert(r'{a,"b c","NULL",NULL,"","x\"y\\z","{1,2}",é}') == (
        r'["a","b c","NULL",null,"","x\"y\\z","{1,2}","é"]'
    )
    assert pgtext.array(quote, ";")("{(1,1),(0,0);(2,2),(1,1)}") == '["(1,1),(0,0)","(2,2),(1,1)"]'


def test_L11_composites() -> None:
    convert = pgtext.composite(["n", 'a"b', "l"], [pgtext.as_is, quote, pgtext.array(pgtext.as_is)])
    assert convert(r'(1,"x ""y"" \\z","{1,2}")') == r'{"n":1,"a\"b":"x \"y\" \\z","l":[1,2]}'
    assert convert('(,"",)') == r'{"n":null,"a\"b":"","l":null}'
    assert pgtext.composite([], [])("()") == "{}"
    assert pgtext.record("(1,,a)") == '{"f1":"1","f2":null,"f3":"a"}'


def test_L12_later_duplicates_are_numbered() -> None:
    assert unique_names(["a", "a", "b", "a"]) == ["a", "a_2", "b", "a_3"]
    assert unique_names(["a", "a", "a_2"]) == ["a", "a_3", "a_2"]
