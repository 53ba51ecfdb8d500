"""A break outside every loop, and a name on a break. An undo runs when no loop around it does any more."""

from __future__ import annotations

from collections.abc import Iterator

from durasql.check.view import View
from durasql.errors import Diagnostic
from durasql.syntax import ast


def check_breaks(view: View) -> Iterator[Diagnostic]:
    """E211, E212."""
    for root in view.graphs:
        stack: list[tuple[ast.Node, bool]] = [(root, False)]
        while stack:
            node, looped = stack.pop()
            if isinstance(node, ast.Break):
                yield from _break(view, node, looped=looped)
            looped = looped or isinstance(node, ast.Loop)
            stack.extend(
                (child, looped and not (isinstance(node, ast.Undo) and child is node.undo))
                for child in node.children()
            )


def _break(view: View, node: ast.Break, *, looped: bool) -> Iterator[Diagnostic]:
    if not looped:
        message = "df.break() was called outside of a loop. df.break() may only be used inside df.loop()."
        yield view.finding("E211", message, node.span, "put the steps that repeat into @> ( … )")
    if node.name is not None:
        message = f"a break never yields a value, so '{node.name}' would never be bound"
        hint = "name the loop instead: (@> ( … )) |=> 'name'"
        yield view.finding("E212", message, node.name_span or node.span, hint)
