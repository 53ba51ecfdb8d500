"""P1: PostgreSQL's precedence. All infix operators bind equally and to the left, `@>` takes one operand."""

from __future__ import annotations

import pytest

from durasql.source import Source
from durasql.syntax import ast, parse
from durasql.syntax.build import parser

EQUAL_TEXTS = {
    "'a' ~> 'b' & 'c'": "df.join(df.seq('a', 'b'), 'c')",
    "'a' ~> 'b' | 'c'": "df.race(df.seq('a', 'b'), 'c')",
    "'a' | 'b' & 'c'": "df.join(df.race('a', 'b'), 'c')",
    "'a' & 'b' | 'c'": "df.race(df.join('a', 'b'), 'c')",
    "'a' & 'b' & 'c'": "df.join(df.join('a', 'b'), 'c')",
    "'a' & 'b' ~> 'c'": "df.seq(df.join('a', 'b'), 'c')",
    "'a' & 'b' |=> 'x'": "df.as(df.join('a', 'b'), 'x')",
    "'a' ~> 'b' |=> 'x'": "df.as(df.seq('a', 'b'), 'x')",
    "'a' |=> 'x' ~> 'b'": "df.seq(df.as('a', 'x'), 'b')",
    "'a' ~> 'b' |=> 'y' ~> 'c'": "df.seq(df.as(df.seq('a', 'b'), 'y'), 'c')",
    "@> 'a' ~> 'b'": "df.seq(df.loop('a'), 'b')",
    "@> 'a' |=> 'x'": "df.as(df.loop('a'), 'x')",
    "@> ('a' ~> 'b') | 's'": "df.race(df.loop(df.seq('a', 'b')), 's')",
    "'a' ~> @> 'b' ~> 'c'": "df.seq(df.seq('a', df.loop('b')), 'c')",
    "@> @> 'a'": "df.loop(df.loop('a'))",
    "'c' ?> 't' !> 'e'": "df.if('c', 't', 'e')",
    "'a' ~> 'c' ?> 't' !> 'e'": "df.if(df.seq('a', 'c'), 't', 'e')",
    "'c' ?> 't' !> 'e' ~> 'd'": "df.seq(df.if('c', 't', 'e'), 'd')",
    "'c' ?> 't' !> 'e' |=> 'x'": "df.as(df.if('c', 't', 'e'), 'x')",
    "'a' |=> 'x' |=> 'y'": "df.as('a', 'y')",
    "'a' || 'b' ~> 'c'": "df.seq('ab', 'c')",
    "df.if_then_op('c', 't') !> 'e'": "df.if('c', 't', 'e')",
    "df.as_op(df.loop_prefix_op('a'), 'n')": "df.as(df.loop('a'), 'n')",
}


def graph(text: str) -> ast.Node:
    """The one workflow of a text."""
    (start,) = parse(Source(text)).starts
    return start.graph


@pytest.mark.parametrize(("operators", "functions"), EQUAL_TEXTS.items())
def test_p1_operators_group_as_postgresql_groups_them(operators: str, functions: str) -> None:
    assert graph(operators) == graph(functions)


def test_p1_the_grammar_is_unambiguous() -> None:
    """Lark resolves conflicts in silence unless it is strict."""
    parser(strict=True)


def test_nested_joins_stay_nested_and_join3_is_flat() -> None:
    assert graph("df.join3('a', 'b', 'c')") == ast.Join((ast.Sql("a"), ast.Sql("b"), ast.Sql("c")))
