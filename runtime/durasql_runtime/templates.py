"""Templates: a text cut into what is copied and what refers, once per text.

Comes in: text after the brace pass. Goes out: a `Template` for `references.render`. Which names exist plays
no part, so a template is compiled once and remembered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from durasql.sqltext import Kind, Region, is_name_character, regions
from durasql_runtime.references import (
    REFERENCE,
    DollarQuoted,
    Piece,
    QuotedCode,
    Reference,
    Template,
    Writer,
    as_json,
    as_sql,
    as_sql_glued,
    as_sql_in_body,
    as_text,
    in_escaped,
    in_json_string,
    in_literal,
)


def _references(text: str, start: int, end: int, write: Callable[[int], Writer]) -> Iterator[Piece]:
    """The pieces of characters `start` to `end`; `write` tells how a value at an offset is written."""
    for match in REFERENCE.finditer(text, start, end):
        at = match.start()
        if start < at:
            yield text[start:at]
        null_safe = match["null"] is not None
        yield Reference(
            match[0], match["name"], match["field"], match["rows"] is not None, null_safe, write(at)
        )
        start = match.end()
    if start < end:
        yield text[start:end]


_BLOCK = re.compile(r"\s*do\b", re.IGNORECASE)
_ROUTINE = re.compile(r"\s*create\s+(?:or\s+replace\s+)?(?:function|procedure)\b", re.IGNORECASE)
_AS_FOLLOWS = re.compile(r"\bas\s*$", re.IGNORECASE)
_EXECUTE_FOLLOWS = re.compile(r"\bexecute\s*$", re.IGNORECASE)
_REMEMBERED_CODE = 80
_DEEPEST_BODY = 20
"""Bodies within bodies that are still read as code. Guards the recursion; nobody nests EXECUTE that deep."""


def _compile_raw(text: str) -> Template:
    return tuple(_references(text, 0, len(text), lambda _: as_text))


_JSON_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)


def json_template(text: str) -> Template:
    """A JSON document with references: inside its strings they are text, elsewhere JSON values."""
    pieces: list[Piece] = []
    at = 0
    for string in _JSON_STRING.finditer(text):
        pieces += _references(text, at, string.start(), lambda _: as_json)
        pieces += _references(text, string.start(), string.end(), lambda _: in_json_string)
        at = string.end()
    pieces += _references(text, at, len(text), lambda _: as_json)
    return tuple(pieces)


def _compile_sql(text: str) -> Template:
    return tuple(_SqlCompiler(text).pieces())


class _SqlCompiler:
    """Cuts one text into pieces: code, literals with references, and what is left alone.

    `opening` and `latest` are how the current statement's code began and what of it came last: they tell
    whether a literal's content is code again. That is so for the bodies of DO, CREATE FUNCTION and CREATE
    PROCEDURE, and within them for what EXECUTE is given.
    """

    def __init__(self, text: str, *, depth: int = 0, in_body: bool = False) -> None:
        self.text = text
        self.depth = depth
        self.in_body = in_body
        self.opening = ""
        self.latest = ""
        self.literal_end = -1

    def pieces(self) -> Iterator[Piece]:
        at = 0
        for region in regions(self.text):
            yield from self._code(at, region.start)
            yield from self._region(region)
            at = region.end
        yield from self._code(at, len(self.text))

    def _code(self, start: int, end: int) -> Iterator[Piece]:
        code = self.text[start:end]
        self._remember(code)
        if not code or code.isspace():
            yield code
            return
        yield from _references(self.text, start, end, self._writer)
        self.literal_end = -1

    def _remember(self, code: str) -> None:
        if ";" in code:
            self.opening, code = "", code[code.rindex(";") + 1 :]
        if len(self.opening) < _REMEMBERED_CODE:
            self.opening += code[:_REMEMBERED_CODE]
        self.latest = code[-_REMEMBERED_CODE:]

    def _writer(self, at: int) -> Writer:
        before = self.text[at - 1] if at else " "
        if is_name_character(before) or before == "&":
            return as_sql_glued
        if self.literal_end >= 0 and not self.text[self.literal_end : at].strip():
            return as_sql_glued
        return as_sql_in_body if self.in_body else as_sql

    def _region(self, region: Region) -> Iterator[Piece]:
        text = self.text
        if region.kind is Kind.COMMENT:
            if self.literal_end >= 0:
                self.literal_end = region.end
            yield text[region.start : region.end]
            return
        if region.kind is Kind.NAME or text.find("$", region.inner, region.close) < 0:
            yield text[region.start : region.end]
        else:
            yield from _LITERALS[region.kind](self, region)
        self._remember("''")
        self.literal_end = region.end

    def _holds_code(self) -> bool:
        """Whether the literal that follows is a body."""
        if self.depth >= _DEEPEST_BODY:
            return False
        if self.in_body and _EXECUTE_FOLLOWS.search(self.latest):
            return True
        if _BLOCK.match(self.opening):
            return True
        return bool(_ROUTINE.match(self.opening) and _AS_FOLLOWS.search(self.latest))

    def _plain(self, region: Region) -> Iterator[Piece]:
        if self._holds_code() and region.close < region.end:
            code = self.text[region.inner : region.close].replace("''", "'")
            yield QuotedCode(tuple(_SqlCompiler(code, depth=self.depth + 1, in_body=self.in_body).pieces()))
            return
        yield from _references(self.text, region.start, region.end, lambda _: in_literal)

    def _escaped(self, region: Region) -> Iterator[Piece]:
        """An escaped `$` is the author's own; every other begins a reference as usual."""
        write = in_escaped(region.escape)
        at = region.start
        escaped = re.compile(re.escape(region.escape) + ".", re.DOTALL)
        for pair in escaped.finditer(self.text, region.inner, region.close):
            yield from _references(self.text, at, pair.start(), lambda _: write)
            yield pair.group()
            at = pair.end()
        yield from _references(self.text, at, region.end, lambda _: write)

    def _dollar(self, region: Region) -> Iterator[Piece]:
        body = self.text[region.inner : region.close]
        code = self._holds_code()
        pieces = (
            tuple(_SqlCompiler(body, depth=self.depth + 1, in_body=True).pieces())
            if code
            else _compile_raw(body)
        )
        yield DollarQuoted(self.text[region.start : region.inner], pieces)


_LITERALS = {
    Kind.LITERAL: _SqlCompiler._plain,
    Kind.ESCAPED: _SqlCompiler._escaped,
    Kind.UNICODE: _SqlCompiler._escaped,
    Kind.DOLLAR: _SqlCompiler._dollar,
}


_CACHED_LENGTH = 65_536
_sql_cached = lru_cache(maxsize=1024)(_compile_sql)
_raw_cached = lru_cache(maxsize=1024)(_compile_raw)


def sql_template(text: str) -> Template:
    """A statement; long ones are not remembered, because keeping many of them would cost memory."""
    return _sql_cached(text) if len(text) <= _CACHED_LENGTH else _compile_sql(text)


def raw_template(text: str) -> Template:
    """A text in which values stand unquoted."""
    return _raw_cached(text) if len(text) <= _CACHED_LENGTH else _compile_raw(text)
