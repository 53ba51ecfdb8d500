"""What is written can be read back: unparse, fmt and envelopes on generated trees (P1)."""

from __future__ import annotations

import string
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from durasql.source import Source
from durasql.syntax import ast, jsontext, parse
from durasql.syntax.envelope import decode, encode, graph_hash
from durasql.syntax.fmt import format_source
from durasql.syntax.unparse import quote, unparse, unparse_workflow

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
QUERY = TEXT | st.sampled_from(
    ["SELECT 1", "SELECT '$a'", "x'y\nz", "$$a$$", '{"node_type":"SLEEP","query":"5"}', "df.sleep(1)", "'a'"]
)
NAME = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,5}", fullmatch=True)
NAMED = st.none() | NAME
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | TEXT
    | st.decimals(allow_nan=False, allow_infinity=False, places=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
HEADERS = st.none() | st.dictionaries(
    st.text(string.ascii_letters + "-", min_size=1, max_size=8),
    st.text(string.printable.replace("\r", "").replace("\n", ""), max_size=8),
    max_size=3,
)
TIMEOUT = st.integers(1, 2**31 - 1)

LEAF = st.one_of(
    st.builds(ast.Sql, QUERY, name=NAMED),
    st.builds(ast.Break, st.none() | TEXT, name=NAMED),
    st.builds(ast.Sleep, st.integers(0, 2**63 - 1), name=NAMED),
    st.builds(
        ast.WaitSchedule,
        st.sampled_from(["* * * * *", "@daily", "5,10-20/2 0 1 jan MON-fri"]),
        st.sampled_from([None, "Europe/Berlin"]),
        name=NAMED,
    ),
    st.builds(ast.Signal, TEXT.filter(bool), st.none() | TIMEOUT, name=NAMED),
    st.builds(
        ast.Http,
        TEXT.map("https://{}/".__add__),
        st.sampled_from(["GET", "POST", "PATCH"]),
        st.none() | TEXT,
        HEADERS,
        TIMEOUT,
        name=NAMED,
    ),
    st.builds(
        ast.HttpMultipart,
        TEXT.map("http://x/".__add__),
        st.sampled_from(["PUT", "POST"]),
        st.lists(JSON, min_size=1, max_size=3),
        HEADERS,
        TIMEOUT,
        name=NAMED,
    ),
    st.builds(ast.Opaque, st.sampled_from(["SLEEP", "HTTP", "SIGNAL"]), TEXT.map("?".__add__), name=NAMED),
)


def _composites(inner: st.SearchStrategy[ast.Node]) -> st.SearchStrategy[ast.Node]:
    return st.one_of(
        st.builds(ast.Then, inner, inner, name=NAMED),
        st.builds(ast.Race, inner, inner, name=NAMED),
        st.builds(ast.If, inner, inner, inner, name=NAMED, config=st.sampled_from([None, '{"old":1}'])),
        st.builds(ast.IfRows, TEXT, inner, inner, name=NAMED),
        st.builds(ast.Loop, inner, st.none() | inner, name=NAMED),
        st.builds(ast.Join, st.lists(inner, min_size=2, max_size=4).map(tuple), name=NAMED),
    )


NODE = st.recursive(LEAF, _composites, max_leaves=8)
WORKFLOW = st.lists(
    st.builds(ast.SetVar, TEXT, TEXT)
    | st.builds(
        ast.Start, NODE, st.none() | TEXT, st.none() | TEXT, st.sampled_from([None, "new", "caller"])
    ),
    min_size=1,
    max_size=3,
).map(lambda items: ast.Workflow(tuple(items)))


@settings(max_examples=150, deadline=None)
@given(NODE)
def test_p1_unparse_reads_back(node: ast.Node) -> None:
    text = unparse(node)
    assert encode(parse(Source(text)).starts[0].graph) == encode(node)
    assert parse(Source(text)).starts[0].graph == node


@settings(max_examples=150, deadline=None)
@given(NODE)
def test_p1_envelope_reads_back(node: ast.Node) -> None:
    assert decode(encode(node)) == node
    assert encode(decode(encode(node))) == encode(node)


@settings(max_examples=60, deadline=None)
@given(WORKFLOW)
def test_fmt_is_idempotent_and_keeps_the_hash(workflow: ast.Workflow) -> None:
    text = unparse_workflow(workflow)
    assert parse(Source(text)) == workflow
    assert format_source(text) == text


SAMPLE = "'a' |=> 'x' ~> ( 'b' & df.sleep ( 5 ) ) ~> @> df.if ( 'c' , $$d\n$$ ~> 'e' , ( 'f' ) ) :: text"
GAP = st.sampled_from(
    [" ", "\n", "\n\n", " -- note\n", "\n-- own\n", " /* in */ ", "\n/* a\n /* b */ */\n", "\t"]
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_fmt_keeps_every_comment_wherever_it_stands(data: st.DataObject) -> None:
    words = SAMPLE.split(" ")
    text = "".join(word + data.draw(GAP) for word in words)
    once = format_source(text)
    assert format_source(once) == once
    assert [once.count(mark) for mark in ("-- note", "-- own", "/* in */", "/* b */")] == [
        text.count(mark) for mark in ("-- note", "-- own", "/* in */", "/* b */")
    ]
    assert graph_hash(parse(Source(once)).starts[0].graph) == graph_hash(parse(Source(text)).starts[0].graph)


@settings(max_examples=100, deadline=None)
@given(TEXT | st.text("$q'1", max_size=8))
def test_quote_reads_back(text: str) -> None:
    (start,) = parse(Source(f"df.sql({quote(text)})")).starts
    assert start.graph == ast.Sql(text)


@settings(max_examples=100, deadline=None)
@given(JSON)
def test_json_reads_back(value: ast.Json) -> None:
    assert jsontext.compact(jsontext.read(jsontext.compact(value))) == jsontext.compact(value)
    assert jsontext.read(jsontext.spaced(value)) == jsontext.read(jsontext.compact(value))


def test_numbers_keep_the_digits_postgresql_keeps() -> None:
    given_and_kept = {
        "1.10": "1.10",
        "1e2": "100",
        "1.50e1": "15.0",
        "-0": "0",
        "-0.00": "0.00",
        "1e-3": "0.001",
        "12E+1": "120",
    }
    for given_text, kept in given_and_kept.items():
        assert jsontext.compact(jsontext.read(given_text)) == kept
    assert jsontext.read("1.10") == Decimal("1.10")


def test_formatting_keeps_blank_lines_around_comments() -> None:
    text = "-- what this is\n\n-- durasql: allow W203\n'SELECT 1'\n\n-- then\n\n~> 'SELECT 2'\n\n-- end\n"
    assert format_source(text) == text


def test_a_call_in_a_call_is_indented_once() -> None:
    long = "'SELECT 1 AS a_column_with_a_name_that_fills_the_line_quite_a_bit'"
    inner = f"    df.catch(\n        {long},\n        {long}\n    ),\n"
    text = f"df.catch(\n{inner}    'SELECT 2'\n)\n"
    assert format_source(text) == text
