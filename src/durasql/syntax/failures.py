"""Which failures a retry or a catch is about: `40001, deadlock_detected, http:5xx, timeout`.

In: a text. Out: words in normal form: SQLSTATEs, classes of them (two characters), `timeout`, `connection`,
`http`, `http:5xx`, `http:429`, `any`. df._failures in SQL reads the same and refuses with the same words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from durasql.limits import MAX_FAILURE_WORDS
from durasql.syntax.conditions import CODES
from durasql.syntax.values import ConversionError

WORDS: Final = ("timeout", "connection", "http", "any", "http:4xx", "http:5xx")
_STATUS: Final = re.compile(r"http:[1-5][0-9][0-9]", re.ASCII)
_STATE: Final = re.compile(r"[0-9A-Za-z]{5}|[0-9A-Za-z]{2}", re.ASCII)
_LETTERS: Final = re.compile(r"[a-z]+", re.ASCII)
_KINDS: Final = "a SQLSTATE, a class of them, PostgreSQL's name of one, timeout, connection, http:5xx or any"


def failures(text: str) -> tuple[str, ...]:
    """The words of a list, each once. Raises `ConversionError` for one that is none."""
    words = text.split(",")
    if len(words) > MAX_FAILURE_WORDS:
        raise ConversionError(
            f"names {len(words)} failures; at most {MAX_FAILURE_WORDS} are possible", "E221"
        )
    return tuple(dict.fromkeys(found for word in words for found in _normal(word.strip(" \t\n\r"))))


def _normal(word: str) -> tuple[str, ...]:
    """One word in normal form; a few names stand for two codes."""
    if not word:
        raise ConversionError("has a place without a name", "E221", f"write {_KINDS}")
    folded = _folded(word)
    if folded in CODES:
        return CODES[folded]
    if folded in WORDS or _STATUS.fullmatch(folded):
        return (folded,)
    # Small letters alone are a mistyped word more likely than a code, and PostgreSQL has no such code.
    if _STATE.fullmatch(word) and not _LETTERS.fullmatch(word):
        return (word.upper(),)
    raise ConversionError(f"has the unknown name '{word[:60]}'", "E221", _hint(folded))


def _folded(word: str) -> str:
    """Lower case of ASCII letters only, as in every locale of a server."""
    return "".join(char.lower() if char.isascii() else char for char in word)


def _hint(word: str) -> str:
    if word.startswith("http:"):
        return "an HTTP status is http:100 to http:599, http:4xx or http:5xx"
    near = nearest(word)
    return f"did you mean '{near}'?" if near else f"write {_KINDS}"


def nearest(word: str) -> str | None:
    """The most similar name, by the pairs of letters they share; plain enough to be written in SQL, too."""
    scored = [(-_alike(word[:60], name), name) for name in (*CODES, *WORDS)]
    score, name = min(scored)
    return name if score <= -0.5 else None


def _alike(one: str, other: str) -> float:
    """Twice the pairs in common, over all pairs of both."""
    ours, theirs = set(_pairs(one)), set(_pairs(other))
    return 2 * len(ours & theirs) / (len(ours) + len(theirs)) if ours else 0.0


def _pairs(word: str) -> Iterator[str]:
    return (word[at : at + 2] for at in range(len(word) - 1))
