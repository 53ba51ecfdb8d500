"""Number the nodes in pre-order and make the node table that views and explain read.

A tree may share subtrees (two references to one object); each occurrence is a node of its own, so the
numbering copies nothing but is keyed by occurrence. `ast` trees built by the parser never share.
"""

from __future__ import annotations

from dataclasses import replace

from durasql.bytecode.program import NodeInfo
from durasql.syntax import ast
from durasql.syntax.envelope import node_type, query_text


def number_nodes(root: ast.Node) -> tuple[dict[int, int], list[NodeInfo]]:
    """The number of every node (by identity) and the table in number order."""
    numbers: dict[int, int] = {}
    table: list[NodeInfo] = []
    stack: list[tuple[ast.Node, int | None]] = [(root, None)]
    while stack:
        node, parent = stack.pop()
        numbers[id(node)] = len(table)
        table.append(NodeInfo(node_type(node), query_text(node), node.name, parent=parent))
        stack.extend((child, numbers[id(node)]) for child in reversed(list(node.children())))
    for node in ast.walk(root):
        _link(node, numbers, table)
    return numbers, table


def _link(node: ast.Node, numbers: dict[int, int], table: list[NodeInfo]) -> None:
    """Fill in the children of one composite."""
    here = numbers[id(node)]
    below = [numbers[id(child)] for child in node.children()]
    match node:
        case ast.Then() | ast.Race() | ast.IfRows():
            table[here] = replace(table[here], left=below[0], right=below[1])
        case ast.If():
            table[here] = replace(table[here], left=below[0], right=below[1], condition=below[2])
        case ast.Join():
            table[here] = replace(table[here], left=below[0], right=below[1], extras=tuple(below[2:]))
        case ast.Loop():
            table[here] = replace(table[here], left=below[0], condition=below[1] if len(below) > 1 else None)
        case _:
            pass
