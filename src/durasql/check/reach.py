"""Steps that can never begin, because a break or an endless loop stands before them."""

from __future__ import annotations

from collections.abc import Iterator

from durasql.check.view import View
from durasql.errors import Diagnostic
from durasql.syntax import ast


def check_reach(view: View) -> Iterator[Diagnostic]:
    """W205."""
    for flow in view.flows:
        for node, reason in flow.dead:
            hint = "put it before the break, or into the other branch of an IF"
            if "loop" in reason:
                hint = "end the loop with df.break() or a condition, or move the step into it: @> (… ~> …)"
            first = node
            while isinstance(first, ast.Then):
                first = first.first
            yield view.finding("W205", f"this step can never run: {reason}", first.span, hint)
