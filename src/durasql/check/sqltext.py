"""Where `$names` and `{vars}` stand in a text: in SQL code, inside a literal, or where nothing is inserted.

In: the text of a step. Out: `Reference`s and `Variable`s with offsets. Comments, quoted identifiers and
dollar tags take no values; the bodies of `DO $$…$$` and of routines are code again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from durasql.source import Span
from durasql.sqltext import Kind, Region, regions
from durasql.syntax import ast

_REFERENCE: Final = re.compile(
    r"\$(?P<name>[A-Za-z_][A-Za-z0-9_]*|[0-9]+)(?:\.(?:(?P<star>\*)|(?P<column>[A-Za-z_][A-Za-z0-9_]*)))?(?P<null>\?)?",
    re.ASCII,
)
_VARIABLE: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)
_BODY_OPENS: Final = re.compile(
    r"\s*(?:do|create\s+(?:or\s+replace\s+)?(?:function|procedure))\b", re.IGNORECASE
)


class Where(StrEnum):
    """How a value is inserted at some place."""

    CODE = "code"
    BODY = "body"
    """Code inside the body of DO, CREATE FUNCTION or CREATE PROCEDURE."""
    LITERAL = "literal"
    DEAD = "dead"
    """Comments, quoted identifiers and dollar tags: nothing is inserted there."""


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


def stretches(text: str) -> Iterator[tuple[int, int, Where]]:
    """The text cut by how values are inserted, in order and without gaps."""
    at = 0
    opening = ""
    for region in regions(text):
        yield at, region.start, Where.CODE
        code = text[at : region.start]
        opening = code[code.rindex(";") + 1 :] if ";" in code else opening + code[:200]
        yield region.start, region.inner, Where.DEAD
        yield region.inner, region.close, _inside(region, opening)
        yield region.close, region.end, Where.DEAD
        at = region.end
    yield at, len(text), Where.CODE


def _inside(region: Region, opening: str) -> Where:
    if region.kind in (Kind.COMMENT, Kind.NAME):
        return Where.DEAD
    return Where.BODY if _BODY_OPENS.match(opening) else Where.LITERAL


def references(text: str, *, sql: bool = True) -> list[Reference]:
    """Every reference of a text; without `sql` the text is raw and all of it takes values."""
    if "$" not in text:
        return []
    parts = list(stretches(text)) if sql else [(0, len(text), Where.CODE)]
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
