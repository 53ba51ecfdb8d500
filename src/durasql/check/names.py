"""References to results: unbound names, names bound on some ways only or twice, fields that cannot exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Final

from durasql.check.flow import ERROR, Flow, Names
from durasql.check.shape import Shape
from durasql.check.sqltext import Reference, Where, place, references, substituted
from durasql.check.view import View
from durasql.errors import Diagnostic
from durasql.source import Span
from durasql.syntax import ast

_DECLARES: Final = re.compile(
    r"\b(?:create(?:\s+or\s+replace)?\s+(?:function|procedure)|prepare)\b", re.IGNORECASE
)


def check_names(view: View) -> Iterator[Diagnostic]:
    """E215, E216, W201, W202, W203, W204."""
    for root, flow in zip(view.graphs, view.flows, strict=True):
        everywhere = {node.name for node in ast.walk(root) if node.name and not isinstance(node, ast.Break)}
        for node in ast.walk(root):
            names = flow.names(node)
            if names is None:
                continue
            yield from _Step(view, node, names, everywhere).findings()
            yield from _rebound(view, node, names, flow)


class _Step:
    """One step and the names that may be bound when it begins."""

    def __init__(self, view: View, node: ast.Node, names: Names, everywhere: set[str]) -> None:
        self.view = view
        self.node = node
        self.names = names
        self.everywhere = everywhere

    def findings(self) -> Iterator[Diagnostic]:
        if isinstance(self.node, ast.IfRows):
            yield from self._if_rows(self.node)
        for argument, text, sql in substituted(self.node):
            for reference in references(text, sql=sql):
                span = place(self.node, argument, reference.start, reference.end)
                yield from self._reference(reference, span, sql=sql)

    def _if_rows(self, node: ast.IfRows) -> Iterator[Diagnostic]:
        map_ = node.text_map("result_name")
        span = map_.body if map_ else node.span
        if node.result_name in self.names.bound:
            yield from self._uncertain(node.result_name, f"'{node.result_name}'", span)
            shapes = [self.view.shape_of(bound) for bound in self.names.bound[node.result_name]]
            if all(shape.kind in ("object", "array") for shape in shapes):
                message = f"df.if_rows: result '{node.result_name}' is never the result of a SQL step"
                yield self.view.finding("E216", message, span, "only the result of a SQL step has rows")
            return
        message = f"df.if_rows: no result named '{node.result_name}' can be bound here"
        yield self.view.finding("E215", message, span, self._why_unbound(node.result_name))

    def _reference(self, reference: Reference, span: Span | None, *, sql: bool) -> Iterator[Diagnostic]:
        if reference.where is Where.DEAD:
            return
        name = reference.name
        if name in self.names.bound:
            yield from self._uncertain(name, f"${name}", span)
            yield from self._field(reference, span)
        elif name.isdigit():
            if sql and reference.where is Where.CODE and not self._has_parameters():
                yield self.view.finding(
                    "W201",
                    f"${name} is a parameter that nobody passes",
                    span,
                    "name a result: |=> 'x', then $x",
                )
        elif sql and reference.where is Where.CODE:
            message = f"no result named '{name}' can be bound here"
            yield self.view.finding("E215", message, span, self._why_unbound(name))
        elif name in self.everywhere or get_close_matches(name, self.names.bound, 1, 0.75):
            message = f"no result named '{name}' can be bound here, so {reference.text} stays as it is"
            yield self.view.finding("W201", message, span, self._why_unbound(name))

    def _has_parameters(self) -> bool:
        """Whether the statement declares parameters of its own."""
        return isinstance(self.node, ast.Sql) and bool(_DECLARES.search(self.node.query))

    def _why_unbound(self, name: str) -> str:
        if name == ERROR:
            return "a failure is known as $error in the handler of df.catch, a cleanup and an undo only"
        near = get_close_matches(name, self.names.bound, 1, 0.6)
        if name in self.everywhere:
            return f"'{name}' is bound later or in another branch; it is visible only in steps that follow"
        if near:
            return f"did you mean ${near[0]}?"
        known = ", ".join(f"${other}" for other in sorted(self.names.bound)[:8])
        return f"bound here: {known}" if known else f"name a step before it: … |=> '{name}' ~> …"

    def _uncertain(self, name: str, shown: str, span: Span | None) -> Iterator[Diagnostic]:
        if name not in self.names.certain:
            message = f"{shown} is not bound on every way to this step"
            hint = "bind it on each way, or give it a first value before the branch or loop"
            yield self.view.finding("W202", message, span, hint)

    def _field(self, reference: Reference, span: Span | None) -> Iterator[Diagnostic]:
        """A field is certain to be missing only if no step that may have bound the name has it."""
        shapes = [self.view.shape_of(node) for node in self.names.bound[reference.name]]
        if reference.star and all(shape.kind in ("object", "array") for shape in shapes):
            message = f"{reference.text} needs rows, and ${reference.name} never has any"
            yield self.view.finding("E216", message, span, "only the result of a SQL step has rows")
        if reference.column is None or any(_may_have(shape, reference.column) for shape in shapes):
            return
        fields = sorted({field for shape in shapes for field in shape.fields or ()})
        near = get_close_matches(reference.column, fields, 1, 0.6)
        hint = (
            f"did you mean ${reference.name}.{near[0]}?"
            if near
            else f"it has: {', '.join(fields) or 'no rows'}"
        )
        message = f"${reference.name} has no field '{reference.column}'"
        code = "W204" if reference.optional else "E216"
        message += ", so this is always NULL" if reference.optional else ""
        yield self.view.finding(code, message, span, hint)


def _may_have(shape: Shape, field: str) -> bool:
    if shape.kind == "array":
        return False
    return shape.fields is None or field in shape.fields


def _rebound(view: View, node: ast.Node, names: Names, flow: Flow) -> Iterator[Diagnostic]:
    """A name that gets a new value although nothing of the step reads the old one."""
    if node.name is None or isinstance(node, ast.Break) or node.name not in names.certain:
        return
    others = [other for other in names.bound[node.name] if other is not node]
    inside = {id(below) for below in ast.walk(node)}
    if not others or all(id(other) in inside for other in others) or _reads(node, node.name):
        return
    first = others[0]
    where = ""
    if first.name_span is not None:
        where = f" (first bound on line {view.source.position(first.name_span.start).line})"
    message = f"'{node.name}' is bound again{where}; its earlier value is lost"
    yield view.finding(
        "W203", message, node.name_span or node.span, "use another name if both values are needed"
    )


def _reads(root: ast.Node, name: str) -> bool:
    texts = (item for node in ast.walk(root) for item in substituted(node))
    return any(found.name == name for _, text, sql in texts for found in references(text, sql=sql))
