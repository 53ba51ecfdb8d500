"""The suite covers the language: whatever the grammar, the tables and the registry have, some case shows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files

import pytest
from lark import Lark

from conformance.cases import CASES, Case
from conformance.large import LARGE
from conformance.postgresql import Session
from conformance.test_compile import ACCEPTED, ALL, accepted, compiled
from durasql.bytecode.opcodes import Op
from durasql.codes import CODES
from durasql.errors import CompileError
from durasql.syntax import terms
from durasql.syntax.build import GRAMMAR, _Lexemes, vocabulary
from durasql.syntax.functions import JSON_FUNCTIONS
from durasql.syntax.reading import read_terms
from durasql.syntax.scan import Lexeme, scan
from durasql.syntax.signatures import BUILDERS, OPERATOR_ALIASES, SETVAR, START, Parameter
from durasql.syntax.values import TYPES

HELPERS = ("if_then_op", "if_else_op")
"""Functions behind operators that are no builders."""


@cache
def words() -> list[tuple[Case, list[Lexeme]]]:
    """The words of every case that parses."""
    found = [(case, scan(case.source, vocabulary())) for case in CASES]
    return [(case, scanned.lexemes) for case, scanned in found if _parses(case)]


@cache
def _parses(case: Case) -> bool:
    try:
        read_terms(case.source)
    except CompileError:
        return False
    return True


@cache
def calls() -> list[terms.Call]:
    return [term for term in all_terms() if isinstance(term, terms.Call)]


def all_terms() -> Iterator[terms.Term]:
    """Every term of every case that parses."""
    for case, _ in words():
        for piece in read_terms(case.source)[0]:
            roots = piece.calls if isinstance(piece, terms.Select) else (piece,)
            for root in roots:
                yield from terms.bottom_up(root)


def test_at_least_150_cases() -> None:
    assert len(CASES) >= 150


@pytest.mark.parametrize("op", Op)
def test_every_opcode_has_a_case(op: Op) -> None:
    starts = [start for case in ACCEPTED for start in accepted(case).starts]
    assert any(instruction.op is op for start in starts for instruction in start.program.code)


@pytest.mark.parametrize("code", [code for code, entry in CODES.items() if not entry.found_by])
def test_every_diagnostic_has_a_case(code: str) -> None:
    """Those that need a server or ask for the time of day have tests of their own."""
    assert any(item.code == code for case in ALL for item in compiled(case).diagnostics)


@pytest.mark.parametrize("name", [*BUILDERS, *OPERATOR_ALIASES, *HELPERS, "start", "setvar"])
def test_every_function_has_a_case(name: str) -> None:
    assert any(call.name == ("df", name) for call in calls())


@pytest.mark.parametrize("name", JSON_FUNCTIONS)
def test_every_json_function_has_a_case(name: str) -> None:
    assert any(call.name[-1] == name for call in calls())


PARAMETERS = [
    (function, position, parameter)
    for function, parameters in (
        *((name, builder.parameters) for name, builder in BUILDERS.items()),
        ("start", START),
        ("setvar", SETVAR),
    )
    for position, parameter in enumerate(parameters)
]


@pytest.mark.parametrize(
    ("function", "position", "parameter"), PARAMETERS, ids=lambda value: getattr(value, "name", str(value))
)
def test_every_argument_has_a_case_by_place_by_name_and_left_out(
    function: str, position: int, parameter: Parameter
) -> None:
    own = [call for call in calls() if call.name == ("df", function)]
    by_name = [call for call in own if any(item.name == parameter.name for item in call.arguments)]
    by_place = [call for call in own if sum(item.name is None for item in call.arguments) > position]
    assert by_name or (function, parameter.name) == ("sql", "query")
    assert by_place
    assert parameter.required or len(own) > len(by_name) + len(by_place)


@pytest.mark.parametrize("kind", terms.Term.__args__, ids=lambda kind: kind.__name__)
def test_every_kind_of_term_has_a_case(kind: type[object]) -> None:
    assert any(isinstance(term, kind) for term in all_terms())


@pytest.mark.parametrize("name", [name for name in TYPES if "." not in name])
def test_every_cast_has_a_case(name: str) -> None:
    casts = {term.type_name for term in all_terms() if isinstance(term, terms.Cast)}
    assert name in casts | {term.type_name for term in all_terms() if isinstance(term, terms.String)}


@pytest.mark.parametrize("prefix", ["'", "E'", "e'", "U&'", "u&'", "$$", "$sql$", "$é_1$"])
def test_every_form_of_literal_has_a_case(prefix: str) -> None:
    assert any(
        lexeme.kind == "STRING" and lexeme.text.startswith(prefix) for _, found in words() for lexeme in found
    )


def test_every_grammar_rule_and_terminal_has_a_case() -> None:
    """The grammar is read once more without its callbacks, to see which rules a case uses."""
    parser = Lark(
        files("durasql_grammar").joinpath(GRAMMAR).read_text("utf-8"),
        parser="lalr",
        lexer=_Lexemes,
        start=["workflow", "piece"],
        maybe_placeholders=False,
    )
    rules = {
        rule.alias or rule.origin.name for rule in parser.rules if rule.alias or not rule.options.expand1
    }
    used: set[str] = set()
    for _, found in words():
        tree = parser.parse(found, start="workflow")
        used |= {str(below.data) for below in tree.iter_subtrees()}
    assert {rule for rule in rules if not rule.startswith("_")} <= used
    kinds = {lexeme.kind for _, found in words() for lexeme in found}
    assert {terminal.name for terminal in parser.terminals} <= kinds


def test_every_limit_has_a_case() -> None:
    codes = {item.code for case in LARGE for item in compiled(case).diagnostics}
    assert {code for code in CODES if code.startswith("E3")} <= codes


@pytest.mark.parametrize("name", BUILDERS)
def test_p1_both_fronts_have_the_same_signatures(name: str, user: Session) -> None:
    row = user.execute(
        "SELECT string_agg(format('df.%%s(%%s)', p.proname, "
        "regexp_replace(pg_get_function_arguments(p.oid), '::\\w+', '', 'g')), '') "
        "FROM pg_proc p WHERE p.proname = %s AND p.pronamespace = 'df'::regnamespace",
        (name,),
    ).fetchone()
    assert row == (BUILDERS[name].signature,)
