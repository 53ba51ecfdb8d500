"""P1: one text, one tree. Every case goes through the Lark grammar and through PostgreSQL's own parser.

There are two ways into PostgreSQL. df.start(text) must agree with the grammar about every text. The operators
stand in the whole of SQL, so there PostgreSQL may accept more than the language has (`df.sleep(2 * 30)`); but
what the grammar accepts must be accepted there, too, and be the same program.
"""

from __future__ import annotations

import re
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.graphs import graphs

from conformance.cases import CASES, Case
from conformance.large import LARGE
from conformance.mutations import EXHAUSTIVE, sample
from conformance.postgresql import Session, Verdict, is_script, through_operators, through_text
from durasql.errors import CompileError
from durasql.pipeline import parse_source
from durasql.source import Source
from durasql.syntax import ast
from durasql.syntax.envelope import encode, graph_hash
from durasql.syntax.reading import read_start_text
from durasql.syntax.unparse import unparse

ALL: Final = (*CASES, *LARGE)

STRICTER: Final = {
    "mistakes/vertical_tab": "PostgreSQL 16 and later take it for a blank",
    "mistakes/concatenated_number": "|| of a text and a number is SQL, but not of the language",
    "mistakes/glued_text": "PostgreSQL glues the text to the envelope; the step fails when it runs",
    "precedence/concatenation": "the same",
    "limits/text_too_large": "a file has a limit of its own; a graph may be larger (setting max_graph_bytes)",
}
"""Cases that the grammar refuses and PostgreSQL's operators accept, and why that is so."""

LARGER_TEXT: Final = ("limits/text_too_large",)
"""df.start(text) has no limit for the text but the one for the graph."""


_NO_DATABASE: Final = re.compile('database ".*" does not exist', re.DOTALL)
"""A fact about the server, which the grammar cannot know."""


def programs(workflow: ast.Workflow) -> tuple[tuple[str, str], ...]:
    """The identity and the canonical graph of every workflow."""
    return tuple((graph_hash(start.graph), encode(start.graph)) for start in workflow.starts)


def parsed(text: str) -> Verdict:
    """What the grammar makes of a file."""
    try:
        return Verdict(programs(parse_source(Source(text))))
    except CompileError as error:
        return Verdict(None, error.message)


def read(text: str) -> Verdict:
    """What it makes of the argument of df.start."""
    try:
        return Verdict(programs(read_start_text(Source(text))))
    except CompileError as error:
        return Verdict(None, error.message)


def assert_same(text: str, ours: Verdict, theirs: Verdict) -> None:
    assert ours.programs == theirs.programs, f"{text[:500]!r}\ngrammar:    {ours}\nPostgreSQL: {theirs}"


def assert_accepted_alike(text: str, user: Session) -> None:
    """The promise for any text: see above."""
    ours = parsed(text)
    if ours.programs is not None:
        theirs = through_operators(user, text)
        if not _NO_DATABASE.search(theirs.error):
            assert_same(text, ours, theirs)
    if not is_script(text):
        assert_same(text, read(text), through_text(user, text))


# --- the cases


@pytest.mark.parametrize("case", ALL)
def test_p1_operators_and_grammar_agree(case: Case, user: Session) -> None:
    ours, theirs = parsed(case.text), through_operators(user, case.text)
    if str(case) in STRICTER:
        assert ours.programs is None
        assert theirs.programs or "PostgreSQL 16" in STRICTER[str(case)]
    elif ours.programs is None:
        # A script that starts nothing is no mistake in SQL: SELECT df.sleep(5);
        assert not theirs.programs, theirs
    else:
        assert_same(case.text, ours, theirs)


@pytest.mark.parametrize("case", [case for case in ALL if not is_script(case.text)])
def test_p1_text_form_and_grammar_agree(case: Case, user: Session) -> None:
    if str(case) not in LARGER_TEXT:
        assert_same(case.text, read(case.text), through_text(user, case.text))


# --- mutations of them


@pytest.mark.timeout(3600 if EXHAUSTIVE else 120)
@pytest.mark.parametrize("case", CASES)
def test_p1_slips_of_the_finger_are_judged_alike(case: Case, user: Session) -> None:
    for text in sample(case, 3, "fronts"):
        assert_accepted_alike(text, user)


# --- generated expressions

BLANKS: Final = st.sampled_from([" ", "\n", "\t ", " -- note\n", " /* a /* b */ */ ", "  \r\n"])


@st.composite
def formatted(draw: st.DrawFn) -> str:
    """The canonical text of a generated tree, with other blanks and comments between its words."""
    words = unparse(draw(graphs())).split(" ~> ")
    return draw(BLANKS).join(words[:1]) + "".join(
        f"{draw(BLANKS)}~>{draw(BLANKS)}{word}" for word in words[1:]
    )


OPERANDS: Final = st.sampled_from(
    [
        "'SELECT 1'",
        "$$it's$$",
        "E'a\\n'",
        "df.sleep(5)",
        "df.break('x')",
        "('a' ~> 'b')",
        "('a' |=> 'n')",
        "df.if('a', 'b' & 'c', 'd')",
        "df.retry('a' <~ 'b', 3, errors => 'timeout')",
        "df.catch(df.timeout('a', '1 s'), df.finally('b', 'c'))",
        "'x'::text",
        "@> 'y'",
        "@> @> ('z' | 'w')",
        "('c' ?> 't' !> 'e')",
        '\'{"node_type":"SLEEP","query":"5"}\'',
    ]
)
OPERATORS: Final = st.sampled_from(["~>", "&", "|", "<~", "|=> 'n' ~>", "?> 't' !>", "|=> 'm' &", "?>", "!>"])


@st.composite
def chains(draw: st.DrawFn) -> str:
    """Operators and operands without parentheses: PostgreSQL's precedence decides, or refuses."""
    text = draw(OPERANDS)
    for operator, operand in draw(st.lists(st.tuples(OPERATORS, OPERANDS), max_size=8)):
        text += f" {operator} {operand}"
    return text


GENERATED = settings(
    max_examples=2_000 if EXHAUSTIVE else 200,
    deadline=None,
    derandomize=not EXHAUSTIVE,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@GENERATED
@given(text=formatted())
def test_p1_generated_trees_are_the_same_program(user: Session, text: str) -> None:
    assert parsed(text).programs is not None
    assert_accepted_alike(text, user)


@GENERATED
@given(text=chains())
def test_p1_generated_chains_group_alike(user: Session, text: str) -> None:
    assert_accepted_alike(text, user)


@GENERATED
@given(node=graphs())
def test_p1_graphs_of_one_front_are_graphs_of_the_other(user: Session, node: ast.Node) -> None:
    """A stored graph given to df.start again is the same program."""
    text = encode(node)
    assert_same(text, Verdict(((graph_hash(node), text),)), through_text(user, text))
