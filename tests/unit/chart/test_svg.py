"""Workflows as SVG: well-formed whatever the texts are, all nodes there, none over another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from tests.graphs import graphs

from durasql.bytecode.program import Program
from durasql.chart.blocks import Line, flat
from durasql.chart.layout import picture
from durasql.chart.svg import FILLS, Drawing, svg
from durasql.lower import lower
from durasql.pipeline import compile_text
from durasql.syntax import ast

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.dsql"))
SVG = "{http://www.w3.org/2000/svg}"


def programs(text: str) -> list[Program]:
    return [item.program for item in compile_text(text).starts]


def drawn(text: str) -> str:
    return svg([Drawing(program) for program in programs(text)])


def texts(picture: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def rectangles(program: Program) -> Iterator[tuple[float, float, float, float]]:
    """Left, top, right, bottom of everything solid."""
    for x, y, shape in flat(picture(program)):
        if not isinstance(shape, Line) and shape.kind in ("box", "diamond", "bar", "pill"):
            yield x, y, x + shape.width, y + shape.height


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_node_of_every_example_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    (program,) = programs(text)
    found = {
        int(element.get("data-node", "-1")) for element in ElementTree.fromstring(drawn(text)).iter(f"{SVG}g")
    }
    assert found - {-1} == {n for n, node in enumerate(program.nodes) if node.type != "THEN"}
    assert drawn(text) == drawn(text)


def test_any_text_is_only_text() -> None:
    hostile = "$q$SELECT '</title><script>alert(1)</script>' AS \"]]>&amp;\", E'\x01\x0c'$q$ |=> 'x'"
    root = ElementTree.fromstring(drawn(hostile))
    assert not list(root.iter(f"{SVG}script"))
    (title,) = root.iter(f"{SVG}title")
    assert title.text is not None and "</title><script>alert(1)</script>" in title.text


def test_long_texts_are_shortened_and_whole_in_the_tooltip() -> None:
    statement = "SELECT " + ", ".join(f"column_{n}" for n in range(40))
    found = drawn(f"'{statement}'")
    assert not [text for text in texts(found) if len(text) > 40]
    assert any(text.endswith("…") for text in texts(found))
    assert statement in found


def test_p10_a_run_is_coloured_and_says_its_states() -> None:
    (program,) = programs("'SELECT 1' ~> 'SELECT 1/0'")
    found = svg([Drawing(program, "run", {1: "completed", 2: "failed"}, {2: "division by zero"})])
    assert FILLS["completed"] in found and FILLS["failed"] in found
    assert {"✓ completed", "✗ failed"} <= set(texts(found))
    assert "division by zero" in found


def test_guards_are_frames_that_say_what_they_do() -> None:
    step = ast.Sql("SELECT 1")
    body = ast.Undo(ast.Retry(ast.Timeout(step, 30)), step)
    program = lower(ast.Finally(ast.Catch(body, step), step))
    found = texts(svg([Drawing(program)]))
    assert {"retry: at most 5, 1 s … 60 s, jitter", "timeout: after 30 s", "if it fails"} <= set(found)
    assert {"undo, if a later step fails", "however it ends"} <= set(found)
    assert found.count("SELECT 1") == 4


def test_several_workflows_are_one_picture() -> None:
    found = texts(drawn("SELECT df.start('SELECT 1', 'a'); SELECT df.start('SELECT 2');"))
    assert {"SELECT 1", "SELECT 2"} <= set(found)


def test_p9_the_deepest_tree_is_drawn() -> None:
    assert texts(drawn("(" * 255 + "'SELECT 1'" + " ~> 'SELECT 2')" * 255)).count("SELECT 2") == 255


@settings(deadline=None, max_examples=60)
@given(graphs())
def test_generated_workflows_are_drawn_without_overlaps(graph: ast.Node) -> None:
    program = lower(graph)
    ElementTree.fromstring(svg([Drawing(program)]))
    whole = picture(program)
    solid = list(rectangles(program))
    for at, (left, top, right, bottom) in enumerate(solid):
        assert left >= 0 and top >= 0 and right <= whole.width and bottom <= whole.height
        for other in solid[at + 1 :]:
            apart = other[0] >= right or other[2] <= left or other[1] >= bottom or other[3] <= top
            assert apart, "two nodes lie over each other"


@settings(deadline=None, max_examples=60)
@given(graphs())
def test_no_line_runs_through_a_node(graph: ast.Node) -> None:
    program = lower(graph)
    solid = list(rectangles(program))
    for dx, dy, shape in flat(picture(program)):
        if isinstance(shape, Line):
            for (ax, ay), (bx, by) in zip(shape.points, shape.points[1:], strict=False):
                x1, x2 = sorted((ax + dx, bx + dx))
                y1, y2 = sorted((ay + dy, by + dy))
                for left, top, right, bottom in solid:
                    crosses = x1 < right - 1 and x2 > left + 1 and y1 < bottom - 1 and y2 > top + 1
                    assert not crosses, (shape, (left, top, right, bottom))
