"""The geometry of a workflow: blocks below, beside and around each other. In: blocks. Out: larger blocks.

A program is nested, so its picture is, too: every construct becomes a rectangle with one way in at the top,
at most one way out at the bottom, and perhaps a lane at its right edge by which a break leaves it. Nothing
has to be searched for, and the same program always gives the same picture. Lengths are pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

GAP: Final = 26.0
"""Between a block and the next one below."""
BESIDE: Final = 28.0
"""Between a block and the next one to the right."""
LANE: Final = 22.0
"""Between a block and a line that passes it."""


@dataclass(frozen=True, slots=True)
class Node:
    """The drawn form of a node, or of a part of one: `kind` is box, diamond, bar, frame, pill or tag."""

    kind: str
    width: float
    height: float
    number: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points; `arrow` puts a head on its end, `leaves` says that a break goes along it."""

    points: tuple[tuple[float, float], ...]
    label: str = ""
    arrow: bool = True
    leaves: bool = False


Shape: TypeAlias = Node | Line


@dataclass(frozen=True, slots=True)
class Block:
    """A rectangle and what is in it, each part at its offset. `entry`, `exit` and `leave` are x on its edges.

    `open` blocks draw a line of their own from their entry to the first node in them.
    """

    width: float
    height: float
    entry: float
    exit: float | None
    leave: float | None = None
    parts: list[tuple[float, float, Block | Shape]] = field(default_factory=list)
    open: bool = False


def single(node: Node, leaves: bool = False) -> Block:
    """A block that is one node; a break is left by the lane only."""
    middle = node.width / 2
    return Block(
        node.width,
        node.height,
        middle,
        None if leaves else middle,
        middle if leaves else None,
        [(0.0, 0.0, node)],
    )


def below(first: Block, second: Block) -> Block:
    """Two blocks in sequence, the way out of the first above the way into the second."""
    out = first.entry if first.exit is None else first.exit
    shift, other = max(0.0, second.entry - out), max(0.0, out - second.entry)
    width = max(shift + first.width, other + second.width)
    top = first.height + GAP
    parts: list[tuple[float, float, Block | Shape]] = [(shift, 0.0, first), (other, top, second)]
    if first.exit is not None:
        points = ((shift + out, first.height), (shift + out, top))
        parts.append((0.0, 0.0, Line(points, arrow=not second.open)))
    leave = other + second.leave if second.leave is not None else None
    height = top + second.height
    if first.leave is not None:
        begin = shift + first.leave
        lane = max(begin, other + second.width + LANE)
        turn = first.height + GAP / 2
        parts.append((0.0, 0.0, _lane((begin, first.height), (begin, turn), (lane, turn), (lane, height))))
        if leave is not None:
            parts.append((0.0, 0.0, _lane((leave, height), (lane, height))))
        leave, width = lane, max(width, lane + 1)
    exit = other + second.exit if second.exit is not None else None
    return Block(width, height, shift + first.entry, exit, leave, parts, first.open)


def beside(blocks: Sequence[Block], gather: bool = True) -> tuple[Block, list[float]]:
    """Blocks next to each other, and where each is entered. `gather` brings their ends together."""
    x = 0.0
    entries: list[float] = []
    parts: list[tuple[float, float, Block | Shape]] = []
    exits: list[tuple[float, float]] = []
    leaves: list[tuple[float, float]] = []
    for block in blocks:
        parts.append((x, 0.0, block))
        entries.append(x + block.entry)
        if block.exit is not None:
            exits.append((x + block.exit, block.height))
        if block.leave is not None:
            leaves.append((x + block.leave, block.height))
        x += block.width + BESIDE
    width, middle = x - BESIDE, (entries[0] + entries[-1]) / 2
    bottom = max(block.height for block in blocks)
    lane = None
    if leaves:
        lane = leaves[-1][0] if blocks[-1].leave is not None else width + LANE
        turn = bottom + GAP / 2
        ends = bottom + (GAP if exits else GAP / 2)
        for at, height in leaves:
            parts.append((0.0, 0.0, _lane((at, height), (at, turn), (lane, turn), (lane, ends))))
        bottom, width = ends, max(width, lane + 1)
    gathered = bottom + (GAP / 2 if exits else 0)
    for at, height in exits:
        points = ((at, height), (at, gathered), (middle if gather else at, gathered))
        parts.append((0.0, 0.0, Line(points, arrow=False)))
    if lane is not None and gathered > bottom:
        parts.append((0.0, 0.0, _lane((lane, bottom), (lane, gathered))))
    return Block(width, gathered, middle, middle if exits else None, lane, parts), entries


