"""Precedence traps: places where PostgreSQL groups otherwise than most people read.

PostgreSQL gives all operators of the language one level and groups them to the left. The finding shows what
is meant now and what to write for the other reading; parentheses, either way, silence it. This pass reads
the terms, because an AST no longer knows where parentheses stood.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from durasql.check.view import View
from durasql.errors import Diagnostic
from durasql.source import Span
from durasql.syntax import terms

_TRAPS: Final = {
    *(("THEN", "JOIN"), ("THEN", "RACE"), ("JOIN", "RACE"), ("RACE", "JOIN")),
    *(("JOIN", "AS_NAME"), ("RACE", "AS_NAME")),
    *(("IF_ELSE", "THEN"), ("IF_ELSE", "JOIN"), ("IF_ELSE", "RACE")),
    *(("JOIN", "IF_THEN"), ("RACE", "IF_THEN")),
    *(("THEN", "UNDO"), ("JOIN", "UNDO"), ("RACE", "UNDO"), ("IF_ELSE", "UNDO")),
}
"""(operator of the left operand, operator after it) where the reading to the left surprises."""


def check_traps(view: View) -> Iterator[Diagnostic]:
    """W208, and W203 for a name that is overwritten on the spot."""
    for piece in view.pieces:
        roots: list[terms.Term] = list(piece.calls) if isinstance(piece, terms.Select) else [piece]
        for root in roots:
            for term in terms.bottom_up(root):
                if isinstance(term, terms.Infix):
                    yield from _infix(view, term)


def _infix(view: View, term: terms.Infix) -> Iterator[Diagnostic]:
    left = term.left
    if left.group is not None:
        return
    if (
        isinstance(left, terms.Prefix)
        and term.operator in ("THEN", "AS_NAME", "JOIN", "UNDO")
        and left.operand.group is None
    ):
        yield _loop_trap(view, term, left)
    elif isinstance(left, terms.Infix) and left.operator == term.operator == "AS_NAME":
        message = "the step is named twice; only the last name counts"
        yield view.finding(
            "W203", message, left.right.span, "remove one, or put the inner step in parentheses of its own"
        )
    elif isinstance(left, terms.Infix) and (left.operator, term.operator) in _TRAPS:
        yield _grouping_trap(view, term, left)


def _grouping_trap(view: View, term: terms.Infix, left: terms.Infix) -> Diagnostic:
    inner, outer = terms.SYMBOLS[left.operator], terms.SYMBOLS[term.operator]
    now = f"({_text(view, left.span)}) {outer} {_text(view, term.right.outer)}"
    kept = Span(left.span.start, left.right.outer.start)
    right = f"{_text(view, left.right.outer)} {outer} {_text(view, term.right.outer)}"
    other = f"{_text(view, kept).strip()} ({right})"
    if "\n" in now + other or len(now) > 90:
        now, other = f"(… {inner} …) {outer} …", f"… {inner} (… {outer} …)"
    message = f"{outer} takes all that stands on its left: this means {now}"
    if term.operator == "AS_NAME":
        message = f"|=> names the whole {inner}, not its last step: this means {now}"
    return view.finding("W208", message, term.operator_span, f"write parentheses: {now} or {other}")


def _loop_trap(view: View, term: terms.Infix, left: terms.Prefix) -> Diagnostic:
    outer = terms.SYMBOLS[term.operator]
    body, rest = _text(view, left.operand.outer), _text(view, term.right.outer)
    now, other = f"(@> {body}) {outer} {rest}", f"@> ({body} {outer} {rest})"
    if "\n" in now or len(now) > 90:
        now, other = f"(@> …) {outer} …", f"@> (… {outer} …)"
    message = f"@> takes only the one step after it: this means {now}"
    return view.finding("W208", message, left.operator_span, f"write parentheses: {now} or {other}")


def _text(view: View, span: Span) -> str:
    return view.source.text[span.start : span.end]
