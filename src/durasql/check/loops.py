"""Loops that neither wait nor end: they would run as fast as the database answers, for ever."""

from __future__ import annotations

from collections.abc import Iterator

from durasql.check.view import View
from durasql.errors import Diagnostic
from durasql.source import Span
from durasql.syntax import ast


def check_loops(view: View) -> Iterator[Diagnostic]:
    """W206. A branch of a race is excused, since the other branch ends it, and so is what has a timeout."""
    for root, flow in zip(view.graphs, view.flows, strict=True):
        raced = {
            id(below)
            for node in ast.walk(root)
            if isinstance(node, ast.Race | ast.Timeout)
            for below in ast.walk(node)
            if below is not node
        }
        for loop in flow.endless.values():
            if id(loop) in raced or any(_waits(node) for node in ast.walk(loop)):
                continue
            start = loop.span.start if loop.span else 0
            message = "this loop never waits and never ends"
            hint = (
                "add df.sleep(…), df.wait_for_schedule('…') or a wait for a signal, or end it with df.break()"
            )
            yield view.finding("W206", message, Span(start, start + 2) if loop.span else None, hint)


def _waits(node: ast.Node) -> bool:
    if isinstance(node, ast.Sleep):
        return node.seconds > 0
    if isinstance(node, ast.Sql):
        return "pg_sleep" in node.query or "{" in node.query
    return isinstance(node, ast.WaitSchedule | ast.Signal | ast.Http | ast.HttpMultipart | ast.Opaque)
