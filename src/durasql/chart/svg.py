"""Workflows as SVG pictures that need nothing else. In: `Drawing`s. Out: one SVG text, always the same.

Texts are shortened; a pointer that rests on a node shows all of it (`<title>`). Colours never stand alone:
the status is written, too.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from durasql.bytecode.program import NodeInfo, Program
from durasql.chart.blocks import Line, Node, flat
from durasql.chart.layout import kind_of, picture, shown

_MARGIN: Final = 20.0
_HEADER: Final = 34.0
_TITLE: Final = 4_000
FILLS: Final = {
    "completed": "#dcefdc",
    "failed": "#fbd5d5",
    "running": "#fff2b3",
    "pending": "#ffffff",
    "skipped": "#f0f0f0",
    "cancelled": "#e8d9ee",
}
"""Fill by status."""

_MARKS: Final = {"completed": "✓", "failed": "✗", "running": "▶", "skipped": "–", "cancelled": "⊘"}
_STYLE: Final = """
text { font: 12px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #222 }
.title { font-size: 14px; font-weight: bold }
.kind, .label { font-size: 10px; fill: #666 }
.name { font-weight: bold; fill: #3949ab }
.node { stroke: #555; fill: #fff }
.frame { stroke: #999; stroke-dasharray: 2 3; fill: none }
.bar { fill: #444 }
.line { stroke: #555; stroke-width: 1.3; fill: none }
.leaves { stroke: #b26a00; stroke-dasharray: 5 3 }
"""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A workflow to draw; if it ran, with the statuses of its nodes and notes on them, such as errors."""

    program: Program
    title: str = ""
    statuses: Mapping[int, str] = field(default_factory=dict)
    notes: Mapping[int, str] = field(default_factory=dict)


def svg(drawings: Sequence[Drawing]) -> str:
    """One picture of all workflows, one below the other."""
    root = Element("svg", {"xmlns": "http://www.w3.org/2000/svg"})
    SubElement(root, "style").text = _STYLE
    _arrow_heads(root)
    SubElement(root, "rect", {"width": "100%", "height": "100%", "fill": "#fff"})
    y, width = _MARGIN, 0.0
    for drawing in drawings:
        block = picture(drawing.program)
        if drawing.title:
            _text(root, _MARGIN, y + 12, shown(drawing.title), "title")
            y += _HEADER
        group = SubElement(root, "g", {"transform": f"translate({_MARGIN:g} {y:g})"})
        for dx, dy, shape in flat(block):
            if isinstance(shape, Line):
                _line(group, shape, dx, dy)
            else:
                _NODES[shape.kind](group, shape, dx, dy, drawing)
        y += block.height + _MARGIN
        width = max(width, block.width, 8.5 * len(drawing.title))
    width += 2 * _MARGIN
    root.set("width", f"{width:g}")
    root.set("height", f"{y:g}")
    root.set("viewBox", f"0 0 {width:g} {y:g}")
    indent(root)
    return tostring(root, encoding="unicode") + "\n"


def _box(group: Element, shape: Node, x: float, y: float, drawing: Drawing) -> None:
    assert shape.number is not None
    info = drawing.program.nodes[shape.number]
    node = _node(group, shape.number, info, drawing)
    _rect(node, shape, x, y, "node", drawing, rx="5")
    status = drawing.statuses.get(shape.number)
    _text(node, x + 9, y + 15, kind_of(info), "kind")
    if status:
        _text(node, x + shape.width - 9, y + 15, f"{_MARKS.get(status, '')} {status}".strip(), "kind", "end")
    for at, line in enumerate(shape.text.splitlines()):
        _text(node, x + 9, y + 32 + 16 * at, line, "name" if line.startswith("⇒ ") else "")


def _diamond(group: Element, shape: Node, x: float, y: float, drawing: Drawing) -> None:
    node = _inner(group, shape, drawing)
    half, middle = shape.width / 2, shape.height / 2
    corners = ((x, y + middle), (x + half, y), (x + shape.width, y + middle), (x + half, y + shape.height))
    points = " ".join(f"{a:g},{b:g}" for a, b in corners)
    SubElement(node, "polygon", {"points": points, "class": "node", **_fill(shape, drawing)})
    text = textwrap.shorten(shown(shape.text), 17, placeholder="…") or "…"
    _text(node, x + half, y + middle + 4, text, "", "middle")


def _bar(group: Element, shape: Node, x: float, y: float, drawing: Drawing) -> None:
    node = _inner(group, shape, drawing)
    SubElement(node, "rect", {**_place(shape, x, y), "class": "bar", "rx": "3"})
    if shape.text:
        _text(node, x, y - 6, shape.text + _said(shape, drawing), "label")


def _frame(group: Element, shape: Node, x: float, y: float, drawing: Drawing) -> None:
    node = _inner(group, shape, drawing)
    SubElement(node, "rect", {**_place(shape, x, y), "class": "frame", "rx": "8"})
    _text(node, x + 9, y + 15, shape.text + _said(shape, drawing), "label")


def _pill(group: Element, shape: Node, x: float, y: float, drawing: Drawing) -> None:
    _rect(group, shape, x, y, "node", drawing, rx=f"{shape.height / 2:g}")
    _text(group, x + shape.width / 2, y + shape.height / 2 + 4, shape.text, "", "middle")


def _tag(group: Element, shape: Node, x: float, y: float, _: Drawing) -> None:
    _text(group, x + 6, y + 12, shape.text, "name")


_NODES: Final = {"box": _box, "diamond": _diamond, "bar": _bar, "frame": _frame, "pill": _pill, "tag": _tag}


def _inner(group: Element, shape: Node, drawing: Drawing) -> Element:
    assert shape.number is not None
    return _node(group, shape.number, drawing.program.nodes[shape.number], drawing)


def _node(group: Element, number: int, info: NodeInfo, drawing: Drawing) -> Element:
    """A group for a node, whose tooltip says everything about it."""
    node = SubElement(group, "g", {"data-node": str(number)})
    status = drawing.statuses.get(number)
    lines = [f"{number}: {info.type}{f', {status}' if status else ''}", info.query or ""]
    lines += [f"=> {info.name}" if info.name else "", drawing.notes.get(number, "")]
    text = "\n".join(line for line in lines if line)
    SubElement(node, "title").text = shown(text[:_TITLE], keep="\n")
    return node


def _line(group: Element, line: Line, dx: float, dy: float) -> None:
    points = [(x + dx, y + dy) for x, y in line.points]
    kind = "line leaves" if line.leaves else "line"
    look = {"points": " ".join(f"{x:g},{y:g}" for x, y in points), "class": kind}
    if line.arrow:
        look["marker-end"] = "url(#head)"
    SubElement(group, "polyline", look)
    if line.label:
        (x, y), (to, _) = points[0], points[1]
        where = (x + 6, y + 13, "start") if to == x else (x + (6 if to > x else -6), y - 5, None)
        _text(group, where[0], where[1], line.label, "label", where[2] or ("start" if to > x else "end"))


def _arrow_heads(root: Element) -> None:
    marker = {
        "id": "head",
        "markerWidth": "8",
        "markerHeight": "8",
        "refX": "7",
        "refY": "4",
        "orient": "auto",
    }
    head = SubElement(SubElement(root, "defs"), "marker", marker)
    SubElement(head, "path", {"d": "M0 0.8 L8 4 L0 7.2 z", "fill": "#555"})


def _rect(group: Element, shape: Node, x: float, y: float, kind: str, drawing: Drawing, **more: str) -> None:
    SubElement(group, "rect", {**_place(shape, x, y), "class": kind, **more, **_fill(shape, drawing)})


def _place(shape: Node, x: float, y: float) -> dict[str, str]:
    numbers = {"x": x, "y": y, "width": shape.width, "height": shape.height}
    return {name: f"{number:g}" for name, number in numbers.items()}


def _fill(shape: Node, drawing: Drawing) -> dict[str, str]:
    """The colour of a node's status, as a style, which wins over the class."""
    fill = FILLS.get(drawing.statuses.get(-1 if shape.number is None else shape.number, ""))
    return {"style": f"fill: {fill}"} if fill else {}


def _said(shape: Node, drawing: Drawing) -> str:
    status = drawing.statuses.get(-1 if shape.number is None else shape.number)
    return f" · {_MARKS.get(status, '')} {status}" if status else ""


def _text(group: Element, x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> None:
    look = {"x": f"{x:g}", "y": f"{y:g}"} | ({"class": kind} if kind else {})
    SubElement(group, "text", look | ({} if anchor == "start" else {"text-anchor": anchor})).text = text
