"""Operator language in one text: the operators' own program (P1), places for mistakes (P8), S7."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from durasql.source import Source
from durasql.syntax.envelope import encode
from durasql.syntax.reading import read_start_text

SAME = [
    "'SELECT 1' |=> 'a' ~> 'SELECT $a'",
    " ( ( @> ('a' & $$b's$$) | df.sleep(5) ) ~> E'a\\n\\'\\u00e9\\x41' ) ",
    "'a'\n  -- continued\n  'b' ~> 'c'",
    "E'a\\n'\n'\\n' ~> 'c'",
    "/* one /* two */ */ 'a' -- three\n ~> 'b' ;",
    "U&'\\0041b' ~> $t$x $$ y$t$ ~> $é$z$é$",
    (
        "df.http('https://x', headers => jsonb_build_object('b', 'c', 'aa', 'ü'), body := 'x',"
        " timeout_seconds => 5)"
    ),
    'df.http(\'https://x\', headers => \'{"bb": "1, 2", "a": "2", "bb": "3: 4"}\'::jsonb)',
    (
        "df.http_multipart('https://x', parts => jsonb_build_array(jsonb_build_object('name', 'f', 'n', 1.50,"
        " 'z', null, 't', true)))"
    ),
    (
        'df.http_multipart(\'https://x\', parts => \'[{"b": 1e2, "a": [ ], "ccc": {}, "d": -0, "e":'
        " 12345678901234567890}]')"
    ),
    "df.loop('a', condition => 'b') ~> df.break(value => $${\"x\": 1}$$)",
    "df.if('a', 'b', 'c') & df.if_rows('r', 'd', 'e') & df.join3('f', 'g', 'h')",
    (
        "df.wait_for_signal('go', timeout_seconds => 5) ~> df.wait_for_schedule('@daily', timezone =>"
        " 'Europe/Berlin')"
    ),
    "\"df\".\"sql\"('x') ~> DF.SLEEP(5::bigint) ~> df.sleep('6') ~> df.sleep(CAST('7' AS bigint))",
    "df.as_op('a', 'n') ~> df.loop_prefix_op('b') ~> df.if_else_op(df.if_then_op('c', 'd'), 'e')",
    "('SELECT ' || '1') ~> 'b'::text ~> text 'c'",
    '\'{"node_type":"SQL","query":"q"}\' ~> \' {"query":"5", "node_type":"SLEEP"}\' ~> \'{"a":1}\'',
    "'a' ~> 'b;c' ~> '--' ~> '/*' ~> '''' ~> '\\' ~> '\x01\x7f'",
    "'SELECT 1'",
]


@pytest.mark.parametrize("text", SAME)
def test_both_fronts_give_the_same_program(ask: Any, text: str) -> None:
    """P1"""
    start: Any = read_start_text(Source(text)).statements[0]
    assert ask("(df._flatten(df._parse_workflow(%s))).graph", text) == encode(start.graph)


@pytest.mark.parametrize("text", SAME)
def test_a_text_is_what_the_operators_make_of_it(ask: Any, text: str) -> None:
    """P1"""
    expression = text.rstrip(" ;").replace("%", "%%")
    assert ask("df._parse_workflow(%s)", text) == ask(f"df._parse_workflow(({expression}))")


PLAIN = [
    "SELECT 'a' ~> 'b'",
    "-- 'a'\nSELECT 1",
    "/* 'a' */ (SELECT 1) UNION SELECT 2",
    "VALUES ('a')",
    "INSERT INTO t VALUES ($$x$$)",
    "",
    " ",
    ";",
    "$1",
    "WITH a AS (SELECT 1) TABLE a",
    "dfx.sql('a')",
    "select",
    "CALL df.p('a')",
    "OK",
]


@pytest.mark.parametrize("text", PLAIN)
def test_plain_sql_is_one_step(ask: Any, text: str) -> None:
    assert ask("df._parse_workflow(%s)::json->>'query'", text) == text


MISTAKES = {
    "'a' ~>\n   'b' 'c'": ("line 2, column 8: expected an operator, found 'c'", "   'b' 'c'\n       ^"),
    "'a' ~>": ("line 1, column 7: unexpected end of the workflow: a step is missing", "'a' ~>\n      ^"),
    "'a' ~> ('b'": ("line 1, column 8: this parenthesis is never closed", "'a' ~> ('b'\n       ^"),
    "'a' ~> 'b')": ("line 1, column 11: expected an operator, found )", "'a' ~> 'b')\n          ^"),
    "'ü' ~>@> 'b'": ("line 1, column 5: unknown operator '~>@>'", "'ü' ~>@> 'b'\n    ^"),
    "'a' -> 'b'": ("line 1, column 5: unknown operator '->'", "'a' -> 'b'\n    ^"),
    "'a' ~> 'b": ("line 1, column 8: this string is never closed", "'a' ~> 'b\n       ^"),
    "'a' ~> $x$b": ("line 1, column 8: this string is never closed", "'a' ~> $x$b\n       ^"),
    "'a' /* b": ("line 1, column 5: this comment is never closed", "'a' /* b\n    ^"),
    "'a' ~> df.slep(5)": ("line 1, column 8: unknown function df.slep", "'a' ~> df.slep(5)\n       ^"),
    "'a' ~> sleep(5)": ("line 1, column 8: unknown function sleep", "'a' ~> sleep(5)\n       ^"),
    "'a' ~> df.sleep(1, 2)": (
        "line 1, column 8: df.sleep takes seconds, not 2 arguments",
        "'a' ~> df.sleep(1, 2)\n       ^",
    ),
    "df.http('u', foo => 1)": (
        "line 1, column 14: df.http has no parameter foo",
        "df.http('u', foo => 1)\n             ^",
    ),
    "df.loop(body => 'a', 'b')": (
        "line 1, column 22: positional argument cannot follow named argument",
        "df.loop(body => 'a', 'b')\n                     ^",
    ),
    "'a' ~> SELECT 1": ("line 1, column 8: unexpected word SELECT", "'a' ~> SELECT 1\n       ^"),
    "'a' ~> ‘b’": ("line 1, column 8: unexpected character U+2018", "'a' ~> ‘b’\n       ^"),
    "'a' ~> 5x": ("line 1, column 8: '5x' is not a number", "'a' ~> 5x\n       ^"),
    "'a' ~> B'1'": ("line 1, column 8: B'…' is not a text", "'a' ~> B'1'\n       ^"),
    "'a'::oid": ("line 1, column 6: unknown type oid", "'a'::oid\n     ^"),
    "'a' ~> ~> 'b'": ("line 1, column 8: expected a step, found ~>", "'a' ~> ~> 'b'\n       ^"),
    "'a' ~> df.setvar('a', 'b')": (
        "line 1, column 8: df.setvar cannot be used as a workflow step. Call df.setvar before df.start().",
        "'a' ~> df.setvar('a', 'b')\n       ^",
    ),
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_has_its_place_and_a_caret(refused: Any, text: str) -> None:
    """P8"""
    error = refused("df.start(%s)", text)
    message, detail = MISTAKES[text]
    assert error.sqlstate == "42601"
    assert error.diag.message_primary == f"Invalid durable function: {message}"
    assert error.diag.message_detail == detail
    assert error.diag.message_hint


def test_what_a_builder_refuses_is_pointed_at_too(refused: Any) -> None:
    """P8"""
    error = refused("df.start(%s)", "'a'\n ~> df.seq('b', df.wait_for_schedule('x y'))")
    assert error.diag.message_primary.startswith("Invalid cron expression 'x y': ")
    assert error.diag.message_detail.startswith("At line 2, column 17:\n")
    error = refused("df.start(%s)", "'a'\n ~> ('b' |=> 'bad name')")
    assert error.diag.message_primary.startswith("df.as: result name 'bad name' is not")
    assert error.diag.message_detail.startswith("At line 2, column 14:\n")


HOSTILE = [
    "'a' ~> (SELECT rolname FROM pg_roles LIMIT 1)",
    "'a' ~> pg_catalog.pg_read_file('/etc/passwd')",
    "'a' ~> pg_read_file('/etc/passwd')",
    "'a' ~> \"pg_read_file\"('/etc/passwd')",
    "'a' ~> df.start('SELECT 1')",
    "'a' ~> df.cancel('00000000')",
    "'a' ~> df._mark_helper('a', 'b')",
    "'a' ~> df._parse_workflow('b')",
    "'a' ~> df.\"if\\\"(1)",
    "'a' ~> current_user",
    "'a' ~> version()",
    "'a'; DROP TABLE df.instances",
    "'a' AS x FROM pg_roles",
    "'a' UNION SELECT 'b'",
    "'a' ~> set_config('df.in_workflow', 'x', false)",
    "'a' OPERATOR(pg_catalog.||) 'b'",
    "'a' ~> 'b' COLLATE \"C\"",
    "'a' ~> CASE WHEN true THEN 'b' END",
    "'a' ~> ARRAY['b']",
    "'a' ~> ROW('b')",
    "'a' ~> $1",
    "'a' ~> :'x'",
    "'a' ~> 'b'::regclass",
    "'1'::pg_catalog.regrole",
    "'a' ~> CAST('b' AS df.instances)",
    "'a' \\! ls",
    "'a' ~> U&'b' UESCAPE '!'",
    "E'\\' || pg_read_file('/etc/passwd') || '",
    "'\\' ~> ' || pg_read_file('/etc/passwd') || '",
    "'a' -- \r ~> pg_sleep(1)",
    "'a' /* */*/ ~> pg_sleep(1) /* */",
    "$a$ x $A$ ~> pg_sleep(1) ~> $a$ ~> pg_sleep(1)",
    "'a'\u00a0~> pg_sleep(1)",
    "'a' ~> jsonb_build_object('a', pg_sleep(1))::text",
    "'a' ~> jsonb_agg('a')::text",
    "'a' ~> df.sql(query => (TABLE pg_roles))",
    "'a' ~> df.sql(VARIADIC ARRAY['a'])",
    "'a' ~> df.sql('a' ORDER BY 1)",
    "'a' ~> df.sql(DISTINCT 'a') OVER ()",
    "'a' ~> df.sql('a') FILTER (WHERE true)",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_but_pure_builders_can_be_reached(
    user: psycopg.Connection[Any], refused: Any, text: str
) -> None:
    """S7"""
    assert refused("df.start(%s)", text).sqlstate == "42601"
    assert user.execute("SELECT count(*) FROM df.instances").fetchone() == (0,)


def test_names_that_roles_create_are_not_reached(
    database: Any, user: psycopg.Connection[Any], role: str, ask: Any
) -> None:
    """S7: neither functions, operators nor types of the caller's search_path take part."""
    with database.connect("postgres") as superuser:
        superuser.execute(f"CREATE SCHEMA {role} AUTHORIZATION {role}")
    user.execute(
        "CREATE FUNCTION jsonb_build_object(text, text) RETURNS jsonb LANGUAGE sql AS $$ SELECT"
        ' \'{"evil":"1"}\'::jsonb $$'
    )
    user.execute("CREATE FUNCTION evil(text, text) RETURNS text LANGUAGE sql AS $$ SELECT 'evil'::text $$")
    user.execute("CREATE OPERATOR ~> (LEFTARG = text, RIGHTARG = text, FUNCTION = evil)")
    user.execute("CREATE DOMAIN text AS pg_catalog.text CHECK (false)")
    user.execute(f"SET search_path = {role}, pg_catalog, public")
    made = ask(
        "df._parse_workflow(%s::pg_catalog.text)",
        "df.http('https://x', headers => jsonb_build_object('a', 'b')) ~> 'c'::text",
    )
    assert "evil" not in made and '\\"a\\":\\"b\\"' in made


