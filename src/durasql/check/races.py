"""Races whose losing branch may already have written something.

A branch that is one SQL statement is safe: either it commits and wins, or it is rolled back. A write
followed by more steps stays when the other branch wins, and an HTTP call may have arrived. What has an undo
is safe, too: the undo of a losing branch runs.
"""

from __future__ import annotations

from collections.abc import Iterator

from durasql.check.effects import writes
from durasql.check.view import View
from durasql.errors import Diagnostic
from durasql.syntax import ast


def check_races(view: View) -> Iterator[Diagnostic]:
    """W209."""
    for node in view.nodes():
        if isinstance(node, ast.Race):
            for branch in (node.left, node.right):
                yield from _branch(view, branch)


def _branch(view: View, branch: ast.Node) -> Iterator[Diagnostic]:
    """At most one finding a branch: at the first write that stays."""
    last = {id(node) for node in _last_steps(branch)}
    for node in _not_undone(branch):
        if isinstance(node, ast.Sql) and id(node) not in last and writes(node):
            message = "what this step writes stays, even if the other branch of the race wins"
            hint = (
                "write after the race, in the step that follows it, or make the write the branch's last step"
            )
            yield view.finding("W209", message, node.span, hint)
            return
        if (isinstance(node, ast.Http) and node.method != "GET") or isinstance(node, ast.HttpMultipart):
            message = "this request may have arrived even if the other branch of the race wins"
            yield view.finding(
                "W209", message, node.span, "call after the race, or make the receiver tolerate it"
            )
            return


def _not_undone(branch: ast.Node) -> Iterator[ast.Node]:
    """The steps of a branch in order, without those that an undo takes back."""
    stack = [branch]
    while stack:
        node = stack.pop()
        if not isinstance(node, ast.Undo):
            yield node
            stack.extend(reversed(list(node.children())))


def _last_steps(branch: ast.Node) -> Iterator[ast.Node]:
    """The steps with which a branch can end."""
    stack = [branch]
    while stack:
        node = stack.pop()
        match node:
            case ast.Then(second=second):
                stack.append(second)
            case ast.If(then=then, otherwise=otherwise) | ast.IfRows(then=then, otherwise=otherwise):
                stack.extend((then, otherwise))
            case ast.Retry(body=body) | ast.Timeout(body=body):
                stack.append(body)
            case ast.Catch(body=body, handler=handler):
                stack.extend((body, handler))
            case _:
                yield node
