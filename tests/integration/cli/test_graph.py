"""P10: `durasql graph` draws texts, and runs with the state of every step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


def test_every_example_can_be_drawn(durasql: Any) -> None:
    for file in sorted((ROOT / "examples").glob("*.dsql")):
        for form, first in (
            ("mermaid", "flowchart TD\n"),
            ("dot", "digraph durasql {\n"),
            ("svg", "<svg xmlns"),
        ):
            done = durasql("graph", str(file), "--format", form)
            assert done.code == 0 and done.out.startswith(first)


def test_a_mistake_is_shown_instead(durasql: Any) -> None:
    done = durasql("graph", "-e", "'SELECT 1' ~>")
    assert (done.code, done.out) == (2, "") and "E112" in done.err


def test_p10_an_instance_in_colours(durasql: Any, database: Any) -> None:
    dsn = ("--dsn", database.owner_dsn)
    text = "'SELECT true' ?> 'SELECT 1/0' !> 'SELECT 2'"
    id = durasql("run", *dsn, "--json", "-e", text).json["id"]
    lines = durasql("graph", *dsn, id).out.splitlines()
    assert '  n3["SELECT true"]:::completed' in lines
    assert '  n1["SELECT 1/0"]:::failed' in lines
    assert '  n2["SELECT 2"]:::skipped' in lines
    picture = durasql("graph", *dsn, id, "--format", "svg").out
    assert f"{id} · failed" in picture and "✗ failed" in picture and "division by zero" in picture
    assert durasql("graph", *dsn, "ffffffff").code == 2


def test_p10_a_run_that_was_undone_and_handled(durasql: Any, database: Any) -> None:
    dsn = ("--dsn", database.owner_dsn)
    text = "df.catch(('SELECT 1' <~ 'SELECT 2') ~> 'SELECT 1/0', 'SELECT 3')"
    id = durasql("run", *dsn, "--json", "-e", text).json["id"]
    picture = durasql("graph", *dsn, id, "--format", "svg").out
    assert "undo, if a later step fails" in picture and "✗ failed" in picture
    assert "UNDO" in durasql("trace", *dsn, id).out