def test_literals_do_not_depend_on_session_settings(user: psycopg.Connection[Any], ask: Any) -> None:
    if user.info.server_version >= 190000:
        pytest.skip("standard_conforming_strings can no longer be turned off")
    text = "'a\\' ~> E'b\\''"
    before = ask("df._parse_workflow(%s)", text)
    user.execute("SET standard_conforming_strings = off; SET backslash_quote = on")
    assert ask("df._parse_workflow(%s)", text) == before


@pytest.mark.parametrize("text", ["'a' ~> NULL", "NULL::text ~> 'a'", "df.seq('a', NULL)"])
def test_null_is_no_workflow(refused: Any, text: str) -> None:
    error = refused(
        "df.start(%s)", f"({text})" if text.startswith("'") or text.startswith("df") else f"('x' || {text})"
    )
    assert error.diag.message_primary == "Expression returned NULL"


def test_other_values_are_no_workflow(refused: Any) -> None:
    assert refused("df.start($$ '5'::integer $$)").sqlstate == "42804"
    assert refused("df.start($$ 'a' || 'b' ~> 'c' || 'd' $$)").diag.message_primary.startswith(
        "|| would glue text to a step"
    )


def test_long_and_deep_texts(ask: Any, refused: Any) -> None:
    """P9"""
    assert ask("df._parse_workflow(%s) IS NOT NULL", " ~> ".join(f"'SELECT {n}'" for n in range(250)))
    for text in ("(" * 20_000 + "'a'" + ")" * 20_000, "@> " * 20_000 + "'a'", " ~> ".join(["'a'"] * 20_000)):
        assert (
            "exceeds maximum nesting depth of 256"
            in refused("df._parse_workflow(%s)", text).diag.message_primary
        )
    assert (
        len(ask("df._parse_workflow(%s)", "'" + "é" * 500_000 + "' ~> $$" + "'" * 500_000 + "$$")) > 1_000_000
    )
