"""The flow of control of a program as boxes and arrows. In: a program, and states if it ran. Out: a `Chart`.

Sequences are arrows; a choice, the fork and the end of a join or race are boxes of their own. A loop is an
arrow back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias

from durasql.bytecode.configs import phrase
from durasql.bytecode.opcodes import Op
from durasql.bytecode.program import NodeInfo, Program


class Shape(StrEnum):
    """What a box stands for."""

    STEP = "step"
    CHOICE = "choice"
    FORK = "fork"
    END = "end"


@dataclass(frozen=True, slots=True)
class Box:
    """One box; `status` is that of its node in an instance."""

    id: str
    label: str
    shape: Shape
    status: str | None = None


@dataclass(frozen=True, slots=True)
class Arrow:
    """From one box to another, perhaps under a condition."""

    source: str
    target: str
    label: str = ""


Open: TypeAlias = "tuple[str, str]"
"""An arrow that leads on: the box it leaves and its label."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of the chart: where it begins, how it is left, and how a break leaves it."""

    entry: str
    exits: tuple[Open, ...]
    breaks: tuple[Open, ...] = ()


@dataclass(slots=True)
class Chart:
    """One workflow."""

    title: str | None = None
    boxes: list[Box] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)


def chart_of(
    program: Program, title: str | None = None, prefix: str = "", statuses: Mapping[int, str] | None = None
) -> Chart:
    """The chart of a program; box ids begin with `prefix`, so that several fit into one picture."""
    drawer = _Drawer(program, Chart(title), prefix, statuses or {})
    start, end = drawer.box("start", "start", Shape.END), ""
    whole = drawer.draw(0)
    drawer.connect([(start, "")], whole.entry)
    if whole.exits:
        end = drawer.box("finish", "end", Shape.END)  # Mermaid keeps `end` for itself
        drawer.connect(whole.exits, end)
    return drawer.chart


