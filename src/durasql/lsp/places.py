"""What stands at an offset of a text: a reference, a name being bound, a function, an operator, a step.

In: an `Analysis` and an offset. Out: the thing with its span.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from durasql.check.flow import Flow
from durasql.check.sqltext import Reference, place, references, substituted
from durasql.lsp.analysis import Analysis
from durasql.source import Span
from durasql.syntax import ast
from durasql.syntax.scan import Lexeme


@dataclass(frozen=True, slots=True)
class Used:
    """A reference to a result, and the nodes that may have bound it."""

    reference: Reference
    span: Span
    bound: tuple[ast.Node, ...]
    certain: bool


@dataclass(frozen=True, slots=True)
class Binding:
    """The name that a node binds."""

    node: ast.Node
    span: Span


@dataclass(frozen=True, slots=True)
class Word:
    """An operator, or the name of a function in `df`."""

    lexeme: Lexeme

    @property
    def span(self) -> Span:
        return self.lexeme.span


@dataclass(frozen=True, slots=True)
class Step:
    """A step, pointed at where nothing smaller stands."""

    node: ast.Node
    span: Span


Thing: TypeAlias = Used | Binding | Word | Step


def thing_at(analysis: Analysis, offset: int) -> Thing | None:
    """The smallest thing that covers the offset."""
    return (
        used_at(analysis, offset)
        or _binding_at(analysis, offset)
        or _word_at(analysis, offset)
        or _step_at(analysis, offset)
    )


def used_at(analysis: Analysis, offset: int) -> Used | None:
    """The reference at the offset, in whatever text of a step it stands."""
    for node, flow in analysis.nodes():
        if (
            isinstance(node, ast.IfRows)
            and (map_ := node.text_map("result_name"))
            and _covers(map_.span, offset)
        ):
            name = node.result_name
            found = Reference(name, None, False, False, 0, len(name), "code")  # type: ignore[arg-type]
            return _used(flow, node, found, map_.body)
        if not _may_hold(node, offset):
            continue
        for argument, text, sql in substituted(node):
            for reference in references(text, sql=sql):
                span = place(node, argument, reference.start, reference.end)
                if span is not None and argument != "headers" and _covers(span, offset):
                    return _used(flow, node, reference, span)
    return None


def _used(flow: Flow, node: ast.Node, reference: Reference, span: Span) -> Used | None:
    names = flow.names(node)
    bound = names.bound.get(reference.name, ()) if names else ()
    return (
        Used(reference, span, bound, names is not None and reference.name in names.certain) if bound else None
    )


def _binding_at(analysis: Analysis, offset: int) -> Binding | None:
    for node, _ in analysis.nodes():
        if node.name is not None and node.name_span is not None and _covers(node.name_span, offset):
            return Binding(node, node.name_span)
    return None


def _word_at(analysis: Analysis, offset: int) -> Word | None:
    for word in analysis.lexemes:
        if _covers(word.span, offset, inclusive=word.kind == "NAME") and word.kind != "STRING":
            return Word(word)
    return None


def _step_at(analysis: Analysis, offset: int) -> Step | None:
    """The innermost leaf around the offset."""
    found: Step | None = None
    for node, _ in analysis.nodes():
        if node.span is not None and _covers(node.span, offset) and next(node.children(), None) is None:
            found = Step(node, node.span)
    return found


def _may_hold(node: ast.Node, offset: int) -> bool:
    return any(_covers(map_.span, offset) for _, map_ in node.texts)


def _covers(span: Span, offset: int, *, inclusive: bool = True) -> bool:
    return span.start <= offset < span.end + inclusive
