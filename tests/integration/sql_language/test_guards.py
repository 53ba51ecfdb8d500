"""P1: the builders of the failure policy refuse in PostgreSQL what the grammar refuses, in the same words."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durasql.errors import CompileError
from durasql.pipeline import parse_source
from durasql.source import Source
from durasql.syntax import ast
from durasql.syntax.conditions import CODES, TEXT
from durasql.syntax.durations import seconds
from durasql.syntax.failures import WORDS, failures
from durasql.syntax.values import ConversionError

REFUSED = [
    "df.retry('SELECT 1', 0)",
    "df.retry('SELECT 1', -2147483647)",
    "df.retry('SELECT 1', 1001)",
    "df.retry('SELECT 1', backoff => '-1 s')",
    "df.retry('SELECT 1', backoff => '')",
    "df.retry('SELECT 1', backoff => '1 parsec')",
    "df.retry('SELECT 1', backoff => '2 min')",
    "df.retry('SELECT 1', max_backoff => '3651 d')",
    "df.retry('SELECT 1', errors => '')",
    "df.retry('SELECT 1', errors => '40001,')",
    "df.retry('SELECT 1', errors => 'deadlok_detected')",
    "df.catch('SELECT 1', 'SELECT 2', 'unique violation')",
    "df.catch('SELECT 1', 'SELECT 2', 'http:600')",
    "df.catch('SELECT 1', 'SELECT 2', 'HTTP:2xx')",
    "df.catch('SELECT 1', 'SELECT 2', 'größe')",
    "df.catch('SELECT 1', 'SELECT 2', 'zzzzzz')",
    "df.timeout('SELECT 1', '0')",
    "df.timeout('SELECT 1', '1 month')",
    "df.timeout('SELECT 1', '1 s 2')",
]


@pytest.mark.parametrize("text", REFUSED)
def test_p1_a_refusal_has_the_same_words_in_both_fronts(text: str, refused: Any) -> None:
    with pytest.raises(CompileError) as raised:
        parse_source(Source(text))
    (ours,) = raised.value.diagnostics
    theirs = refused(text)
    assert theirs.diag.message_primary == ours.message
    if ours.code == "E221":
        assert theirs.diag.message_hint == ours.hint


def test_p1_both_fronts_know_the_same_names_of_errors(ask: Any) -> None:
    assert ask("df._conditions()") == TEXT


@pytest.mark.parametrize("name", CODES)
def test_a_name_means_what_it_means_in_plpgsql(name: str, user: psycopg.Connection[Any]) -> None:
    """Names that this server does not have yet are skipped; of two codes RAISE takes one."""
    with pytest.raises(psycopg.Error) as raised:
        user.execute(f"DO $$BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{name}'; END$$")
    if "unrecognized exception condition" in str(raised.value):
        pytest.skip("a newer server has it")
    assert raised.value.sqlstate in CODES[name]


ONE_OF_EACH = [
    "40001",
    "40p01",
    "abcde",
    "ABCDE",
    "08",
    "xx",
    "XX",
    "http:404",
    "http:5XX",
    "HTTP",
    "Any",
    " ",
]
LISTS = st.lists(
    st.sampled_from([*ONE_OF_EACH, *WORDS, *CODES])
    | st.text("abcdeHX0159_:ßİ \t\n", max_size=7)
    | st.sampled_from(sorted(CODES)).map(lambda name: name[1:] + name[:1]),
    max_size=4,
).map(",".join)
TIMES = st.lists(
    st.tuples(
        st.sampled_from(
            ["1", "0", "1.5", "007", "1.2345", ".5", "5.", "-1", "123456789012", "1234567890123", ""]
        ),
        st.sampled_from(["", " ", "\t", "\v", "\u00a0"]),
        st.sampled_from(["s", "MS", "ms", "m", "min", "Minutes", "sec", "h", "d", "days", "w", "", "ſ", "K"]),
        st.sampled_from(["", " ", "\n"]),
    ).map("".join),
    max_size=3,
).map("".join)
GENERATED = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@GENERATED
@given(text=LISTS)
def test_p1_lists_of_failures_are_read_alike(text: str, user: psycopg.Connection[Any]) -> None:
    try:
        ours: object = list(failures(text))
    except ConversionError as error:
        ours = ("df.catch: errors " + error.message, error.hint)
    assert _theirs(user, "SELECT df._failures(%s, 'df.catch')::jsonb", text) == ours


@GENERATED
@given(text=TIMES)
def test_p1_durations_are_read_alike(text: str, user: psycopg.Connection[Any]) -> None:
    try:
        ours: object = seconds(text)
    except ConversionError as error:
        ours = ("df.retry: backoff " + error.message,)
    theirs = _theirs(user, "SELECT df._duration(%s, 'df.retry: backoff')", text)
    assert (theirs[:1] if isinstance(theirs, tuple) else theirs) == ours


def _theirs(user: psycopg.Connection[Any], query: str, text: str) -> Any:
    """The value, or the message and the hint."""
    try:
        row = user.execute(query.encode(), (text,)).fetchone()
    except psycopg.errors.InvalidParameterValue as error:
        return (error.diag.message_primary, error.diag.message_hint)
    assert row is not None
    return row[0]


def test_the_operator_takes_bare_literals(ask: Any) -> None:
    """PostgreSQL prefers text where an untyped literal could be anything; <-> would be the one of pg_trgm."""
    assert ask("'SELECT 1' <~ 'SELECT 2'") == ask("df.with_undo('SELECT 1', 'SELECT 2')")


def test_p1_the_operator_binds_like_the_others(ask: Any) -> None:
    left_to_right = "df.with_undo(df.seq(df.with_undo('a', 'b'), 'c'), 'd')"
    assert ask("'a' <~ 'b' ~> 'c' <~ 'd'") == ask(left_to_right)
    (start,) = parse_source(Source("'a' <~ 'b' ~> 'c' <~ 'd'")).starts
    assert isinstance(start.graph, ast.Undo)


@pytest.mark.parametrize("kind", ["RETRY", "TIMEOUT", "CATCH"])
@pytest.mark.parametrize("query", ["garbage", '{"seconds":"x","backoff":"x"}', "[]", "null"])
def test_a_guard_written_by_hand_is_told_what_it_needs(
    kind: str, query: str, user: psycopg.Connection[Any]
) -> None:
    step = {"node_type": "SQL", "query": "SELECT 1"}
    node = {"node_type": kind, "left_node": step, "query": query}
    if kind == "CATCH":
        node["right_node"] = step
    with pytest.raises(psycopg.errors.CheckViolation, match=f"{kind} needs the configuration that df."):
        user.execute("SELECT df.start(%s)", (json.dumps(node),))
