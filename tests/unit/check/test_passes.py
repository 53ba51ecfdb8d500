"""P8: every pass of the checker against its fixtures; `-- expect:` in them lists the codes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from durasql.check import check
from durasql.check.passes import PASSES
from durasql.check.run import findings
from durasql.codes import CODES
from durasql.errors import CompileError, Diagnostic, Severity
from durasql.pipeline import check_source, compile_text
from durasql.source import Source
from durasql.syntax import parse

FIXTURES = Path(__file__).parent / "fixtures"
FILES = sorted(FIXTURES.glob("*/*.dsql"))


def found_in(text: str) -> tuple[Diagnostic, ...]:
    source = Source(text)
    return findings(parse(source), source)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_fixture(path: Path) -> None:
    text = path.read_text()
    expected = re.search(r"^-- expect: (.*)$", text, re.MULTILINE)
    codes = expected.group(1).split() if expected else []
    found = found_in(text)
    assert sorted(item.code for item in found) == sorted(codes), [item.message for item in found]
    assert all(item.span is not None for item in found)


def test_every_pass_has_good_and_bad_fixtures() -> None:
    for run in PASSES:
        names = [path.stem for path in (FIXTURES / run.__name__.removeprefix("check_")).glob("*.dsql")]
        assert "good" in names and any(name != "good" for name in names), run.__name__


SHOWN_ELSEWHERE = ("E301", "E302", "E303", "E304")
"""Their examples would be too long; tests/unit/syntax/test_limits.py has them."""


@pytest.mark.parametrize(
    "code", [code for code in CODES if code not in SHOWN_ELSEWHERE and not CODES[code].found_by]
)
def test_the_example_of_every_code_gives_that_code(code: str) -> None:
    text = CODES[code].example.replace("\\0", "\0")
    try:
        found = compile_text(text).diagnostics
    except CompileError as error:
        found = error.diagnostics
    assert [item.code for item in found] == [code]


def test_errors_stop_and_come_first() -> None:
    source = Source("'SELECT 1; SELECT 2' ~> 'SELEC'")
    with pytest.raises(CompileError) as caught:
        check(parse(source), source)
    assert [item.severity for item in caught.value.diagnostics] == [Severity.ERROR, Severity.INFO]
    assert check_source(Source("'SELECT 1; SELECT 2'")).diagnostics[0].code == "I201"


def test_silenced_for_the_rest_of_the_file() -> None:
    trap = "SELECT df.start('SELECT 1' ~> 'SELECT 2' & 'SELECT 3');\n"
    assert [item.code for item in found_in(trap + "-- durasql: allow W208\n" + trap)] == ["W208"]


def test_silenced_on_one_line() -> None:
    trap = "SELECT df.start('SELECT 1' ~> 'SELECT 2' & 'SELECT 3');"
    assert [item.code for item in found_in(f"{trap} -- durasql: allow W208, W209\n{trap}\n")] == ["W208"]


def test_errors_cannot_be_silenced() -> None:
    found = found_in("-- durasql: allow E213\n'SELEC 1'")
    assert sorted(item.code for item in found) == ["E213", "W290"]


def test_p8_a_sql_error_points_into_escapes_and_dollar_quotes() -> None:
    for text in ("$q$\n  SELECT 'é', FROM t$q$", "E'SELECT \\'\\u00e9\\', FROM t'", "'SELECT ''é'', FROM t'"):
        (found,) = found_in(text)
        assert found.span is not None and text[found.span.start : found.span.end] == "FROM"


DEEP = {
    "then": ("", " ~> 'SELECT 2'"),
    "join": ("(", " & 'SELECT 2')"),
    "race": ("('SELECT 2' | ", ")"),
    "if": ("('SELECT true' ?> ", " !> 'SELECT 3')"),
    "condition": ("(", " ?> 'SELECT 2' !> 'SELECT 3')"),
    "loop": ("df.loop(", ", 'SELECT true')"),
    "if_rows": ("df.if_rows('x', 'SELECT 2', ", ")"),
}


@pytest.mark.parametrize("kind", DEEP)
def test_p9_every_pass_stands_the_deepest_tree(kind: str) -> None:
    before, after = DEEP[kind]
    text = f"{before * 256}'SELECT 1'{after * 256}"
    assert {item.code for item in found_in(text)} <= {"E215"}


def test_p9_every_pass_stands_the_largest_tree() -> None:
    branch = " & ".join(["('SELECT 1' ~> 'SELECT 2')"] * 200)
    assert found_in(" ~> ".join([f"({branch})"] * 12)) == ()
