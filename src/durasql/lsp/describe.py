"""What is to be said about steps, in Markdown: their results, guarantees and times.

In: nodes. Out: text.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from durasql.bytecode.opcodes import OPCODES, Guarantee, Op
from durasql.check.shape import Shape, shape_of
from durasql.source import Source
from durasql.statement import classify
from durasql.syntax import ast
from durasql.syntax.envelope import node_type

_KINDS: Final = {
    "object": "an object",
    "array": "an array of the branches' results",
    "unknown": "decided when it runs",
}
_TIMES: Final = 3


def shape_text(shape: Shape) -> str:
    """`rows (id, day)`"""
    fields = f" ({', '.join(shape.fields)})" if shape.fields else ""
    if shape.kind == "rows":
        return f"rows{fields}" if shape.fields != () else "a number of rows"
    return _KINDS.get(shape.kind, shape.kind) + fields


def guarantee_text(node: ast.Node) -> str:
    """What a crash can do to the step's effects; empty for what has none of its own."""
    op = Op(node_type(node))
    if isinstance(node, ast.Sql) and not classify(node.query).transactional:
        return str(Guarantee.AT_LEAST_ONCE)
    return str(OPCODES[op].guarantee) if OPCODES[op].leaf else ""


def step_text(node: ast.Node) -> str:
    """A step: its kind, its guarantee, its result, and the next times of a schedule."""
    guarantee = guarantee_text(node)
    lines = [f"**{node_type(node)}**" + (f" · runs {guarantee}" if guarantee else "")]
    if not isinstance(node, ast.Break):
        lines.append(f"result: {shape_text(shape_of(node))}")
    if isinstance(node, ast.WaitSchedule):
        lines.append(f"next: {', '.join(next_times(node))} UTC")
    return "\n\n".join(lines)


def next_times(node: ast.WaitSchedule) -> list[str]:
    """When the schedule fires next."""
    from durasql_runtime.schedule import next_tick

    times = [datetime.now(UTC)]
    for _ in range(_TIMES):
        times.append(next_tick(node.cron_expr, node.timezone, times[-1]))
    return [f"{moment:%a %Y-%m-%d %H:%M}" for moment in times[1:]]


def bound_text(name: str, bound: tuple[ast.Node, ...], source: Source, *, certain: bool) -> str:
    """A name: what it holds and where it comes from."""
    lines = [f"**${name}**" + ("" if certain else " · not bound on every way to this step")]
    for node in bound:
        span = node.name_span or node.span
        where = f" (line {source.position(span.start).line})" if span else ""
        lines.append(f"{node_type(node)}{where}: {shape_text(shape_of(node))}")
    return "\n\n".join(lines)
