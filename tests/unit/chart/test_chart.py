"""Workflows as flowcharts: every construct, in both notations."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from durasql.chart.flowchart import Chart, chart_of
from durasql.chart.text import COLOURS, dot, mermaid
from durasql.lower import lower
from durasql.pipeline import compile_text
from durasql.syntax import ast


def charts(text: str, **options: dict[int, str]) -> list[Chart]:
    starts = compile_text(text).starts
    return [chart_of(item.program, item.start.label, f"w{at}_", **options) for at, item in enumerate(starts)]


def flow(text: str) -> set[str]:
    """`label > label` for every arrow."""
    (chart,) = charts(text)
    labels = {box.id: box.label for box in chart.boxes}
    assert len(labels) == len(chart.boxes)
    return {
        f"{labels[arrow.source]} >{arrow.label} {labels[arrow.target]}".replace("> ", "> ")
        for arrow in chart.arrows
    }


FLOWS = {
    "sequence": ("'A' ~> df.sleep(5)", {"start > A", "A > sleep 5 s", "sleep 5 s > end"}),
    "choice": (
        "'C' ?> 'A' !> 'B'",
        {"start > C", "C > true?", "true? >yes A", "true? >no B", "A > end", "B > end"},
    ),
    "rows": (
        "'A' |=> 'x' ~> df.if_rows('x', 'B', 'C')",
        {
            "start > A ⇒ x",
            "A ⇒ x > x has rows?",
            "x has rows? >yes B",
            "x has rows? >no C",
            "B > end",
            "C > end",
        },
    ),
    "join": (
        "df.join3('A', 'B', 'C')",
        {"start > all of"}
        | {f"all of > {name}" for name in "ABC"}
        | {f"{name} > all done" for name in "ABC"}
        | {"all done > end"},
    ),
    "race": (
        "'A' | df.wait_for_signal('go')",
        {
            "start > first of",
            "first of > A",
            "first of > signal go",
            "A > one done",
            "signal go > one done",
            "one done > end",
        },
    ),
    "loop": (
        "@> ('A' ~> ('C' ?> df.break('x') !> 'B'))",
        {
            "start > A",
            "A > C",
            "C > true?",
            "true? >yes break x",
            "true? >no B",
            "B >again A",
            "break x > end",
        },
    ),
    "while": ("df.loop('A', 'C')", {"start > A", "A > C", "C > again?", "again? >yes A", "again? >no end"}),
    "endless": ("@> df.wait_for_schedule('@daily')", {"start > at @daily", "at @daily >again at @daily"}),
    "request": ("df.http('https://a.b/c')", {"start > POST https://a.b/c", "POST https://a.b/c > end"}),
}


@pytest.mark.parametrize("name", FLOWS)
def test_the_flow_of_every_construct(name: str) -> None:
    text, expected = FLOWS[name]
    text = text.replace("'A'", "'SELECT 1'").replace("'B'", "'SELECT 2'").replace("'C'", "'SELECT 3'")
    found = {
        item.replace("SELECT 1", "A").replace("SELECT 2", "B").replace("SELECT 3", "C") for item in flow(text)
    }
    assert found == expected


def test_guards_lead_to_what_they_guard() -> None:
    step = ast.Sql
    program = lower(ast.Finally(ast.Catch(ast.Retry(step("A")), step("B")), ast.Undo(step("C"), step("D"))))
    chart = chart_of(program)
    labels = {box.id: box.label for box in chart.boxes}
    found = {(labels[arrow.source], arrow.label, labels[arrow.target]) for arrow in chart.arrows}
    assert {("catch", "if it fails", "B"), ("A", "always", "undo"), ("B", "always", "undo")} <= found
    assert ("undo", "if a later step fails", "D") in found and ("C", "", "end") in found


def test_states_are_colours() -> None:
    found = charts("'SELECT 1' ~> 'SELECT 1/0'", statuses={1: "completed", 2: "failed"})
    assert f"classDef failed fill:{COLOURS['failed']}" in mermaid(found)
    assert ":::completed" in mermaid(found)
    assert f'fillcolor="{COLOURS["failed"]}"' in dot(found)


def test_labels_can_hold_anything() -> None:
    text = """$q$SELECT '"<b>]#;' AS "x\\y", E'\\n'$q$"""
    assert "\"SELECT '#34;#60;b#62;]#35;;'" in mermaid(charts(text))
    assert r'label="SELECT \'\"<b>'.replace("\\'", "'") in dot(charts(text))


def test_several_workflows_are_one_picture() -> None:
    text = "SELECT df.start('SELECT 1', 'first'); SELECT df.start('SELECT 2');"
    assert 'subgraph g0["first"]' in mermaid(charts(text))
    assert 'label="workflow 2"' in dot(charts(text))


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz")
def test_graphviz_draws_it() -> None:
    subprocess.run(["dot", "-Tsvg"], input=dot(charts(FLOWS["loop"][0])), text=True, check=True)


def test_p9_the_deepest_tree_is_drawn() -> None:
    text = "(" * 255 + "'SELECT 1'" + " ~> 'SELECT 2')" * 255
    (chart,) = charts(text)
    assert len(chart.boxes) == 258
