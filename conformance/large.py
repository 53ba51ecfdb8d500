"""Texts that no file should hold: they show the limits, characters that are no text, and the deepest and
widest workflows that are accepted.

In: nothing. Out: `LARGE`, cases of the construct `limits` whose text is made here.
"""

from __future__ import annotations

from typing import Final

from conformance.cases import Case
from durasql.limits import MAX_DEPTH, MAX_NODES, MAX_SOURCE_BYTES, MAX_TOKENS


def chain(steps: int) -> str:
    """A sequence of so many steps, which nests to the left."""
    return " ~> ".join(["'SELECT 1'"] * steps)


def balanced(leaves: int) -> str:
    """A tree of `leaves` leaves, which has 2 * leaves - 1 nodes and little depth."""
    texts = ["'SELECT 1'"] * leaves
    while len(texts) > 1:
        texts = [f"({' ~> '.join(texts[at : at + 2])})" for at in range(0, len(texts), 2)]
    return texts[0]


_TEXTS: Final = {
    "depth_reached": chain(MAX_DEPTH + 1),
    "depth_exceeded": chain(MAX_DEPTH + 2),
    "depth_of_loops": "@> " * (MAX_DEPTH + 1) + "'SELECT 1'",
    "nodes_reached": balanced(MAX_NODES // 2),
    "nodes_exceeded": balanced(MAX_NODES // 2 + 1),
    "text_too_large": "'" + "x" * (MAX_SOURCE_BYTES + 1) + "'",
    "too_many_words": "(" * (MAX_TOKENS + 1) + "'SELECT 1'",
    "nul_character": "'SELECT 1\0'",
    "too_many_arguments": "df.sql(jsonb_build_array(" + "1, " * 100 + "1)::text)",
}
LARGE: Final = tuple(Case("limits", name, text) for name, text in _TEXTS.items())
