"""SQL texts parsed by PostgreSQL's own parser (libpg_query), with placeholders where values will be inserted.

In: the text of a SQL step. Out: `Parsed`: its statements, or the parser's complaint with the offset. A
placeholder is as long as what it stands for, so every offset is one in the text. When a text has `{vars}`,
which may hold any piece of SQL, nothing is certain and a complaint is dropped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any, Final

import postgast
from google.protobuf.message import DecodeError

from durasql.check.sqltext import Reference, Variable, Where, references, variables

_SCALARS: Final = ("$1", "''", "0 ")
"""What a value may stand for: an expression, a text constant, a number."""

_NESTING: Final = re.compile(r"'[^']*'|([A-Za-z_]+|[-+*/<>=~!@#%^&|?:])")
_MAX_NESTING: Final = 10_000
"""Words and operators of a text that is parsed. Each could be a level of the tree, and libpg_query writes the
tree with a recursion that overruns the stack from some 30,000 levels on."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """`statements` is None when PostgreSQL refuses the text: `error` at character `offset`."""

    statements: tuple[Any, ...] | None
    error: str | None = None
    offset: int = 0
    text: str = ""


@lru_cache(maxsize=4096)
def parsed_sql(text: str) -> Parsed | None:
    """The parse of a text.

    None when nothing is certain: it holds variables and no guess at their values parses, or it nests deeper
    than the parser's tree can be written or read.
    """
    if len(text) > _MAX_NESTING and sum(1 for found in _NESTING.finditer(text) if found[1]) > _MAX_NESTING:
        return None
    inserted = [item for item in references(text) if item.where is Where.CODE]
    spliced = variables(text)
    words = ("x", "0", "", "''") if spliced else ("",)
    first: Parsed | None = None
    for scalar, word in product(_SCALARS if inserted else _SCALARS[:1], words):
        try:
            found = _parse(_filled(text, inserted, spliced, scalar, word))
        except DecodeError:  # a sum of a hundred terms is enough
            return None
        if found.statements is not None:
            return found
        first = first or found
    return None if spliced else first


def _filled(text: str, inserted: list[Reference], spliced: list[Variable], scalar: str, word: str) -> str:
    """The text with a placeholder of the same length for everything that is inserted."""
    out = list(text)
    for item in inserted:
        width = item.end - item.start
        out[item.start : item.end] = "x" * width if item.star else f"{scalar:<{width}}"
    for variable in spliced:
        width = variable.end - variable.start
        out[variable.start : variable.end] = "x" * width if word == "x" else f"{word:<{width}}"
    return "".join(out)


def _parse(text: str) -> Parsed:
    try:
        tree = postgast.parse(text)
    except postgast.PgQueryError as error:
        offset = max(0, min(len(text), (error.cursorpos or 1) - 1))
        return Parsed(None, error.message, offset, text)
    return Parsed(tuple(item.stmt for item in tree.stmts), text=text)
