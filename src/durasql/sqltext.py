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


_START = r"A-Za-z_\x80-\U0010ffff"
# Skips what opens nothing, whole identifiers at once: `typE'…'` opens no E'', `foo$a$` no dollar quote.
_OPENER = re.compile(
    rf"(?:(?!e'|u&')[{_START}][{_START}0-9$]*+|[^'\"$/\-{_START}]++|-(?!-)|/(?!\*))*+"
    r"(e'|u&'|['\"$]|--|/\*)",
    re.IGNORECASE,
)
_TAG = re.compile(rf"\$(?:[{_START}][{_START}0-9]*)?\$")
_ANY_TAG = re.compile(rf"(?=(\$(?:[{_START}][{_START}0-9]*)?\$))")
_PLAIN_BODY = re.compile(r"[^']*+(?:''[^']*+)*+")
_ESCAPED_BODY = re.compile(r"(?:[^'\\]++|\\.|'')*+", re.DOTALL)
_NAME_BODY = re.compile(r'[^"]*+(?:""[^"]*+)*+')
_LINE = re.compile(r"[^\n\r]*+")
_COMMENT_EDGE = re.compile(r"/\*|\*/")
# Two literals with a line break between them are one, and the second is read as the first was.
_CONTINUATION = re.compile(r"(?:[ \t\f\v]|--[^\n\r]*+)*+[\n\r](?:[ \t\n\r\f\v]|--[^\n\r]*+[\n\r])*+'")
_UESCAPE = re.compile(r"\s*UESCAPE\s*'(.)'", re.IGNORECASE)


def regions(text: str) -> Iterator[Region]:
    """The literals, quoted names and comments of a text, in order. Takes linear time, whatever the text."""
    at = 0
    last_tags: dict[str, int] | None = None
    while opener := _OPENER.match(text, at):
        mark, at = opener[1], opener.start(1)
        if mark != "$":
            region: Region | None = _OPENED[mark.lower()](text, at + max(mark.find("'"), 0))
        else:
            last_tags = _last_tags(text, at) if last_tags is None else last_tags
            region = _dollar(text, at, last_tags)
        if region:
            yield region
        at = region.end if region else at + 1


def is_name_character(character: str) -> bool:
    """Whether an unquoted identifier can go on with it."""
    return character.isalnum() or character in "_$" or character >= "\x80"


def _literal(text: str, at: int) -> Region:
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


def _name(text: str, at: int) -> Region:
    close = _match_end(_NAME_BODY, text, at + 1)
    return Region(Kind.NAME, at, at + 1, close, min(close + 1, len(text)))


def _last_tags(text: str, at: int) -> dict[str, int]:
    """Where each dollar tag stands last: a tag that does not come again opens nothing."""
    return {found[1]: found.start() for found in _ANY_TAG.finditer(text, at)}


def _dollar(text: str, at: int, last_tags: dict[str, int]) -> Region | None:
    tag = _TAG.match(text, at)
    if tag is None or last_tags[tag.group()] < tag.end():
        return None
    close = text.find(tag.group(), tag.end())
    return Region(Kind.DOLLAR, at, tag.end(), close, close + len(tag.group()))


def _line_comment(text: str, at: int) -> Region:
    end = _match_end(_LINE, text, at)
    return Region(Kind.COMMENT, at, at + 2, end, end)


def _block_comment(text: str, at: int) -> Region:
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
    "'": _literal,
    "e'": _escaped,
    "u&'": _unicode,
    '"': _name,
    "--": _line_comment,
    "/*": _block_comment,
}
