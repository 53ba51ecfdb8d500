"""P9: every limit gives one clear message, quickly, whatever is thrown at the parser (L16)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durasql.errors import CompileError
from durasql.limits import MAX_DEPTH, MAX_SOURCE_BYTES
from durasql.pipeline import compile_graph, compile_text
from durasql.source import Source
from durasql.syntax import ast, jsontext, parse
from durasql.syntax.envelope import EnvelopeError, decode, encode
from durasql.syntax.unparse import unparse


def refused(text: str) -> str:
    with pytest.raises(CompileError) as caught:
        parse(Source(text))
    (found,) = caught.value.diagnostics
    return found.code


def balanced(leaves: int) -> str:
    """A tree of `leaves` leaves with little depth."""
    texts = ["'a'"] * leaves
    while len(texts) > 1:
        texts = [f"({' ~> '.join(texts[i : i + 2])})" for i in range(0, len(texts), 2)]
    return texts[0]


def test_depth_256_is_accepted_and_257_refused() -> None:
    assert parse(Source("'a'" + " ~> 'b'" * MAX_DEPTH)).starts
    assert refused("'a'" + " ~> 'b'" * (MAX_DEPTH + 1)) == "E301"
    assert refused("@> " * 300 + "'a'") == "E301"
    assert refused("df.loop(" * 300 + "'a'" + ")" * 300) == "E301"


def test_ten_thousand_nodes_are_accepted_and_no_more() -> None:
    assert parse(Source(balanced(5_000))).starts
    assert refused(balanced(5_001)) == "E302"
    assert refused(balanced(10_000)) == "E302"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("'" + "x" * (MAX_SOURCE_BYTES + 1) + "'", "E303"),
        ("(" * 300_000 + "'a'", "E304"),
        (";" * 300_000, "E304"),
        ("'a' ~> " * 300_000, "E304"),
        ("df.sql(jsonb_build_array(" + "1," * 101 + "1)::text)", "E116"),
        ("'" * 100_001, "E101"),
        ("$" * 1_001, "E105"),
        ("/*" * 100_000, "E102"),
        ("df.http('https://x', headers => '" + "[" * 50_000 + "')", "E126"),
    ],
)
def test_hostile_sizes(text: str, code: str) -> None:
    with pytest.raises(CompileError) as caught:
        parse(Source(text))
    assert code in {found.code for found in caught.value.diagnostics}


@pytest.mark.parametrize("kind", ["then", "join", "race", "loop", "if", "condition"])
def test_the_deepest_tree_goes_through_every_stage(kind: str) -> None:
    leaf = ast.Sql("SELECT 1")
    make = {
        "then": lambda node: ast.Then(node, leaf),
        "join": lambda node: ast.Join((leaf, node)),
        "race": lambda node: ast.Race(node, leaf),
        "loop": lambda node: ast.Loop(node, ast.Sql("SELECT true")),
        "if": lambda node: ast.If(leaf, leaf, node),
        "condition": lambda node: ast.If(node, leaf, leaf),
    }[kind]
    node: ast.Node = leaf
    for _ in range(MAX_DEPTH):
        node = make(node)
    assert encode(decode(encode(node))) == encode(node)
    assert compile_graph(encode(node)).hash == compile_text(unparse(node)).starts[0].program.hash


def test_envelopes_have_the_same_limits() -> None:
    deep = "{}"
    for _ in range(300):
        deep = '{"node_type":"LOOP","left_node":' + deep + "}"
    for text in (deep, '{"node_type":"SQL","x":' + "[" * 100_000, "[" * 100_000):
        with pytest.raises(EnvelopeError):
            decode(text)
    assert jsontext.read("[" * 100_000 + "]" * 100_000)


SAMPLE = "'SELECT 1' |=> 'a' ~> (df.sleep(5) | @> df.if('c', $$x$$, E'\\n')) -- note\n & 'b'::text /* c */;"


def parses_or_explains(text: str) -> None:
    try:
        parse(Source(text))
    except CompileError as error:
        assert error.diagnostics and all(found.span is not None for found in error.diagnostics)


def test_p8_every_single_character_mutation_parses_or_is_explained() -> None:
    random.seed(1)
    for at in range(len(SAMPLE)):
        parses_or_explains(SAMPLE[:at] + SAMPLE[at + 1 :])
        parses_or_explains(SAMPLE[:at])
        for char in random.sample("'\"()$;,-~>|&@?!=.:\\/*E#{[0aä\n", 8):
            parses_or_explains(SAMPLE[:at] + char + SAMPLE[at + 1 :])
            parses_or_explains(SAMPLE[:at] + char + SAMPLE[at:])


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "'a'",
                "~>",
                "|=>",
                "@>",
                "?>",
                "!>",
                "(",
                ")",
                "df",
                ".",
                "sleep",
                "5",
                ",",
                "=>",
                ";",
                "SELECT",
                "AS",
                "NULL",
                "::",
                "text",
                "-",
                "'",
                "$$",
                "--",
                "/*",
            ]
        ),
        max_size=12,
    ).map(" ".join)
    | st.text(max_size=20)
)
def test_p8_any_text_parses_or_is_explained(text: str) -> None:
    parses_or_explains(text)
