"""`{vars}` that nothing in the file sets.

They may be set elsewhere, so this is a note, or a warning when it looks like a typo.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Final

from durasql.check.sqltext import place, substituted, variables
from durasql.check.view import View
from durasql.errors import Diagnostic
from durasql.syntax import ast

BUILT_IN: Final = ("sys_instance_id", "sys_label")


def check_variables(view: View) -> Iterator[Diagnostic]:
    """W213, I204."""
    known = [*BUILT_IN]
    for statement in view.workflow.statements:
        if isinstance(statement, ast.SetVar):
            known.append(statement.name)
        else:
            for node in ast.walk(statement.graph):
                yield from _node(view, node, known)


def _node(view: View, node: ast.Node, known: list[str]) -> Iterator[Diagnostic]:
    for argument, text, _ in substituted(node):
        for variable in variables(text):
            if variable.name in known:
                continue
            span = place(node, argument, variable.start, variable.end)
            near = get_close_matches(variable.name, known, 1, 0.75)
            if near:
                message = f"no variable {{{variable.name}}} is set before this workflow starts"
                yield view.finding("W213", message, span, f"did you mean {{{near[0]}}}?")
            else:
                message = (
                    f"{{{variable.name}}} is replaced only if a variable of that name is set before the start"
                )
                hint = f"SELECT df.setvar('{variable.name}', '…'); or --var {variable.name}=…"
                yield view.finding("I204", message, span, hint)
