"""Number the nodes in pre-order and make the node table that views and explain read.

In: the root of an AST. Out: the same tree with a number at every occurrence of a node (a generated tree
may use one object twice), and the table.
"""

from __future__ import annotations

from dataclasses import dataclass

from durasql.bytecode.program import NodeInfo
from durasql.syntax import ast
from durasql.syntax.envelope import node_type, query_text


@dataclass(frozen=True, slots=True)
class Numbered:
    """A node where it stands: its number, and what is below it in the order of `Node.children`."""

    node: ast.Node
    number: int
    below: tuple[Numbered, ...]


def number_nodes(root: ast.Node) -> tuple[Numbered, tuple[NodeInfo, ...]]:
    """The numbered tree and the node table in number order."""
    table: list[NodeInfo | None] = []
    tree = _number(root, None, table)
    return tree, tuple(info for info in table if info is not None)


def _number(node: ast.Node, parent: int | None, table: list[NodeInfo | None]) -> Numbered:
    number = len(table)
    table.append(None)
    below = tuple(_number(child, number, table) for child in node.children())
    table[number] = _info(node, parent, [child.number for child in below])
    return Numbered(node, number, below)


def _info(node: ast.Node, parent: int | None, below: list[int]) -> NodeInfo:
    """One row of the table. Children come in the order left, right, condition, extras."""
    left: int | None = None
    right: int | None = None
    condition: int | None = None
    extras: tuple[int, ...] = ()
    match node:
        case ast.Then() | ast.Race() | ast.IfRows() | ast.Catch() | ast.Finally() | ast.Undo():
            left, right = below
        case ast.Retry() | ast.Timeout():
            left = below[0]
        case ast.If():
            left, right, condition = below
        case ast.Join():
            left, right, extras = below[0], below[1], tuple(below[2:])
        case ast.Loop():
            left, condition = below[0], below[1] if len(below) > 1 else None
        case _:
            pass
    return NodeInfo(node_type(node), query_text(node), node.name, left, right, condition, extras, parent)
