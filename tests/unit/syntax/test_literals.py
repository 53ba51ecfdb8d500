"""Literals, casts and json values are read as PostgreSQL reads them; offsets in them point to the source."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durasql.source import Source
from durasql.syntax import ast, parse

STRINGS = {
    "'it''s'": "it's",
    "'a'\n  'b'": "ab",
    "'a' -- note\n  -- more\n 'b'": "ab",
    r"'back\slash'": r"back\slash",
    r"E'tab\there \'x\' \\ \101 \x42 \u00e4 \U0001F600'": "tab\there 'x' \\ A B ä 😀",
    r"E'\uD83D\uDE00 \303\244'": "😀 ä",
    "E'a'\n'\\t'": "a\t",
    r"U&'d\0061t\+00006F \\'": "dato \\",
    "$$it's$$": "it's",
    "$tag$a $$ b$tag$": "a $$ b",
    "'a'::text": "a",
    "CAST('a' AS varchar)": "a",
    "text 'a'": "a",
    "('a' || 'b') || E'\\n'": "ab\n",
    "5::text": "5",
    "true::text": "true",
    "1.50::text": "1.50",
    """jsonb_build_object('b', 1.50, 'aa', NULL, 'b', true)::text""": '{"b": true, "aa": null}',
    """json_build_object('b', 1.50, 'a', '[1]'::json)::text""": '{"b" : 1.50, "a" : [1]}',
    """'{"b":1,"a":1e2}'::jsonb::text""": '{"a": 100, "b": 1}',
    """' {"b": 1}'::json::text""": ' {"b": 1}',
}


def leaf(text: str) -> ast.Node:
    (start,) = parse(Source(text)).starts
    return start.graph


@pytest.mark.parametrize(("literal", "value"), STRINGS.items())
def test_string_forms(literal: str, value: str) -> None:
    assert leaf(f"df.sql({literal})") == ast.Sql(value)


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("df.sleep('5')", ast.Sleep(5)),
        ("df.sleep(' +7 ')", ast.Sleep(7)),
        ("df.sleep(007)", ast.Sleep(7)),
        ("df.sleep(-(-5))", ast.Sleep(5)),
        ("df.sleep(2.5::int)", ast.Sleep(3)),
        ("df.wait_for_signal(timeout_seconds := '5', name => 's')", ast.Signal("s", 5)),
        ("df.wait_for_signal('s', NULL)", ast.Signal("s")),
        ("df.loop('a', NULL)", ast.Loop(ast.Sql("a"))),
        ("df.break('')", ast.Break("")),
        ("DF.Break()", ast.Break()),
        ("\"df\".\"if\"('a', 'b', 'c')", ast.If(ast.Sql("a"), ast.Sql("b"), ast.Sql("c"))),
        ("df.http('http://x', 'get')", ast.Http("http://x", "GET")),
        ("df.http('http://x', headers => '{\"a\":\"b\"}')", ast.Http("http://x", headers={"a": "b"})),
        (
            "df.http_multipart('http://x', parts => '[1.0]')",
            ast.HttpMultipart("http://x", parts=[Decimal("1.0")]),
        ),
        ("df.http('$base/x')", ast.Http("$base/x")),
    ],
)
def test_arguments_convert_as_in_a_function_call(text: str, node: ast.Node) -> None:
    assert leaf(text) == node


def test_an_envelope_in_a_literal_is_the_step_it_describes() -> None:
    assert leaf("""'{"node_type":"SLEEP","query":"5"}' ~> 'b'""") == ast.Then(ast.Sleep(5), ast.Sql("b"))
    assert leaf("""df.sql('{"node_type":"SLEEP","query":"5"}')""") == ast.Sql(
        '{"node_type":"SLEEP","query":"5"}'
    )
    assert leaf("""'{"a":1}' ~> 'b'""") == ast.Then(ast.Sql('{"a":1}'), ast.Sql("b"))
    assert leaf("""'{"node_type":"NEW"}' ~> 'b'""") == ast.Then(ast.Sql('{"node_type":"NEW"}'), ast.Sql("b"))


@given(st.text(st.sampled_from("a'\\\nä😀"), max_size=10))
def test_p8_offsets_in_a_literal_point_into_the_source(text: str) -> None:
    written = "'" + text.replace("'", "''") + "'"
    source = f"  df.sql({written})"
    node = leaf(source)
    map_ = node.text_map("query")
    assert isinstance(node, ast.Sql) and map_ is not None
    for at, char in enumerate(node.query):
        assert source[map_.place(at)] == char


def test_p8_offsets_reach_through_a_workflow_inside_a_literal() -> None:
    source = """SELECT df.start('''SELECT 1'' ~> E''x\\tSELEKT''', 'label');"""
    (start,) = parse(Source(source)).starts
    assert start.label == "label" and isinstance(start.graph, ast.Then)
    second = start.graph.second
    map_ = second.text_map("query")
    assert isinstance(second, ast.Sql) and map_ is not None and second.query == "x\tSELEKT"
    span = map_.span_of(2, 8)
    assert source[span.start : span.end] == "SELEKT"


def test_a_text_of_statements() -> None:
    workflow = parse(
        Source(
            "select df.setvar('a', 'b'), df.setvar('c', 'd') as x;; SELECT df.start('x', database => 'db');"
        )
    )
    assert workflow.statements == (
        ast.SetVar("a", "b"),
        ast.SetVar("c", "d"),
        ast.Start(ast.Sql("x"), database="db"),
    )
