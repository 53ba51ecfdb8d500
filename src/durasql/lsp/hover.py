"""Hover: what there is to say about the place under the pointer. In: analysis, offset. Out: Markdown."""

from __future__ import annotations

from typing import Final

from durasql.lsp import places
from durasql.lsp.analysis import Analysis
from durasql.lsp.describe import bound_text, step_text
from durasql.source import Span
from durasql.syntax.scan import Lexeme
from durasql.syntax.signatures import BUILDERS

OPERATORS: Final = {
    "AS_NAME": "`step |=> 'name'` names the result of all that stands on its left",
    "THEN": "`a ~> b` runs a, then b",
    "JOIN": "`a & b` runs both at the same time and waits for both",
    "RACE": "`a | b` runs both at the same time; the first to finish decides, the other is cancelled",
    "IF_THEN": "`condition ?> then !> otherwise` runs one of two branches",
    "IF_ELSE": "`condition ?> then !> otherwise` runs one of two branches",
    "UNDO": "`step <~ undo` keeps a step that takes it back, should a later step fail for good",
    "LOOP": "`@> step` repeats the one step after it until `df.break()`",
    "CONCAT": "`'a' || 'b'` joins texts",
}
_BINDING: Final = "\n\nAll infix operators bind equally and to the left; `@>` binds tighter."


def hover(analysis: Analysis, offset: int) -> tuple[str, Span] | None:
    """The text for the place and what it is about."""
    thing = places.thing_at(analysis, offset)
    text = _text(analysis, thing) if thing else None
    return (text, thing.span) if thing and text else None


def _text(analysis: Analysis, thing: places.Thing) -> str | None:
    match thing:
        case places.Used(reference=reference, bound=bound, certain=certain):
            return bound_text(reference.name, bound, analysis.source, certain=certain)
        case places.Binding(node=node):
            return bound_text(node.name or "", (node,), analysis.source, certain=True)
        case places.Word(lexeme=lexeme):
            return _word(lexeme)
        case places.Step(node=node):
            return step_text(node)


def _word(lexeme: Lexeme) -> str | None:
    if lexeme.kind in OPERATORS:
        return OPERATORS[lexeme.kind] + _BINDING
    builder = BUILDERS.get(lexeme.value) if lexeme.kind == "NAME" else None
    return f"```sql\n{builder.signature}\n```\n{builder.summary}" if builder else None