def repeated(body: Block, again: Node | None, frame: Node) -> Block:
    """A frame around a body that is run again, for ever or as long as the node `again` says so."""
    side, top = LANE + 14.0, 44.0
    entry, out = side + body.entry, side + body.entry
    parts: list[tuple[float, float, Block | Shape]] = [(side, top, body)]
    bottom = ending = top + body.height
    if body.exit is not None:
        back = side + body.exit
        if again is not None:
            left, turn = back - again.width / 2, ending + GAP + again.height / 2
            parts += [(0.0, 0.0, _down(back, ending, ending + GAP)), (left, ending + GAP, again)]
            parts.append((0.0, 0.0, _back(left, turn, entry, top, "yes")))
            bottom, out = ending + GAP + again.height, back
            parts.append((0.0, 0.0, Line(((back, bottom), (back, bottom + GAP)), "no", arrow=False)))
            bottom += GAP
        else:
            turn = ending + GAP / 2
            parts.append((0.0, 0.0, Line(((back, ending), (back, turn)), arrow=False)))
            parts.append((0.0, 0.0, _back(back, turn, entry, top, "")))
            bottom = turn + GAP / 2
    if body.leave is not None:
        at = side + body.leave
        parts.append((0.0, 0.0, _lane((at, ending), (at, bottom), (out, bottom))))
    width, height = side + body.width + LANE, bottom + 14.0
    ends = body.leave is not None or (again is not None and body.exit is not None)
    if ends:
        parts.append((0.0, 0.0, Line(((out, bottom), (out, height)), arrow=False)))
    parts.append((0.0, 0.0, Line(((entry, 0.0), (entry, top)), arrow=not body.open)))
    parts.insert(0, (0.0, 0.0, replace(frame, width=width, height=height)))
    return Block(width, height, entry, out if ends else None, None, parts, open=True)


def framed(body: Block, frame: Node) -> Block:
    """A frame around a body."""
    side, top = 14.0, 40.0
    width, height = body.width + 2 * side, body.height + top + 14.0
    parts: list[tuple[float, float, Block | Shape]] = [(0.0, 0.0, replace(frame, width=width, height=height))]
    parts.append((side, top, body))
    parts.append((0.0, 0.0, Line(((side + body.entry, 0.0), (side + body.entry, top)), arrow=not body.open)))
    for at, leaves in ((body.exit, False), (body.leave, True)):
        if at is not None:
            points = ((side + at, top + body.height), (side + at, height))
            parts.append((0.0, 0.0, Line(points, arrow=False, leaves=leaves)))
    out = side + body.exit if body.exit is not None else None
    leave = side + body.leave if body.leave is not None else None
    return Block(width, height, side + body.entry, out, leave, parts, open=True)


def tagged(block: Block, tag: Node) -> Block:
    """A block with a remark beside the line that leaves it."""
    if block.exit is None:
        return block
    height = block.height + tag.height
    parts: list[tuple[float, float, Block | Shape]] = [(0.0, 0.0, block), (block.exit, block.height, tag)]
    parts.append((0.0, 0.0, Line(((block.exit, block.height), (block.exit, height)), arrow=False)))
    if block.leave is not None:
        parts.append((0.0, 0.0, _lane((block.leave, block.height), (block.leave, height))))
    width = max(block.width, block.exit + tag.width)
    return replace(block, width=width, height=height, parts=parts)


def flat(block: Block) -> Iterator[tuple[float, float, Shape]]:
    """Every shape with its place, frames before what is in them."""
    waiting: list[tuple[float, float, Block | Shape]] = [(0.0, 0.0, block)]
    while waiting:
        x, y, part = waiting.pop()
        if isinstance(part, Block):
            waiting += [(x + dx, y + dy, inner) for dx, dy, inner in reversed(part.parts)]
        else:
            yield x, y, part


def _down(x: float, top: float, bottom: float) -> Line:
    return Line(((x, top), (x, bottom)))


def _lane(*points: tuple[float, float]) -> Line:
    return Line(points, arrow=False, leaves=True)


def _back(x: float, y: float, entry: float, top: float, label: str) -> Line:
    """From the end of a body around its left side to the line above it."""
    lane, join = LANE / 2 + 4.0, top - 14.0
    return Line(((x, y), (lane, y), (lane, join), (entry, join)), label)