class _Drawer:
    """The chart while it is drawn."""

    def __init__(self, program: Program, chart: Chart, prefix: str, statuses: Mapping[int, str]) -> None:
        self.nodes = program.nodes
        self.chart = chart
        self.prefix = prefix
        self.statuses = statuses

    def box(self, name: str, label: str, shape: Shape, number: int | None = None) -> str:
        status = self.statuses.get(number) if number is not None else None
        self.chart.boxes.append(Box(self.prefix + name, label, shape, status))
        return self.prefix + name

    def connect(self, exits: Iterable[Open], target: str) -> None:
        self.chart.arrows.extend(Arrow(source, target, label) for source, label in exits)

    def draw(self, number: int) -> _Part:
        node = self.nodes[number]
        return _DRAWN.get(node.type, _Drawer.leaf)(self, number, node)

    def leaf(self, number: int, node: NodeInfo) -> _Part:
        name = f" ⇒ {node.name}" if node.name else ""
        box = self.box(f"n{number}", label_of(node) + name, Shape.STEP, number)
        return _Part(box, (), ((box, ""),)) if node.type == "BREAK" else _Part(box, ((box, ""),))

    def sequence(self, _: int, node: NodeInfo) -> _Part:
        first, second = self.draw(_at(node.left)), self.draw(_at(node.right))
        self.connect(first.exits, second.entry)
        return _Part(first.entry, second.exits, first.breaks + second.breaks)

    def choice(self, number: int, node: NodeInfo) -> _Part:
        condition = self.draw(node.condition) if node.condition is not None else None
        label = "true?" if condition else f"{config_of(node).get('result_name')} has rows?"
        box = self.box(f"n{number}", label, Shape.CHOICE, number)
        if condition:
            self.connect(condition.exits, box)
        then, otherwise = self.draw(_at(node.left)), self.draw(_at(node.right))
        self.connect([(box, "yes")], then.entry)
        self.connect([(box, "no")], otherwise.entry)
        breaks = (condition.breaks if condition else ()) + then.breaks + otherwise.breaks
        return _Part(condition.entry if condition else box, then.exits + otherwise.exits, breaks)

    def fork(self, number: int, node: NodeInfo) -> _Part:
        what = "all of" if node.type == "JOIN" else "first of"
        begin = self.box(f"n{number}", what, Shape.FORK, number)
        end = self.box(f"n{number}e", "all done" if node.type == "JOIN" else "one done", Shape.FORK, number)
        breaks: tuple[Open, ...] = ()
        for branch in (_at(node.left), _at(node.right), *node.extras):
            part = self.draw(branch)
            self.connect([(begin, "")], part.entry)
            self.connect(part.exits, end)
            breaks += part.breaks
        return _Part(begin, ((end, ""),), breaks)

    def loop(self, number: int, node: NodeInfo) -> _Part:
        body = self.draw(_at(node.left))
        if node.condition is None:
            self.connect([(source, label or "again") for source, label in body.exits], body.entry)
            return _Part(body.entry, body.breaks)
        condition = self.draw(node.condition)
        self.connect(body.exits, condition.entry)
        box = self.box(f"n{number}", "again?", Shape.CHOICE, number)
        self.connect(condition.exits, box)
        self.connect([(box, "yes")], body.entry)
        return _Part(body.entry, ((box, "no"), *body.breaks, *condition.breaks))

    def guard(self, number: int, node: NodeInfo) -> _Part:
        """A box in front of what is tried again or bounded in time."""
        begin = self.box(f"n{number}", guard_of(node), Shape.FORK, number)
        body = self.draw(_at(node.left))
        self.connect([(begin, "")], body.entry)
        return _Part(begin, body.exits, body.breaks)

    def catch(self, number: int, node: NodeInfo) -> _Part:
        body = self.guard(number, node)
        handler = self.draw(_at(node.right))
        self.connect([(body.entry, "if it fails")], handler.entry)
        return _Part(body.entry, body.exits + handler.exits, body.breaks + handler.breaks)

    def always(self, number: int, node: NodeInfo) -> _Part:
        body = self.guard(number, node)
        cleanup = self.draw(_at(node.right))
        self.connect([(source, label or "always") for source, label in body.exits], cleanup.entry)
        return _Part(body.entry, cleanup.exits, body.breaks + cleanup.breaks)

    def undo(self, number: int, node: NodeInfo) -> _Part:
        body = self.guard(number, node)
        undo = self.draw(_at(node.right))
        self.connect([(body.entry, "if a later step fails")], undo.entry)
        return body


_DRAWN: Final[dict[str, Callable[[_Drawer, int, NodeInfo], _Part]]] = {
    "THEN": _Drawer.sequence,
    "IF": _Drawer.choice,
    "JOIN": _Drawer.fork,
    "RACE": _Drawer.fork,
    "LOOP": _Drawer.loop,
    "RETRY": _Drawer.guard,
    "TIMEOUT": _Drawer.guard,
    "CATCH": _Drawer.catch,
    "FINALLY": _Drawer.always,
    "UNDO": _Drawer.undo,
}


def _at(child: int | None) -> int:
    assert child is not None, "verify has seen to it that composites have their children"
    return child


def config_of(node: NodeInfo) -> dict[str, object]:
    """The settings of a node that has some, as the builders wrote them."""
    try:
        found = json.loads(node.query or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def guard_of(node: NodeInfo) -> str:
    """What a construct around others does, with its settings, as the listing says it."""
    kind = node.type.lower().replace("_", " ")
    words = phrase(Op(node.type), node.query) if node.type in Op.__members__ else None
    return f"{kind}: {words}" if words else kind


def label_of(node: NodeInfo) -> str:
    """A leaf as one line of text."""
    config = config_of(node)
    match node.type:
        case "SLEEP":
            return f"sleep {node.query} s"
        case "WAIT_SCHEDULE":
            return f"at {config.get('cron_expr', node.query)}"
        case "SIGNAL":
            return f"signal {config.get('signal_name', node.query)}"
        case "HTTP" | "HTTP_MULTIPART":
            return f"{config.get('method')} {config.get('url')}" if config else str(node.query)
        case "BREAK":
            value = config.get("break_value")
            return f"break {value}" if value is not None else "break"
    return " ".join((node.query or "").split())
