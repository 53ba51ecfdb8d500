"""One text, read as far as it can be. In: text and name. Out: `Analysis`, also of a text with mistakes in it.

The last tree that could be read is kept by the server, so that names are known while a step is being typed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from durasql.check.flow import Flow, flow_of
from durasql.check.run import findings
from durasql.check.variables import BUILT_IN
from durasql.errors import CompileError, Diagnostic
from durasql.pipeline import parse_source
from durasql.source import Source
from durasql.syntax import ast
from durasql.syntax.build import vocabulary
from durasql.syntax.scan import Lexeme, scan


@dataclass(frozen=True)
class Analysis:
    """What is known about a text; `workflow` is None when it does not parse."""

    source: Source
    workflow: ast.Workflow | None
    diagnostics: tuple[Diagnostic, ...]

    @cached_property
    def flows(self) -> list[tuple[ast.Node, Flow]]:
        """Every graph with the names that are bound in it."""
        return (
            [(start.graph, flow_of(start.graph)) for start in self.workflow.starts] if self.workflow else []
        )

    @cached_property
    def lexemes(self) -> list[Lexeme]:
        """The words of the text."""
        return scan(self.source, vocabulary()).lexemes

    def nodes(self) -> Iterator[tuple[ast.Node, Flow]]:
        """Every node, outer before inner."""
        for root, flow in self.flows:
            for node in ast.walk(root):
                yield node, flow

    def named_anywhere(self) -> dict[str, ast.Node | None]:
        """Every name that the text binds, with its node where the text parses."""
        found: dict[str, ast.Node | None] = {node.name: node for node, _ in self.nodes() if node.name}
        if not found:
            pairs = zip(self.lexemes, self.lexemes[1:], strict=False)
            found = {word.value: None for before, word in pairs if before.kind == "AS_NAME" and word.value}
        return found

    def variables(self) -> list[str]:
        """The variables that the text sets, and the built-in ones."""
        statements = self.workflow.statements if self.workflow else ()
        set_here = (item.name for item in statements if isinstance(item, ast.SetVar))
        return [*dict.fromkeys(set_here), *BUILT_IN]


def analyse(text: str, name: str) -> Analysis:
    """Parse and check a text. Never raises."""
    source = Source(text, name)
    try:
        workflow = parse_source(source)
    except CompileError as error:
        return Analysis(source, None, error.diagnostics)
    return Analysis(source, workflow, findings(workflow, source))
