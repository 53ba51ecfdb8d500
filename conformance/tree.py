"""An AST as people read it, one node a line with its place, for golden files.

Then |=> both  3:1-3:40
  Sql 'SELECT 1' |=> a  3:1-3:20
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from decimal import Decimal

from durasql.source import Source
from durasql.syntax import ast
from durasql.syntax.signatures import START

_SHOWN_APART = ("name", "span", "name_span", "texts", "body_span")


def dump(workflow: ast.Workflow, source: Source) -> str:
    """Every statement with its tree."""
    return "\n".join(line for item in workflow.statements for line in _statement(item, source))


def _statement(item: ast.Statement, source: Source) -> Iterator[str]:
    if isinstance(item, ast.SetVar):
        yield f"SetVar {item.name!r} {item.value!r}{_place(item, source)}"
        return
    options = [
        ("mode" if parameter.name == "transaction_mode" else parameter.name, getattr(item, parameter.name))
        for parameter in START[1:]
    ]
    given = "".join(f" {name}={value!r}" for name, value in options if value is not None)
    yield f"Start{given}{_place(item, source)}"
    stack: list[tuple[ast.Node, int]] = [(item.graph, 1)]
    while stack:
        node, depth = stack.pop()
        yield "  " * depth + _line(node, source)
        stack.extend((child, depth + 1) for child in reversed(list(node.children())))


def _line(node: ast.Node, source: Source) -> str:
    own = [_value(node, item.name) for item in fields(node) if item.name not in _SHOWN_APART]
    name = f" |=> {node.name}" if node.name is not None else ""
    return " ".join([type(node).__name__, *filter(None, own)]) + name + _place(node, source)


def _value(node: ast.Node, name: str) -> str:
    """A field as the tree shows it; a switch that is off and what has lines of its own are left out."""
    value = getattr(node, name)
    if value is None or _is_below(value):
        return ""
    if isinstance(value, bool):
        return name if value else ""
    return str(value) if isinstance(value, Decimal) else repr(value)


def _is_below(value: object) -> bool:
    """Whether a field holds nodes, which have lines of their own."""
    first = value[0] if isinstance(value, tuple) and value else value
    return hasattr(first, "children")


def _place(item: ast.Statement | ast.Node, source: Source) -> str:
    if item.span is None:
        return ""
    start, end = source.position(item.span.start), source.position(item.span.end)
    return f"  {start.line}:{start.column}-{end.line}:{end.column}"
