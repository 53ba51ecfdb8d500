"""The front half on one page: parse > check > lower > verify.

    text --read_workflow--> Workflow --check--> CheckedWorkflow --lower--> Program --verify--> Program
    envelope --decode--> node --lower--> Program --verify--> Program        (what a worker asks for)

Nothing here needs a database. `compile_graph` is the runtime's one seam into the compiler and loads no
parser.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from durasql.bytecode.program import Program
from durasql.bytecode.verify import verify
from durasql.errors import Diagnostic, ProgramError
from durasql.lower import lower
from durasql.source import Source
from durasql.syntax.ast import Node, Start, Workflow
from durasql.syntax.envelope import EnvelopeError, decode, encode

if TYPE_CHECKING:
    from durasql.check import CheckedWorkflow


@dataclass(frozen=True, slots=True)
class CompiledStart:
    """One workflow of a text: how it is started, its canonical graph and its program."""

    start: Start
    graph: str
    program: Program


@dataclass(frozen=True, slots=True)
class Compiled:
    """A whole text: its workflows in order and the warnings and notes about them."""

    workflow: Workflow
    starts: tuple[CompiledStart, ...]
    diagnostics: tuple[Diagnostic, ...]


def parse_source(source: Source) -> Workflow:
    """Text to AST. Raises `CompileError` with every mistake found."""
    from durasql.syntax import parse

    return parse(source)


def check_source(source: Source) -> CheckedWorkflow:
    """Text to checked AST with warnings. Raises `CompileError` if anything is certain to fail."""
    from durasql.check import check

    return check(parse_source(source), source)


def compile_source(source: Source) -> Compiled:
    """Text to programs, one for each workflow the text starts. Raises `CompileError`."""
    checked = check_source(source)
    starts = (
        CompiledStart(start, encode(start.graph), _compile(start.graph)) for start in checked.workflow.starts
    )
    return Compiled(checked.workflow, tuple(starts), checked.diagnostics)


def compile_text(text: str, name: str = "<text>") -> Compiled:
    """`compile_source` for a plain string."""
    return compile_source(Source(text, name))


def compile_graph(envelope: str) -> Program:
    """A stored graph to its program. Raises `ProgramError` for an envelope that df.start would refuse."""
    try:
        node = decode(envelope)
    except EnvelopeError as error:
        raise ProgramError(f"Invalid durable function graph: {error}") from None
    return _compile(node)


def _compile(node: Node) -> Program:
    return verify(lower(node))
