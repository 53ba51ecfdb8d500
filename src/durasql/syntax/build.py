"""Parse tree to terms: one method per rule of the grammar, named as the rule. It never judges.

In: lexemes. Out: the terms of each piece of the text. The parser is made once; Lark calls the methods of
`_Builder` while it parses, so that no parse tree is kept and nothing recurses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, Final

from lark import Lark, Token
from lark.common import LexerConf
from lark.exceptions import UnexpectedToken
from lark.lexer import Lexer, PatternStr

from durasql.source import Span
from durasql.syntax import terms
from durasql.syntax.scan import Lexeme, Vocabulary

GRAMMAR: Final = "durasql.lark"


class ParseFailure(Exception):
    """The first lexeme that fits nowhere (None: the end of the text) and the terminals that would have."""

    def __init__(self, lexeme: Lexeme | None, expected: frozenset[str]) -> None:
        super().__init__(str(lexeme))
        self.lexeme = lexeme
        self.expected = expected


class _Lexemes(Lexer):
    """Hands Lark the lexemes that the scanner cut."""

    def __init__(self, lexer_conf: LexerConf) -> None:
        pass

    def lex(self, data: Any) -> Iterator[Token]:  # type: ignore[override]
        return (Token(lexeme.kind, lexeme) for lexeme in data)


@cache
def parser(*, strict: bool = False) -> Lark:
    """The LALR parser; `strict` makes Lark refuse an ambiguous grammar (a test asks for it)."""
    return Lark(
        files("durasql_grammar").joinpath(GRAMMAR).read_text("utf-8"),
        parser="lalr",
        lexer=_Lexemes,
        start=["workflow", "piece"],
        transformer=_Builder(),
        strict=strict,
        maybe_placeholders=False,
    )


@cache
def vocabulary() -> Vocabulary:
    """The fixed terminals of the grammar: words are those that ignore case."""
    fixed = [(term.pattern, term.name) for term in parser().terminals if isinstance(term.pattern, PatternStr)]
    return Vocabulary(
        symbols={pattern.value: name for pattern, name in fixed if not pattern.flags},
        words={pattern.value.lower(): name for pattern, name in fixed if pattern.flags},
    )


def build_pieces(lexemes: list[Lexeme]) -> list[terms.Piece]:
    """All pieces of a text. Raises `ParseFailure`."""
    pieces: list[terms.Piece] = _run(lexemes, "workflow")
    return pieces


def build_piece(lexemes: list[Lexeme]) -> terms.Piece:
    """One piece: an expression or a statement. Raises `ParseFailure`."""
    piece: terms.Piece = _run(lexemes, "piece")
    return piece


def _run(lexemes: list[Lexeme], start: str) -> Any:
    try:
        return parser().parse(lexemes, start=start)
    except UnexpectedToken as error:
        lexeme = error.token.value if isinstance(error.token.value, Lexeme) else None
        accepts = error.accepts or set()
        raise ParseFailure(None if error.token.type == "$END" else lexeme, frozenset(accepts)) from None


@dataclass(frozen=True, slots=True)
class _Name:
    """A name of several words and where it stands."""

    words: tuple[str, ...]
    span: Span


def _span(item: Any) -> Span:
    """The characters of a token or a term, with its parentheses."""
    if isinstance(item, Token):
        found: Span = item.value.span
        return found
    outer: Span = item.outer if hasattr(item, "outer") else item.span
    return outer


class _Builder:
    """The callbacks of the grammar: children in, term out."""

    def workflow(self, items: list[Any]) -> list[terms.Piece]:
        return [item for item in items if not isinstance(item, Token)]

    def statement(self, items: list[Any]) -> terms.Select:
        calls = [item for item in items if not isinstance(item, Token)]
        return terms.Select(_span(items[0]).cover(calls[-1].span), tuple(calls))

    def target(self, items: list[Any]) -> terms.Call:
        call: terms.Call = items[0]
        return call

    def _infix(self, items: list[Any]) -> terms.Infix:
        left, operator, right = items
        return terms.Infix(_span(left).cover(_span(right)), operator.type, _span(operator), left, right)

    named = then = join = race = if_then = if_else = undo = concat = _infix

    def loop(self, items: list[Any]) -> terms.Prefix:
        operator, operand = items
        return terms.Prefix(_span(operator).cover(_span(operand)), _span(operator), operand)

    def negative(self, items: list[Any]) -> terms.Negative:
        return terms.Negative(_span(items[0]).cover(_span(items[1])), items[1])

    def string(self, items: list[Token]) -> terms.String:
        return terms.String(_span(items[0]), items[0].value)

    def typed(self, items: list[Token]) -> terms.String:
        name = self.function(items[:-1])
        return terms.String(name.span.cover(_span(items[-1])), items[-1].value, ".".join(name.words))

    def number(self, items: list[Token]) -> terms.Number:
        return terms.Number(_span(items[0]), items[0].value.value)

    def constant(self, items: list[Token]) -> terms.Constant:
        value = {"NULL": None, "TRUE": True, "FALSE": False}[items[0].type]
        return terms.Constant(_span(items[0]), value)

    def cast(self, items: list[Any]) -> terms.Cast:
        operand, _, name = items
        return terms.Cast(_span(operand).cover(name.span), operand, ".".join(name.words), name.span)

    def cast_call(self, items: list[Any]) -> terms.Cast:
        operand, name = items[2], items[4]
        return terms.Cast(_span(items[0]).cover(_span(items[5])), operand, ".".join(name.words), name.span)

    def group(self, items: list[Any]) -> Any:
        return replace(items[1], group=_span(items[0]).cover(_span(items[2])))

    def call(self, items: list[Any]) -> terms.Call:
        name = items[0]
        arguments = tuple(item for item in items if isinstance(item, terms.Argument))
        return terms.Call(name.span.cover(_span(items[-1])), name.words, name.span, arguments)

    def function(self, items: list[Token]) -> _Name:
        words = tuple(item.value.value for item in items if item.type == "NAME")
        return _Name(words, _span(items[0]).cover(_span(items[-1])))

    type = function

    def argument(self, items: list[Any]) -> terms.Argument:
        if len(items) == 1:
            return terms.Argument(items[0], None, _span(items[0]))
        name, _, value = items
        return terms.Argument(value, name.value.value, _span(name).cover(_span(value)), _span(name))
