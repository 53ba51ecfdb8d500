"""Where `$names` and `{vars}` stand in a text: in SQL code, inside a literal, or where nothing is inserted.

In: the text of a step. Out: `Reference`s and `Variable`s with offsets. The regions are cut as PostgreSQL
cuts them, but tolerantly: a text that is not valid SQL still has regions. Comments, quoted identifiers and
dollar tags take no values; the body of `DO $$…$$` is code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from durasql.source import Span
from durasql.syntax import ast

_PIECE: Final = re.compile(
    r"""(?P<dead>--[^\n\r]*|/\*)
      | (?P<escaped>[eE]'(?:[^'\\]|''|\\.)*'?)
      | (?P<literal>'(?:[^']|'')*'?)
      | (?P<name>"(?:[^"]|"")*"?)
      | (?P<word>[A-Za-z_\x80-\U0010ffff][\w$]*)
      | (?P<dollar>\$(?:[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*)?\$)""",
    re.VERBOSE | re.DOTALL,
)
_REFERENCE: Final = re.compile(
    r"\$(?P<name>[A-Za-z_][A-Za-z0-9_]*|[0-9]+)(?:\.(?:(?P<star>\*)|(?P<column>[A-Za-z_][A-Za-z0-9_]*)))?(?P<null>\?)?",
    re.ASCII,
)
_VARIABLE: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)
_COMMENT_EDGE: Final = re.compile(r"/\*|\*/")


class Where(StrEnum):
    """How a value is inserted at some place."""

    CODE = "code"
    LITERAL = "literal"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Reference:
    """`$name`, `$name.column`, `$name.*`, each with an optional `?`; offsets count in the text."""

    name: str
    column: str | None
    star: bool
    optional: bool
    start: int
    end: int
    where: Where

    @property
    def text(self) -> str:
        """As it is written."""
        tail = ".*" if self.star else f".{self.column}" if self.column else ""
        return f"${self.name}{tail}{'?' if self.optional else ''}"


@dataclass(frozen=True, slots=True)
class Variable:
    """`{name}`"""

    name: str
    start: int
    end: int


def regions(text: str) -> Iterator[tuple[int, int, Where]]:
    """The text cut into stretches, in order and without gaps."""
    at = code = 0
    do_body = re.match(r"(?:\s|--[^\n]*\n)*do\b", text, re.IGNORECASE) is not None
    while found := _PIECE.search(text, at):
        at = found.end()
        kind = found.lastgroup
        if kind == "word":
            continue
        start, where = found.start(), Where.LITERAL
        if kind in ("dead", "name"):
            where = Where.DEAD
            at = _comment_end(text, start) if found.group() == "/*" else at
        elif kind == "dollar":
            close = text.find(found.group(), at)
            body, end = at, close if close >= 0 else len(text)
            at = end + len(found.group()) if close >= 0 else len(text)
            yield code, start, Where.CODE
            yield start, body, Where.DEAD
            if do_body:
                yield from ((body + a, body + b, part) for a, b, part in regions(text[body:end]))
            else:
                yield body, end, Where.LITERAL
            yield end, at, Where.DEAD
            code = at
            continue
        yield code, start, Where.CODE
        yield start, at, where
        code = at
    yield code, len(text), Where.CODE


def _comment_end(text: str, start: int) -> int:
    depth = 0
    for edge in _COMMENT_EDGE.finditer(text, start):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(text)


def references(text: str, *, sql: bool = True) -> list[Reference]:
    """Every reference of a text; without `sql` the text is raw and all of it takes values."""
    if "$" not in text:
        return []
    parts = list(regions(text)) if sql else [(0, len(text), Where.CODE)]
    found: list[Reference] = []
    for start, end, where in parts:
        for match in _REFERENCE.finditer(text, start, end):
            if (
                where is Where.CODE
                and match.start()
                and (text[match.start() - 1].isalnum() or text[match.start() - 1] in "_$")
            ):
                continue
            found.append(_reference(match, where))
    return found


def _reference(match: re.Match[str], where: Where) -> Reference:
    column, star = match["column"], match["star"] is not None
    optional = match["null"] is not None and not star
    end = match.end() - (1 if match["null"] and star else 0)
    return Reference(match["name"], column, star, optional, match.start(), end, where)


def variables(text: str) -> list[Variable]:
    """Every `{name}` of a text, wherever it stands: values are inserted everywhere."""
    return [Variable(found[1], found.start(), found.end()) for found in _VARIABLE.finditer(text)]


def substituted(node: ast.Node) -> list[tuple[str, str, bool]]:
    """The texts of a node into which values are inserted: parameter, text, and whether it is SQL."""
    match node:
        case ast.Sql(query=query):
            return [("query", query, True)]
        case ast.Break(value=str() as value):
            return [("value", value, False)]
        case ast.Http(url=url, body=body, headers=headers):
            return [("url", url, False), *([("body", body, False)] if body else []), *_headers(headers)]
        case ast.HttpMultipart(url=url, headers=headers):
            return [("url", url, False), *_headers(headers)]
    return []


def _headers(headers: ast.Json) -> list[tuple[str, str, bool]]:
    values = headers.values() if isinstance(headers, dict) else []
    return [("headers", value, False) for value in values if isinstance(value, str)]


def place(node: ast.Node, argument: str, start: int, end: int) -> Span | None:
    """Where part of an argument stands in the source; a header value has no map of its own."""
    map_ = node.text_map(argument)
    if map_ is None:
        return node.span
    return map_.body if argument == "headers" else map_.span_of(start, end)
