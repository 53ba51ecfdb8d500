"""References that stand where a value is inserted differently, or not at all."""

from __future__ import annotations

from collections.abc import Iterator

from durasql.check.sqltext import Where, place, references
from durasql.check.view import View
from durasql.errors import Diagnostic
from durasql.syntax import ast


def check_literals(view: View) -> Iterator[Diagnostic]:
    """W211, I203."""
    for flow, root in zip(view.flows, view.graphs, strict=True):
        for node in ast.walk(root):
            names = flow.names(node)
            if not isinstance(node, ast.Sql) or names is None:
                continue
            for reference in references(node.query):
                if reference.name not in names.bound or reference.where in (Where.CODE, Where.BODY):
                    continue
                span = place(node, "query", reference.start, reference.end)
                if reference.where is Where.DEAD:
                    message = f"{reference.text} is not replaced inside a comment or a quoted identifier"
                    hint = "a result is a value; a {variable} can stand for a name"
                    yield view.finding("W211", message, span, hint)
                else:
                    message = f"{reference.text} is inserted as text into the literal"
                    yield view.finding(
                        "I203", message, span, "without quotes around it, it is inserted as a value"
                    )
