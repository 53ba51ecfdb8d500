"""The other front: what PostgreSQL makes of a text, through the operators and through df.start(text).

In: a text and a session of an ordinary role. Out: `Verdict`: the programs that the text starts,
or PostgreSQL's refusal. Everything is rolled back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import psycopg
from psycopg.pq import ExecStatus

from durasql.source import Source
from durasql.syntax.build import vocabulary
from durasql.syntax.scan import scan

Session: TypeAlias = psycopg.Connection[Any]

_TEXT_TYPES: Final = (25, 705)
"""text and unknown"""


@dataclass(frozen=True)
class Verdict:
    """`programs`: hash and canonical graph of every workflow; None when the text is refused."""

    programs: tuple[tuple[str, str], ...] | None
    error: str = ""


def through_operators(user: Session, text: str) -> Verdict:
    """What one gets who pastes the text into psql: a script, or an expression after SELECT."""
    if is_script(text):
        return _script(user, text)
    with _undone(user):
        value = _expression(user, text)
        return value if isinstance(value, Verdict) else _started(user, value)


def through_text(user: Session, text: str) -> Verdict:
    """What df.start makes of the text itself."""
    with _undone(user):
        return _started(user, text)


def is_script(text: str) -> bool:
    """Whether a text consists of statements rather than being an expression."""
    lexemes = [lexeme for lexeme in scan(Source(text), vocabulary()).lexemes if lexeme.kind != "SEMICOLON"]
    return bool(lexemes) and lexemes[0].kind == "SELECT"


def _expression(user: Session, text: str) -> str | Verdict:
    """The text that an expression evaluates to. In parentheses no stray word names the column."""
    if "\0" in text:
        return Verdict(None, "NUL")
    result = user.pgconn.exec_params(f"SELECT ({expression_of(text)}\n)".encode(), None)
    if result.status != ExecStatus.TUPLES_OK:
        return Verdict(None, result.error_message.decode(errors="replace"))
    value = result.get_value(0, 0) if result.ntuples == 1 and result.nfields == 1 else None
    if value is None or result.ftype(0) not in _TEXT_TYPES:
        return Verdict(None, "no text")
    return value.decode()


def expression_of(text: str) -> str:
    """The expression of a text, without empty statements before and after it."""
    found = scan(Source(text), vocabulary()).lexemes
    kept = [at for at, lexeme in enumerate(found) if lexeme.kind != "SEMICOLON"]
    if not kept or len(kept) == len(found):
        return text
    first, last = kept[0], kept[-1]
    start = found[first - 1].span.end if first else 0
    return text[start : found[last + 1].span.start if last + 1 < len(found) else len(text)]


def _started(user: Session, value: str) -> Verdict:
    if "\0" in value:
        return Verdict(None, "NUL")
    result = user.pgconn.exec_params(b"SELECT df.start($1)", [value.encode()])
    if result.status != ExecStatus.TUPLES_OK:
        return Verdict(None, result.error_message.decode(errors="replace"))
    started = result.get_value(0, 0)
    return Verdict(None, "NULL") if started is None else _programs(user, [started.decode()])


def _script(user: Session, text: str) -> Verdict:
    """Run a script as psql would. Every value that is the id of an instance is a workflow it started."""
    with _undone(user):
        try:
            cursor = user.execute(text.encode())
            values = [value for row in cursor.fetchall() for value in row] if cursor.description else []
            while cursor.nextset():
                values += [value for row in cursor.fetchall() for value in row] if cursor.description else []
        except (psycopg.Error, UnicodeEncodeError) as error:
            return Verdict(None, str(error))
        return _programs(user, [value for value in values if isinstance(value, str)])


def _programs(user: Session, ids: list[str]) -> Verdict:
    rows = user.execute(
        "SELECT p.hash, p.graph FROM unnest(%s::text[]) WITH ORDINALITY AS i (id, at) "
        "JOIN df.instances s USING (id) JOIN df.programs p ON p.hash = s.program ORDER BY i.at",
        (ids,),
    ).fetchall()
    return Verdict(tuple((str(hash_), str(graph)) for hash_, graph in rows))


@contextmanager
def _undone(user: Session) -> Iterator[None]:
    user.execute("BEGIN")
    try:
        yield
    finally:
        user.execute("ROLLBACK")
