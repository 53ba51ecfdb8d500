"""The picture of a program, construct by construct. In: a program. Out: a `Block`, all in its place."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias

from durasql.bytecode.program import NodeInfo, Program
from durasql.chart.blocks import (
    GAP,
    Block,
    Line,
    Node,
    Shape,
    below,
    beside,
    framed,
    repeated,
    single,
    tagged,
)
from durasql.chart.flowchart import config_of, guard_of, label_of

_BOX: Final = 252.0
_ROW: Final = 16.0
_CELLS: Final = 33
_ROWS: Final = 3
_LONGEST: Final = 1_000
_DIAMOND: Final = (150.0, 52.0)
_PILL: Final = (76.0, 26.0)
_BAR: Final = 8.0

_Drawn: TypeAlias = dict[int, Block]


def picture(program: Program) -> Block:
    """A program from its start to its end."""
    drawn: _Drawn = {}
    for number in reversed(range(len(program.nodes))):  # children have higher numbers
        drawn[number] = _draw(drawn, number, program.nodes[number])
    block = below(single(Node("pill", *_PILL, text="start")), drawn[0])
    return block if block.exit is None else below(block, single(Node("pill", *_PILL, text="end")))


def _draw(drawn: _Drawn, number: int, node: NodeInfo) -> Block:
    block = _DRAWN.get(node.type, _other)(drawn, number, node)
    if node.name and node.left is not None:
        return tagged(block, Node("tag", 8.0 * len(_named(node)), _ROW, text=_named(node)))
    return block


def _children(drawn: _Drawn, node: NodeInfo) -> list[Block]:
    return [drawn[number] for number in (node.left, node.right, *node.extras) if number is not None]


def _leaf(_: _Drawn, number: int, node: NodeInfo) -> Block:
    text = shown(label_of(node)[:_LONGEST]).strip().removeprefix(kind_of(node)) or " "
    rows = textwrap.wrap(text, _CELLS, max_lines=_ROWS - (1 if node.name else 0), placeholder=" …")
    rows += [_named(node)] if node.name else []
    return single(Node("box", _BOX, 28 + _ROW * len(rows), number, "\n".join(rows)), node.type == "BREAK")


def kind_of(node: NodeInfo) -> str:
    """What a node is, in small letters."""
    return node.type.lower().replace("_", " ")


def shown(text: str, keep: str = "") -> str:
    """A text without what XML cannot hold and what nobody can see."""
    return "".join(char if char.isprintable() or char in keep else " " for char in text)


def _named(node: NodeInfo) -> str:
    return f"⇒ {node.name}"[:_CELLS]


def _other(drawn: _Drawn, number: int, node: NodeInfo) -> Block:
    """A leaf, or a construct that is not drawn in a way of its own: a frame around what it is made of."""
    children = _children(drawn, node)
    if not children:
        return _leaf(drawn, number, node)
    body = children[0]
    for child in children[1:]:
        body = below(body, child)
    return framed(body, Node("frame", 0, 0, number, guard_of(node)))


def _catch(drawn: _Drawn, number: int, node: NodeInfo) -> Block:
    body, handler = _children(drawn, node)
    handler = framed(handler, Node("frame", 0, 0, node.right, "if it fails"))
    columns, entries = beside([body, handler])
    parts: list[tuple[float, float, Block | Shape]] = [(0.0, GAP, columns)]
    lines = Line(((entries[0], 0.0), (entries[0], GAP)), arrow=not body.open)
    parts.append((0.0, 0.0, lines))
    leave = columns.leave
    block = Block(columns.width, columns.height + GAP, entries[0], columns.exit, leave, parts, open=True)
    return framed(block, Node("frame", 0, 0, number, guard_of(node)))


def _finally(drawn: _Drawn, number: int, node: NodeInfo) -> Block:
    body, cleanup = _children(drawn, node)
    always = framed(cleanup, Node("frame", 0, 0, node.right, "however it ends"))
    return framed(below(body, always), Node("frame", 0, 0, number, guard_of(node)))


def _undo(drawn: _Drawn, number: int, node: NodeInfo) -> Block:
    """The way goes through the body; nothing leads to the undo but a failure far below."""
    body, undo = _children(drawn, node)
    later = framed(undo, Node("frame", 0, 0, node.right, "undo, if a later step fails"))
    columns, _ = beside([body, replace(later, exit=None, leave=None)], gather=False)
    block = Block(
        columns.width, columns.height, body.entry, body.exit, columns.leave, columns.parts, body.open
    )
    return framed(block, Node("frame", 0, 0, number, guard_of(node)))


def _sequence(drawn: _Drawn, _: int, node: NodeInfo) -> Block:
    first, second = _children(drawn, node)
    return below(first, second)


def _choice(drawn: _Drawn, number: int, node: NodeInfo) -> Block:
    text = f"{config_of(node).get('result_name')} has rows?" if node.condition is None else "true?"
    children = _children(drawn, node)
    columns, entries = beside(children)
    width, height = _DIAMOND
    middle, half = columns.entry, width / 2
    top = height + GAP / 2
    parts: list[tuple[float, float, Block | Shape]] = [
        (middle - half, 0.0, Node("diamond", width, height, number, text)),
        (0.0, top, columns),
    ]
    for entry, side, label, child in zip(entries, (-half, half), ("yes", "no"), children, strict=True):
        points = ((middle + side, height / 2), (entry, height / 2), (entry, top))
        parts.append((0.0, 0.0, Line(points, label, arrow=not child.open)))
    choice = Block(columns.width, columns.height + top, middle, columns.exit, columns.leave, parts)
    return choice if node.condition is None else below(drawn[node.condition], choice)


def _fork(drawn: _Drawn, number: int, node: NodeInfo) -> Block:
    children = _children(drawn, node)
    columns, entries = beside(children, gather=False)
    text = "all of these" if node.type == "JOIN" else "the first of these"
    left, right = entries[0] - 60, entries[-1] + 60
    top = 20.0 + _BAR + GAP
    height = top + columns.height + (_BAR if columns.exit is not None else 0)
    parts: list[tuple[float, float, Block | Shape]] = [
        (left, 20.0, Node("bar", right - left, _BAR, number, text)),
        (0.0, top, columns),
        (0.0, 0.0, Line(((columns.entry, 0.0), (columns.entry, 20.0)), arrow=False)),
        *(
            (0.0, 0.0, Line(((x, 20.0 + _BAR), (x, top)), arrow=not child.open))
            for x, child in zip(entries, children, strict=True)
        ),
    ]
    if columns.exit is not None:
        exits = [
            x - child.entry + child.exit
            for x, child in zip(entries, children, strict=True)
            if child.exit is not None
        ]
        end = Node("bar", max(exits[-1], columns.exit) - min(exits[0], columns.exit) + 120, _BAR, number)
        parts.append((min(exits[0], columns.exit) - 60, height - _BAR, end))
    if columns.leave is not None:
        points = ((columns.leave, height - _BAR), (columns.leave, height))
        parts.append((0.0, 0.0, Line(points, arrow=False, leaves=True)))
    return Block(columns.width, height, columns.entry, columns.exit, columns.leave, parts, open=True)


def _loop(drawn: _Drawn, number: int, node: NodeInfo) -> Block:
    assert node.left is not None, "verify has seen to it that a loop has a body"
    body = drawn[node.left]
    frame = Node("frame", 0, 0, number, "loop")
    if node.condition is None:
        return repeated(body, None, frame)
    diamond = Node("diamond", *_DIAMOND, number, "again?")
    return repeated(below(body, drawn[node.condition]), diamond, frame)


_DRAWN: Final[dict[str, Callable[[_Drawn, int, NodeInfo], Block]]] = {
    "THEN": _sequence,
    "IF": _choice,
    "JOIN": _fork,
    "RACE": _fork,
    "LOOP": _loop,
    "CATCH": _catch,
    "FINALLY": _finally,
    "UNDO": _undo,
}
