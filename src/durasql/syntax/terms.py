"""The concrete syntax tree: what was written, before anything is judged.

In: nothing. Out: the types that `build` makes and `evaluate`, `unparse` and `fmt` read. A term knows where
it stands and whether it stands in parentheses; what it means (which node, which error) is decided by
`evaluate`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from durasql.source import Span
from durasql.syntax.scan import Lexeme

SYMBOLS: Final = {
    "THEN": "~>",
    "JOIN": "&",
    "RACE": "|",
    "AS_NAME": "|=>",
    "IF_THEN": "?>",
    "IF_ELSE": "!>",
    "UNDO": "<~",
}
"""How the operators of `Infix` that build a workflow are written."""


@dataclass(frozen=True, slots=True)
class _Term:
    span: Span
    group: Span | None = field(default=None, kw_only=True)
    """The outermost parentheses around the term."""

    @property
    def outer(self) -> Span:
        """The span with the parentheses."""
        return self.group or self.span

    def children(self) -> Iterator[Term]:
        """The terms inside, in the order of the text."""
        return iter(())


@dataclass(frozen=True, slots=True)
class String(_Term):
    """A string literal; `type_name` for the form `jsonb '…'`."""

    lexeme: Lexeme
    type_name: str | None = None


@dataclass(frozen=True, slots=True)
class Number(_Term):
    """`12`, `1.5`"""

    digits: str


@dataclass(frozen=True, slots=True)
class Constant(_Term):
    """NULL, TRUE or FALSE."""

    value: bool | None


@dataclass(frozen=True, slots=True)
class Negative(_Term):
    """`-operand`"""

    operand: Term

    def children(self) -> Iterator[Term]:
        yield self.operand


@dataclass(frozen=True, slots=True)
class Cast(_Term):
    """`operand::type` or `CAST(operand AS type)`"""

    operand: Term
    type_name: str
    type_span: Span

    def children(self) -> Iterator[Term]:
        yield self.operand


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a call; `name` in the notation `name => value`."""

    value: Term
    name: str | None
    span: Span
    name_span: Span | None = None


@dataclass(frozen=True, slots=True)
class Call(_Term):
    """`schema.function(arguments)`; `name` is folded as PostgreSQL folds it."""

    name: tuple[str, ...]
    name_span: Span
    arguments: tuple[Argument, ...]

    def children(self) -> Iterator[Term]:
        return (argument.value for argument in self.arguments)


@dataclass(frozen=True, slots=True)
class Infix(_Term):
    """`left operator right`; `operator` is the terminal's name in the grammar."""

    operator: str
    operator_span: Span
    left: Term
    right: Term

    def children(self) -> Iterator[Term]:
        yield self.left
        yield self.right


@dataclass(frozen=True, slots=True)
class Prefix(_Term):
    """`@> operand`"""

    operator_span: Span
    operand: Term

    def children(self) -> Iterator[Term]:
        yield self.operand


Term: TypeAlias = String | Number | Constant | Negative | Cast | Call | Infix | Prefix


@dataclass(frozen=True, slots=True)
class Select:
    """`SELECT call, call`"""

    span: Span
    calls: tuple[Call, ...]


Piece: TypeAlias = Term | Select
"""What stands between semicolons."""


def bottom_up(root: Term) -> list[Term]:
    """Every term below and including `root`, children before parents, without recursion."""
    order: list[Term] = []
    stack: list[Term] = [root]
    while stack:
        term = stack.pop()
        order.append(term)
        stack.extend(term.children())
    order.reverse()
    return order
