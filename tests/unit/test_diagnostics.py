"""P8: how a diagnostic is shown: place, source line, caret range, help; and as JSON."""

from __future__ import annotations

from pathlib import Path

from durasql.codes import CODES, diagnose
from durasql.diagnostics import as_json, render
from durasql.errors import Severity
from durasql.errors_page import page
from durasql.source import Source, Span


def test_render_shows_the_line_and_the_range() -> None:
    source = Source("-- x\n'SELECT 1' => 'a'\n", "nightly.dsql")
    found = diagnose("E114", "=> does not name a result", source, Span(16, 18), "did you mean '|=>'?")
    assert render(found) == (
        "error[E114]: => does not name a result\n"
        "  --> nightly.dsql:2:12\n"
        "  |\n"
        "2 | 'SELECT 1' => 'a'\n"
        "  |            ^^\n"
        "  = help: did you mean '|=>'?"
    )


def test_carets_stand_under_wide_and_combining_characters() -> None:
    source = Source("'日本e\u0301' ??")
    shown = render(diagnose("E104", "x", source, Span(7, 9))).splitlines()
    assert shown[-1] == "  |" + " " * 9 + "^^"


def test_a_long_line_is_cut_around_the_caret() -> None:
    source = Source("x" * 5_000 + "?" + "y" * 5_000)
    lines = render(diagnose("E105", "x", source, Span(5_000, 5_001))).splitlines()
    assert max(map(len, lines)) < 180
    assert lines[3][lines[4].index("^")] == "?"


def test_a_place_at_the_end_of_the_text() -> None:
    source = Source("'a' ~>")
    assert render(diagnose("E112", "x", source, Span(6, 6))).endswith("|       ^")


def test_json_has_code_place_and_hint() -> None:
    found = as_json(diagnose("W208", "x", Source("a\nbc", "f"), Span(2, 4), "h"))
    assert found == {
        "code": "W208",
        "severity": "warning",
        "title": CODES["W208"].title,
        "message": "x",
        "hint": "h",
        "file": "f",
        "range": {
            "start": {"line": 2, "column": 1, "offset": 2},
            "end": {"line": 2, "column": 3, "offset": 4},
        },
    }


def test_codes_are_unique_and_explained() -> None:
    assert all(
        entry.title and entry.explanation.endswith((".", "!")) and entry.example for entry in CODES.values()
    )
    assert {entry.severity for entry in CODES.values()} == set(Severity)


def test_the_page_of_errors_is_up_to_date() -> None:
    """Else: python -m durasql.errors_page > docs/errors.md"""
    path = Path(__file__).parents[2] / "docs" / "errors.md"
    assert path.read_text("utf-8") == page()
