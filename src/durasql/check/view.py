"""What the passes look at: the workflow, its text as it was written, and the parts several of them need.

In: a workflow and its source. Out: `View`, made once per check. The concrete terms are there for findings
about what was written (parentheses); they are missing when the text was no workflow text of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from durasql.check.flow import Flow, flow_of
from durasql.check.shape import Known, Shape, shape_of
from durasql.codes import CODES, diagnose
from durasql.errors import CompileError, Diagnostic, Severity
from durasql.source import Source, Span
from durasql.syntax import ast, terms
from durasql.syntax.reading import read_terms
from durasql.syntax.scan import Lexeme

_ALLOW: Final = re.compile(r"--\s*durasql:\s*allow\b(?P<codes>.*)", re.IGNORECASE)
_CODE: Final = re.compile(r"[A-Z]\d{3}\b")


@dataclass(frozen=True, slots=True)
class Allowed:
    """The codes that comments silence: `-- durasql: allow W208, W209`.

    On a line of its own such a comment holds for the rest of the file; behind code, for findings that begin
    on its line.
    """

    source: Source
    from_line: dict[str, int] = field(default_factory=dict)
    on_line: set[tuple[str, int]] = field(default_factory=set)
    unknown: list[Diagnostic] = field(default_factory=list)

    def add(self, comment: Lexeme) -> None:
        found = _ALLOW.match(comment.text)
        if not found:
            return
        line = self.source.position(comment.span.start).line
        alone = not self.source.line(line).partition("--")[0].strip()
        for code in _CODE.finditer(found["codes"]):
            if code.group() not in CODES or CODES[code.group()].severity is Severity.ERROR:
                at = comment.span.start + found.start("codes") + code.start()
                message = f"{code.group()} is no warning that can be silenced"
                self.unknown.append(diagnose("W290", message, self.source, Span(at, at + 4)))
            elif alone:
                self.from_line.setdefault(code.group(), line)
            else:
                self.on_line.add((code.group(), line))

    def silences(self, item: Diagnostic) -> bool:
        """Whether the file silences this finding; never an error."""
        if item.severity is Severity.ERROR:
            return False
        line = self.source.position(item.span.start if item.span else 0).line
        return self.from_line.get(item.code, line + 1) <= line or (item.code, line) in self.on_line


class View:
    """One workflow text under examination."""

    def __init__(self, workflow: ast.Workflow, source: Source, known: Known | None = None) -> None:
        self.workflow = workflow
        self.source = source
        self._known = known or {}

    def shape_of(self, node: ast.Node) -> Shape:
        """What a node's result looks like, as far as its text or a server told."""
        return shape_of(node, self._known)

    @property
    def graphs(self) -> list[ast.Node]:
        """The root of every workflow that the text starts."""
        return [start.graph for start in self.workflow.starts]

    def nodes(self) -> Iterator[ast.Node]:
        """Every node of every graph."""
        for root in self.graphs:
            yield from ast.walk(root)

    def finding(self, code: str, message: str, span: Span | None, hint: str | None = None) -> Diagnostic:
        """A diagnostic about this text."""
        return diagnose(code, message, self.source, span, hint)

    @cached_property
    def flows(self) -> list[Flow]:
        """Names and reachability, graph by graph."""
        return [flow_of(root) for root in self.graphs]

    @cached_property
    def _concrete(self) -> tuple[list[terms.Piece], list[Lexeme]]:
        try:
            pieces, scanned = read_terms(self.source)
        except CompileError:
            return [], []
        return pieces, scanned.comments

    @property
    def pieces(self) -> list[terms.Piece]:
        """What was written, piece by piece."""
        return self._concrete[0]

    @cached_property
    def allowed(self) -> Allowed:
        """What the comments of the file silence."""
        allowed = Allowed(self.source)
        for comment in self._concrete[1]:
            allowed.add(comment)
        return allowed
