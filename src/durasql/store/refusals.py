"""What a server's refusal to plan a statement means for the workflow. In: a refusal. Out: a diagnostic.

An error is claimed only where the statement would surely fail. Where values had to be made up the finding is
a warning, and where the workflow itself creates what is missing it is a note.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, Protocol

from durasql.codes import diagnose
from durasql.errors import Diagnostic
from durasql.source import Source, Span
from durasql.sqltext import Kind, regions
from durasql.store.explaining import Column, Refusal

_MISSING: Final = ("42P01", "42703", "42704", "3F000", "42883", "42P02")
_BY_TYPE: Final = ("42883", "42725", "42P18", "42804", "42846", "42P08", "42P38", "42601")
_NOT_NOW: Final = ("55P03", "57014", "25006", "40P01", "53200")
_EXISTS: Final = ("42P07", "42710", "42723", "42P06")
_RELATION: Final = re.compile(r'relation "(.+)" does not exist')
_COLUMN: Final = re.compile(r'column "(.+)" of relation "(.+)" does not exist')
_FUNCTION: Final = re.compile(r"(?:function|procedure) ([\w.]+)\(")
_DENIED: Final = re.compile(r"permission denied for (\w+(?: \w+)?) (\S+)$")
_WORD: Final = re.compile(
    r"'(?:[^']|'')*'|" r'[\w$]+(?:\s*\.\s*[\w$]+)*|"(?:[^"]|"")*"(?:\."(?:[^"]|"")*")*|\S'
)


class Catalog(Protocol):
    """What is asked about names."""

    @property
    def user(self) -> str: ...
    @property
    def relations(self) -> list[str]: ...
    @property
    def columns(self) -> list[tuple[str, str]]: ...
    @property
    def functions(self) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that was refused. `span_of` leads from its offsets to places in the file."""

    text: str
    refusal: Refusal
    guessed: bool
    own: bool
    """Whether it uses what the workflow creates."""
    whole: Span | None
    span_of: Callable[[int, int], Span | None]


def judged(tries: Sequence[Statement], catalog: Catalog, source: Source) -> Iterator[Diagnostic]:
    """At most one finding about a statement that was refused with each of the values it was tried with."""
    codes = [_code(statement, catalog) for statement in tries]
    statement, code = tries[0], codes[0]
    if code is None or None in codes:
        return
    refusal = statement.refusal
    message, hint = refusal.message, _hint(statement, catalog)
    if code == "I241":
        message += ", yet: the workflow itself may create it"
        hint = None
    elif code == "I242":
        message, hint = f"not planned: {message}", None
    elif code == "W241":
        message += ", whatever value is inserted"
    yield diagnose(code, message, source, _span(statement), hint)


def repeated(columns: Sequence[Column], source: Source, span: Span | None) -> Iterator[Diagnostic]:
    """W242 for a step whose result has a column name twice."""
    names = [column.name for column in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice and set(twice) != {"?column?"}:
        message = f"the result has more than one column {', '.join(map(repr, twice))}"
        hint = f"the second one becomes {twice[0]}_2; name them with AS"
        yield diagnose("W242", message, source, span, hint)


def _code(statement: Statement, catalog: Catalog) -> str | None:
    state = statement.refusal.sqlstate
    if state in _EXISTS:
        return None
    if state in _NOT_NOW:
        return "I242"
    if statement.own:
        return "I241" if state[:2] in ("42", "3F") else None
    if state == "42501":
        return "E242"
    if statement.guessed and state in _BY_TYPE and not _unknown_function(statement.refusal, catalog):
        return "W241"
    if state in _MISSING:
        return "E241"
    # With made-up values an error such as a division by zero says nothing about the real ones.
    return "E243" if not statement.guessed or state[:2] in ("42", "0A") else None


def _unknown_function(refusal: Refusal, catalog: Catalog) -> bool:
    found = _FUNCTION.search(refusal.message)
    return found is not None and found[1] not in catalog.functions


def _hint(statement: Statement, catalog: Catalog) -> str | None:
    message = statement.refusal.message
    if denied := _DENIED.search(message):
        kind = "" if denied[1] in ("table", "view") else f"{denied[1].upper()} "
        return f"planned as {catalog.user}; the owner can GRANT … ON {kind}{denied[2]} TO {catalog.user}"
    if column := _COLUMN.search(message):
        return _nearest(column[1], [name for relation, name in catalog.columns if relation == column[2]])
    if relation := _RELATION.search(message):
        return _nearest(relation[1], catalog.relations)
    if _unknown_function(statement.refusal, catalog):
        found = _FUNCTION.search(message)
        return _nearest(found[1], catalog.functions) if found else None
    hint = statement.refusal.hint
    return hint[:1].lower() + hint[1:].rstrip(".") if hint else None


def _nearest(name: str, known: list[str]) -> str | None:
    near = get_close_matches(name, known, 1, 0.7) or [
        other for other in known if other.rpartition(".")[2] == name.rpartition(".")[2]
    ]
    return f"did you mean {near[0]}?" if near else None


def _span(statement: Statement) -> Span | None:
    offset = statement.refusal.offset
    if offset is None and (denied := _DENIED.search(statement.refusal.message)):
        named = re.search(rf'(?<![\w"]){re.escape(denied[2])}(?!\w)', _code_of(statement.text), re.IGNORECASE)
        offset = named.start() if named else None
    if offset is None or offset >= len(statement.text):
        return statement.whole
    word = _WORD.match(statement.text, offset)
    return statement.span_of(offset, word.end() if word else offset + 1)


def _code_of(text: str) -> str:
    """The text with blanks in place of its literals and comments."""
    out = list(text)
    for region in regions(text):
        if region.kind is not Kind.NAME:
            out[region.start : region.end] = " " * (region.end - region.start)
    return "".join(out)
