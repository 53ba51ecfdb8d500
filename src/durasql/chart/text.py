"""Charts as text that other programs draw: Mermaid and Graphviz. In: charts. Out: one text for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from durasql.chart.flowchart import Box, Chart, Shape

_WIDTH: Final = 60
COLOURS: Final = {
    "completed": "#c8e6c9",
    "failed": "#ffcdd2",
    "running": "#fff59d",
    "pending": "#eeeeee",
    "skipped": "#f5f5f5",
    "cancelled": "#e1bee7",
}
"""Fill by status."""

_MERMAID: Final = {
    Shape.STEP: ('["', '"]'),
    Shape.CHOICE: ('{"', '"}'),
    Shape.FORK: ('[["', '"]]'),
    Shape.END: ('(["', '"])'),
}
_DOT: Final = {Shape.STEP: "box", Shape.CHOICE: "diamond", Shape.FORK: "hexagon", Shape.END: "oval"}


def mermaid(charts: Sequence[Chart]) -> str:
    """A Mermaid flowchart; several workflows are subgraphs of one."""
    lines = ["flowchart TD"]
    for number, chart in enumerate(charts):
        inner = list(_mermaid(chart))
        if len(charts) > 1:
            inner = [
                f'subgraph g{number}["{_entities(chart.title or f"workflow {number + 1}")}"]',
                *inner,
                "end",
            ]
        lines += [f"  {line}" for line in inner]
    used = sorted({box.status or "" for chart in charts for box in chart.boxes} & set(COLOURS))
    lines += [f"  classDef {status} fill:{COLOURS[status]},stroke:#555" for status in used]
    return "\n".join(lines) + "\n"


def _mermaid(chart: Chart) -> Iterator[str]:
    for box in chart.boxes:
        left, right = _MERMAID[box.shape]
        status = f":::{box.status}" if box.status in COLOURS else ""
        yield f"{box.id}{left}{_entities(_cut(box))}{right}{status}"
    for arrow in chart.arrows:
        yield f"{arrow.source} -->{f'|{arrow.label}|' if arrow.label else ''} {arrow.target}"


def dot(charts: Sequence[Chart]) -> str:
    """A Graphviz digraph; several workflows are clusters of one."""
    lines = ["digraph durasql {", '  node [fontname="sans-serif", style=filled, fillcolor=white]']
    for number, chart in enumerate(charts):
        inner = list(_dot(chart))
        if len(charts) > 1:
            title = _quoted(chart.title or f"workflow {number + 1}")
            inner = [
                f"subgraph cluster_{number} {{",
                f"  label={title}",
                *(f"  {line}" for line in inner),
                "}",
            ]
        lines += [f"  {line}" for line in inner]
    return "\n".join([*lines, "}"]) + "\n"


def _dot(chart: Chart) -> Iterator[str]:
    for box in chart.boxes:
        fill = f', fillcolor="{COLOURS[box.status]}"' if box.status in COLOURS else ""
        yield f"{box.id} [label={_quoted(_cut(box))}, shape={_DOT[box.shape]}{fill}]"
    for arrow in chart.arrows:
        yield f"{arrow.source} -> {arrow.target}{f' [label={_quoted(arrow.label)}]' if arrow.label else ''}"


FORMATS: Final[dict[str, Callable[[Sequence[Chart]], str]]] = {"mermaid": mermaid, "dot": dot}


def _cut(box: Box) -> str:
    """The label, shortened, with the name that the box binds."""
    text, arrow, name = box.label.rpartition(" ⇒ ")
    if not arrow:
        text, name = name, ""
    return (text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…") + arrow + name


def _entities(text: str) -> str:
    """Text between the quotes of a Mermaid label, where `#` begins an entity."""
    out = "".join(f"#{ord(char)};" if char in '#"<>&`\\' else char for char in text)
    return "".join(char if char.isprintable() else " " for char in out) or " "


def _quoted(text: str) -> str:
    clean = "".join(char if char.isprintable() else " " for char in text)
    return '"' + clean.replace("\\", "\\\\").replace('"', '\\"') + '"'
