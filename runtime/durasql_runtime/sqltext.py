"""The lexical structure of PostgreSQL's SQL: which characters of a statement are code, and which are not.

Comes in: any text, valid SQL or not. Goes out: its literals, quoted names and comments as regions; all
between them is code. This is PostgreSQL's own lexer (`scan.l`) reduced to what has a beginning and an end,
with `standard_conforming_strings` on, as worker sessions have it. A region that is never closed reaches to
the end of the text, except a dollar quote: without its closing tag it is code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """What a region is."""

    LITERAL = "'…'"
    ESCAPED = "E'…'"
    UNICODE = "U&'…'"
    DOLLAR = "$tag$…$tag$"
    NAME = '"…"'
    COMMENT = "-- or /* */"


class Region(NamedTuple):
    """Characters `start` to `end` of a text, delimiters included; `inner` to `close` without them.

    `escape` is the escape character of an E'' or U&'' literal, else ''.
    """

    kind: Kind
    start: int
    inner: int
    close: int
    end: int
    escape: str = ""


_OPENER = re.compile(r"['\"$]|--|/\*")
_TAG = re.compile(r"\$(?:[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*)?\$")
_PLAIN_BODY = re.compile(r"[^']*+(?:''[^']*+)*+")
_ESCAPED_BODY = re.compile(r"(?:[^'\\]++|\\.|'')*+", re.DOTALL)
_NAME_BODY = re.compile(r'[^"]*+(?:""[^"]*+)*+')
_NO_LETTERS = re.compile(r"[0-9$]*+")
_LINE = re.compile(r"[^\n\r]*+")
_COMMENT_EDGE = re.compile(r"/\*|\*/")
# Two literals with a line break between them are one, and the second is read as the first was.
_CONTINUATION = re.compile(r"(?:[ \t\f\v]|--[^\n\r]*+)*+[\n\r](?:[ \t\n\r\f\v]|--[^\n\r]*+[\n\r])*+'")
_UESCAPE = re.compile(r"\s*UESCAPE\s*'(.)'", re.IGNORECASE)


def regions(text: str, start: int = 0) -> Iterator[Region]:
    """The literals, quoted names and comments of a text, in order."""
    code = start
    while opener := _OPENER.search(text, start):
        region = _OPENED[opener.group()](text, opener.start(), code)
        if region is None:
            start = opener.end()
        else:
            yield region
            start = code = region.end


def is_name_character(character: str) -> bool:
    """Whether an unquoted identifier can go on with it."""
    return character.isalnum() or character in "_$" or character >= "\x80"


def _ends_identifier(text: str, code: int, end: int) -> bool:
    """Whether what stands right before `end` is an unquoted identifier (not a number or `$1`).

    `code` is where the code around it begins.
    """
    start = end
    while start > code and is_name_character(text[start - 1]):
        start -= 1
    return _match_end(_NO_LETTERS, text, start) < end


def _quoted(text: str, at: int, code: int) -> Region:
    before = text[at - 1] if at > code else ""
    if before in ("e", "E") and not _ends_identifier(text, code, at - 1):
        return _escaped(text, at)
    if (
        before == "&"
        and at > code + 1
        and text[at - 2] in ("u", "U")
        and not _ends_identifier(text, code, at - 2)
    ):
        return _unicode(text, at)
    close = _match_end(_PLAIN_BODY, text, at + 1)
    return Region(Kind.LITERAL, at, at + 1, close, min(close + 1, len(text)))


def _escaped(text: str, at: int) -> Region:
    close = _match_end(_ESCAPED_BODY, text, at + 1)
    while continued := _CONTINUATION.match(text, close + 1):
        close = _match_end(_ESCAPED_BODY, text, continued.end())
    return Region(Kind.ESCAPED, at, at + 1, close, min(close + 1, len(text)), "\\")


def _unicode(text: str, at: int) -> Region:
    close = _match_end(_PLAIN_BODY, text, at + 1)
    while continued := _CONTINUATION.match(text, close + 1):
        close = _match_end(_PLAIN_BODY, text, continued.end())
    named = _UESCAPE.match(text, close + 1)
    return Region(Kind.UNICODE, at, at + 1, close, min(close + 1, len(text)), named[1] if named else "\\")


def _name(text: str, at: int, code: int) -> Region:
    close = _match_end(_NAME_BODY, text, at + 1)
    return Region(Kind.NAME, at, at + 1, close, min(close + 1, len(text)))


def _dollar(text: str, at: int, code: int) -> Region | None:
    tag = _TAG.match(text, at)
    if tag is None or _ends_identifier(text, code, at):
        return None
    close = text.find(tag.group(), tag.end())
    if close < 0:
        return None
    return Region(Kind.DOLLAR, at, tag.end(), close, close + len(tag.group()))


def _line_comment(text: str, at: int, code: int) -> Region:
    end = _match_end(_LINE, text, at)
    return Region(Kind.COMMENT, at, at + 2, end, end)


def _block_comment(text: str, at: int, code: int) -> Region:
    depth = 0
    for edge in _COMMENT_EDGE.finditer(text, at):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return Region(Kind.COMMENT, at, at + 2, edge.start(), edge.end())
    return Region(Kind.COMMENT, at, at + 2, len(text), len(text))


def _match_end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


_OPENED = {
    "'": _quoted,
    '"': _name,
    "$": _dollar,
    "--": _line_comment,
    "/*": _block_comment,
}
