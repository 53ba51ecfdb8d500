"""Completion: what could be written at the cursor. In: the text, where the cursor is, the last good analysis.

A step that is being typed rarely parses, so what to offer is decided by the characters before the cursor, and
which names are in scope by the last text that did parse.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from durasql.check.shape import shape_of
from durasql.lsp.analysis import Analysis
from durasql.lsp.describe import shape_text
from durasql.source import Span
from durasql.syntax import ast
from durasql.syntax.signatures import BUILDERS

_REFERENCE: Final = re.compile(r"(?<![\w$])\$([A-Za-z_]\w*)?$", re.ASCII)
_FIELD: Final = re.compile(r"(?<![\w$])\$([A-Za-z_]\w*)\.(\w*)$", re.ASCII)
_VARIABLE: Final = re.compile(r"\{(\w*)$", re.ASCII)
_FUNCTION: Final = re.compile(r"\bdf\.(\w*)$", re.ASCII)
_LOOK_BACK: Final = 200


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing to write in place of `span`. `kind` is name, field, variable or function."""

    text: str
    kind: str
    detail: str
    span: Span
    documentation: str = ""


def complete(now: Analysis, good: Analysis, offset: int) -> list[Offer]:
    """Everything that fits at the cursor; `good` is the last analysis of a text that parsed."""
    before = now.source.text[max(0, offset - _LOOK_BACK) : offset]
    if found := _FIELD.search(before):
        return list(_fields(now, good, found[1], Span(offset - len(found[2]), offset)))
    if found := _REFERENCE.search(before):
        return list(_names(now, good, Span(offset - len(found[0]), offset)))
    if found := _VARIABLE.search(before):
        span = Span(offset - len(found[1]), offset)
        return [Offer(name, "variable", "variable", span) for name in good.variables()]
    if found := _FUNCTION.search(before):
        return list(_functions(Span(offset - len(found[1]), offset)))
    return []


def _names(now: Analysis, good: Analysis, span: Span) -> Iterator[Offer]:
    for name, nodes in _in_scope(now, good, span.start).items():
        detail = " or ".join(dict.fromkeys(shape_text(shape_of(node)) for node in nodes))
        yield Offer(f"${name}", "name", detail, span)


def _fields(now: Analysis, good: Analysis, name: str, span: Span) -> Iterator[Offer]:
    nodes = _in_scope(now, good, span.start).get(name, ())
    shapes = [shape_of(node) for node in nodes]
    for field in dict.fromkeys(field for shape in shapes for field in shape.fields or ()):
        yield Offer(field, "field", f"field of ${name}", span)
    if any(shape.kind in ("rows", "unknown") for shape in shapes):
        yield Offer("*", "field", "all rows, in FROM", span)


def _functions(span: Span) -> Iterator[Offer]:
    for builder in BUILDERS.values():
        yield Offer(builder.name, "function", builder.signature, span, builder.summary)


def _in_scope(now: Analysis, good: Analysis, offset: int) -> dict[str, tuple[ast.Node, ...]]:
    """The names that the step at the offset can use; all of the text's where it cannot be told."""
    if now.workflow is not None:
        for node, flow in now.nodes():
            names = flow.names(node)
            if names is not None and any(
                map_.span.start <= offset <= map_.span.end for _, map_ in node.texts
            ):
                return names.bound
    found = {**now.named_anywhere(), **good.named_anywhere()}
    return {name: (node,) if node is not None else () for name, node in found.items()}
