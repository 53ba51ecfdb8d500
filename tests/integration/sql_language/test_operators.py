"""Operators: PostgreSQL's own precedence decides (P1); operands are wrapped; mistakes are refused at once."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest


def tree(envelope: str) -> str:
    """An envelope as language.md writes trees: THEN(a, LOOP(b) as x)."""

    def shown(node: dict[str, Any]) -> str:
        kind = node["node_type"]
        if kind == "SQL":
            text: str = node["query"]
        else:
            keys = (
                ("condition_node", "left_node", "right_node") if kind == "IF" else ("left_node", "right_node")
            )
            text = f"{kind}({', '.join(shown(node[key]) for key in keys if key in node)})"
        return f"{text} as {node['result_name']}" if "result_name" in node else text

    return shown(json.loads(envelope))


PRECEDENCE = {
    "'a' ~> 'b' & 'c'": "JOIN(THEN(a, b), c)",
    "'a' ~> 'b' | 'c'": "RACE(THEN(a, b), c)",
    "'a' | 'b' & 'c'": "JOIN(RACE(a, b), c)",
    "'a' & 'b' | 'c'": "RACE(JOIN(a, b), c)",
    "'a' & 'b' & 'c'": "JOIN(JOIN(a, b), c)",
    "'a' & 'b' ~> 'c'": "THEN(JOIN(a, b), c)",
    "'a' & 'b' |=> 'x'": "JOIN(a, b) as x",
    "'a' | 'b' |=> 'x'": "RACE(a, b) as x",
    "'a' ~> 'b' |=> 'x'": "THEN(a, b) as x",
    "'a' |=> 'x' ~> 'b'": "THEN(a as x, b)",
    "'a' ~> 'b' |=> 'y' ~> 'c'": "THEN(THEN(a, b) as y, c)",
    "@> 'a' ~> 'b'": "THEN(LOOP(a), b)",
    "@> 'a' |=> 'x'": "LOOP(a) as x",
    "@> ('a' ~> 'b') | 's'": "RACE(LOOP(THEN(a, b)), s)",
    "'a' ~> @> 'b' ~> 'c'": "THEN(THEN(a, LOOP(b)), c)",
    "'c' ?> 't' !> 'e'": "IF(c, t, e)",
    "'a' ~> 'c' ?> 't' !> 'e'": "IF(THEN(a, c), t, e)",
    "'c' ?> 't' !> 'e' ~> 'd'": "THEN(IF(c, t, e), d)",
    "'c' ?> 't' !> 'e' |=> 'x'": "IF(c, t, e) as x",
    "'c' ?> ('t' ~> 'u') !> ('e' |=> 'x')": "IF(c, THEN(t, u), e as x)",
    "'a' |=> 'x' |=> 'y'": "a as y",
    "@> @> 'a'": "LOOP(LOOP(a))",
    "'a'::text || 'b' ~> 'c'": "THEN(ab, c)",
}


@pytest.mark.parametrize("expression", PRECEDENCE)
def test_precedence_table(ask: Any, expression: str) -> None:
    assert tree(ask(expression)) == PRECEDENCE[expression]


@pytest.mark.parametrize("expression", PRECEDENCE)
def test_a_text_gives_the_tree_of_the_operators(ask: Any, expression: str) -> None:
    text = expression.replace("'a'::text || 'b' ~>", "('a'::text || 'b') ~>")
    assert ask("df._parse_workflow(%s)", text) == ask(text)


UNFINISHED = [
    "'c' ?> 't1' ~> 't2' !> 'e'",
    "'c' ?> 't' & 'u' !> 'e'",
    "'c' ?> 't' |=> 'x' !> 'e'",
    "'c1' ?> 'c2' ?> 't' !> 'e' !> 'f'",
    "df.sql('c' ?> 't')",
    "df.seq('a', 'c' ?> 't')",
    "df.loop('c' ?> 't')",
    "df.if('a', 'b', 'c' ?> 't')",
    "df.if_rows('r', 'c' ?> 't', 'b')",
    "df.join3('a', 'b', 'c' ?> 't')",
    "@> ('c' ?> 't')",
    "df.start('c' ?> 't')",
    "df.start($$ 'c' ?> 't' $$)",
]


@pytest.mark.parametrize("expression", UNFINISHED)
def test_an_unfinished_if_is_refused_and_names_what_is_missing(refused: Any, expression: str) -> None:
    """L1"""
    error = refused(expression)
    assert error.diag.message_primary.endswith("Invalid if-then-else: ?> without !>")
    assert "parentheses" in error.diag.message_hint


def test_the_left_side_of_else_must_be_a_half_if(refused: Any) -> None:
    for left in ("'c' ?> 't' !> 'e'", "df.sleep(1)", "'[]'", "'1'"):
        error = refused(f"{left} !> 'f'")
        assert error.diag.message_primary == "Invalid if-then-else: left side of !> must be a ?> expression"
    assert refused("'SELECT 1' !> 'f'").sqlstate == "22P02"


def test_null_operands_give_null(ask: Any) -> None:
    for expression in (
        "NULL ~> 'a'",
        "'a' & NULL",
        "'a' |=> NULL",
        "'c' ?> 't' !> NULL",
        "'c' ?> NULL !> 'e'",
        "NULL ?> 't' !> 'e'",
    ):
        assert ask(expression) is None


def test_builtin_operators_keep_their_meaning(ask: Any) -> None:
    assert ask("6 & 3, 6 | 3") == 2
    assert ask("B'110' & B'011'") == "010"
    assert ask("ARRAY[1,2] @> ARRAY[1]") is True


# --- operands

WRAPPED = {
    '{"a":1}': {"node_type": "SQL", "query": '{"a":1}'},
    "[1]": {"node_type": "SQL", "query": "[1]"},
    "{broken": {"node_type": "SQL", "query": "{broken"},
    '{"node_type":1}': {"node_type": "SQL", "query": '{"node_type":1}'},
    '{"node_type":"FOO","query":"x"}': {"node_type": "SQL", "query": '{"node_type":"FOO","query":"x"}'},
    ' \n{"query":"q", "x":1,"node_type":"SQL"} ': {"node_type": "SQL", "query": "q"},
    '{"node_type":"SQL","query":"\\u0041\\/"}': {"node_type": "SQL", "query": "A/"},
    '{"result_name":null,"node_type":"SLEEP","query":"5"}': {"node_type": "SLEEP", "query": "5"},
    "": {"node_type": "SQL", "query": ""},
    " x": {"node_type": "SQL", "query": " x"},
}


@pytest.mark.parametrize("operand", WRAPPED)
def test_wrapping_of_operands(ask: Any, operand: str) -> None:
    left, right = json.dumps(WRAPPED[operand], separators=(",", ":")), '{"node_type":"SQL","query":"b"}'
    assert (
        ask("df.seq(%s, 'b')", operand) == f'{{"node_type":"THEN","left_node":{left},"right_node":{right}}}'
    )


MALFORMED = {
    '{"node_type":"SQL","query":1}': "query must be a string",
    '{"node_type":"THEN","left_node":4}': "Durofut children must be JSON objects",
    '{"node_type":"THEN","right_node":"x"}': "Durofut children must be JSON objects",
    '{"node_type":"IF","condition_node":"x"}': "condition_node must be a Durofut JSON object",
    '{"node_type":"JOIN","extra_nodes":["x"]}': "extra_nodes entries must be Durofut JSON objects",
    '{"node_type":"SQL","query":"a","query":"b"}': "duplicate field `query`",
    '{"node_type":"SQL","query":"a","node_type":"SQL"}': "duplicate field `node_type`",
    '{"node_type":"SQL","query":"a","result_name":5}': "result_name must be a string",
    '{"node_type":"FOO","query":1}': "query must be a string",
    '{"node_type":"SQL","query":"a\\u0000"}': "unsupported Unicode escape sequence",
}


@pytest.mark.parametrize("operand", MALFORMED)
def test_malformed_envelopes_are_no_operands(refused: Any, operand: str) -> None:
    message = refused("'a' ~> %s::text", operand).diag.message_primary
    assert message == f"Invalid Durofut JSON: failed to deserialize workflow step: {MALFORMED[operand]}"


def test_deeper_levels_are_kept_as_they_are(ask: Any) -> None:
    child = '{ "query" : "x" , "node_type" : "SQL" , "odd" : 1 }'
    built = ask("df.as(%s, 'n')", f'{{"right_node":{child},"left_node":{child},"node_type":"THEN"}}')
    assert built == f'{{"node_type":"THEN","left_node":{child},"right_node":{child},"result_name":"n"}}'


def test_two_hundred_steps_build(ask: Any) -> None:
    assert ask(" ~> ".join(f"'SELECT {n}'" for n in range(200))).count('"THEN"') == 199


# --- helpers that are no steps


@pytest.mark.parametrize("helper", ["df.setvar('a','x')", "df.unsetvar('a')", "df.clearvars()"])
@pytest.mark.parametrize("use", ["df.seq({}, 'b')", "'b' ~> {}", "{} |=> 'n'", "df.sql({})", "df.start({})"])
def test_a_helper_is_no_step(refused: Any, helper: str, use: str) -> None:
    name = helper.partition("(")[0]
    message = refused(use.format(helper)).diag.message_primary
    prefix = "Invalid durable function: " if "start" in use else ""
    assert message == f"{prefix}{name} cannot be used as a workflow step. Call {name} before df.start()."


def test_a_helper_and_a_start_in_one_statement_or_block_work(user: psycopg.Connection[Any]) -> None:
    """E14"""
    user.execute("DO $$ BEGIN PERFORM df.setvar('a', 'x'); PERFORM df.start('SELECT 1'); END $$")
    user.execute("SELECT df.setvar('b', 'y'), df.start('SELECT ''{a}''')")
    rows = user.execute("SELECT vars FROM df.instances ORDER BY created_at").fetchall()
    assert [row[0] for row in rows] == [{"a": "x"}, {"a": "x", "b": "y"}]


def test_a_helper_does_not_affect_later_statements(user: psycopg.Connection[Any], ask: Any) -> None:
    with user.transaction():
        ask("df.setvar('a', 'x')")
        assert json.loads(ask("df.sql('OK')"))["query"] == "OK"


def test_waiting_is_no_step(owner: psycopg.Connection[Any], ask: Any, refused: Any) -> None:
    made = ask("df.start('SELECT 1')")
    owner.execute("SELECT df._finish(%s, 'completed', '1')", (made,))
    message = refused("df.seq(df.await_instance(%s), 'b')", made).diag.message_primary
    assert message == (
        "df.await_instance cannot be used as a workflow step. Call df.await_instance before df.start()."
    )
