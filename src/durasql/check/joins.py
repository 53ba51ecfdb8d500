"""Joins whose branches bind the same name: the last branch in order wins, which is rarely meant."""

from __future__ import annotations

from collections.abc import Iterator

from durasql.check.flow import bound_below
from durasql.check.view import View
from durasql.errors import Diagnostic
from durasql.syntax import ast


def check_joins(view: View) -> Iterator[Diagnostic]:
    """W210."""
    for node in view.nodes():
        if isinstance(node, ast.Join):
            yield from _join(view, node)


def _join(view: View, node: ast.Join) -> Iterator[Diagnostic]:
    seen: dict[str, int] = {}
    for number, branch in enumerate(node.branches, 1):
        bound = bound_below(branch)
        if branch.name is not None:
            bound = {**bound, branch.name: (branch,)}
        for name, nodes in bound.items():
            if name in seen:
                message = f"branches {seen[name]} and {number} of the join both bind '{name}'; the later wins"
                span = nodes[0].name_span or nodes[0].span
                yield view.finding("W210", message, span, "use a name of its own in each branch")
            seen.setdefault(name, number)
