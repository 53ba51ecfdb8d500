"""References: what `$name` stands for, and how a value is written where it stands.

A `Reference` finds its value in the scope and hands it to the writer of its place. Writers keep one
promise: no value can end the literal, the comment or the expression it was put into.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import NamedTuple, TypeAlias

from durasql.limits import MAX_ROW_SET, MAX_SUBSTITUTED
from durasql_runtime import jsontext
from durasql_runtime.rowset import row_count, row_set
from durasql_runtime.scope import Scope, SubstituteError


class Value(NamedTuple):
    """What a reference resolved to: JSON text, and whether it is a whole result, not a value out of one."""

    json: str
    whole: bool = False


NULL = Value("null")
Writer = Callable[[Value], str]


def as_text(value: Value) -> str:
    """The value as it stands in running text: strings without quotes, NULL as the bare word."""
    if value.whole:
        return value.json
    match value.json[0]:
        case '"':
            return jsontext.string(value.json)
        case "{" | "[":
            return jsontext.compact(value.json)
        case "n":
            return "NULL"
    return value.json


def as_sql(value: Value) -> str:
    """The value as a SQL expression that means the same wherever an expression can stand (L8)."""
    if not value.whole:
        first = value.json[0]
        if first in "0123456789tf":
            return value.json
        if first == "-":
            return f"({value.json})"
        if first == "n":
            return "NULL"
    return quoted(as_text(value))


def quoted(text: str) -> str:
    """Text as a literal."""
    return "'" + text.replace("'", "''") + "'"


def _quoted_in_body(text: str) -> str:
    """Text as a literal inside a dollar-quoted body: no `$` of it may help to close the body."""
    literal = quoted(text)
    return " E" + literal.replace("\\", "\\\\").replace("$", "\\x24") if "$" in text else literal


def as_sql_glued(value: Value) -> str:
    """As code right behind a word or a literal, which a quote would otherwise become part of (`E$x`)."""
    text = as_sql(value)
    return f" ({text})" if text[0] == "'" else text


def as_sql_in_body(value: Value) -> str:
    """As code inside a dollar-quoted body."""
    text = as_sql(value)
    return _quoted_in_body(as_text(value)) if "$" in text else text


def as_json(value: Value) -> str:
    """As a JSON value."""
    return value.json


def in_json_string(value: Value) -> str:
    """As text between the quotes of a JSON string."""
    return encode_basestring(as_text(value))[1:-1]


def in_literal(value: Value) -> str:
    """As text between the quotes of a plain literal."""
    return as_text(value).replace("'", "''")


def in_escaped(escape: str) -> Writer:
    """Inside E'' or U&'': the escape character of the value stands for itself."""

    def write(value: Value) -> str:
        return in_literal(value).replace(escape, escape * 2)

    return write


# Longest name first, as the reference tries them, is the same as taking the whole ASCII word.
REFERENCE = re.compile(
    r"\$(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<rows>\.\*)|(?:\.(?P<field>[A-Za-z_][A-Za-z0-9_]*))?(?P<null>\?)?)"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """`$name`, `$name?`, `$name.field`, `$name.field?` or `$name.*`, and how its place wants it written."""

    verbatim: str
    name: str
    field: str | None
    rows: bool
    null_safe: bool
    write: Writer

    def render(self, scope: Scope) -> str:
        text = scope.names.get(self.name)
        if text is None:
            return self.verbatim
        result = jsontext.outline(text)
        if self.rows:
            return self._row_set(result, scope)
        return self.write(self._field(result) if self.field else self._scalar(result))

    def _row_set(self, result: jsontext.Outline, scope: Scope) -> str:
        if not result.is_rows:
            raise SubstituteError(f"${self.name}.* — invalid result format")
        rows = result.rows()
        count = row_count(rows, MAX_ROW_SET)
        if count > MAX_ROW_SET:
            raise SubstituteError(
                f"${self.name}.* has {count} rows, exceeding the maximum of {MAX_ROW_SET} "
                "for row-set expansion",
                hint="Use LIMIT, or read the rows from a table instead.",
            )
        if self.write not in _EXPRESSIONS:
            return self.write(Value(rows))
        quote = _quoted_in_body if self.write is as_sql_in_body else quoted
        return row_set(self.name, rows, scope.columns.get(self.name, ()), quote)

    def _scalar(self, result: jsontext.Outline) -> Value:
        if not result.is_rows:
            return Value(result.text, whole=True)
        if result.first is None:
            return Value(result.affected) if result.affected else self._no_rows()
        first = next(iter(result.first.values()), "null")
        return self._checked(first, f"${self.name} is NULL — first column of first row is NULL")

    def _field(self, result: jsontext.Outline) -> Value:
        if result.is_rows and result.first is None:
            return self._no_rows()
        if not result.is_rows and not result.is_object:
            raise SubstituteError(f"${self.name}.{self.field}: result is neither a row set nor a JSON object")
        fields = result.members if result.first is None else result.first
        found = fields.get(self.field or "")
        if found is None:
            return self._absent(fields)
        return self._checked(found, f"${self.name}.{self.field} is NULL")

    def _no_rows(self) -> Value:
        if self.null_safe:
            return NULL
        raise SubstituteError(f"${self.name} has no rows — query returned zero results")

    def _absent(self, fields: jsontext.Members) -> Value:
        if self.null_safe:
            return NULL
        available = ", ".join(sorted(fields))
        raise SubstituteError(
            f"${self.name}.{self.field}: result has no field '{self.field}' (available: {available})"
        )

    def _checked(self, found: str, complaint: str) -> Value:
        if found != "null":
            return Value(found)
        if self.null_safe:
            return NULL
        raise SubstituteError(complaint)


_EXPRESSIONS: tuple[Writer, ...] = (as_sql, as_sql_glued, as_sql_in_body)


@dataclass(frozen=True, slots=True)
class DollarQuoted:
    """A dollar-quoted literal with references in it; the tag stays, so no value may contain it."""

    tag: str
    pieces: Template

    def render(self, scope: Scope) -> str:
        body = render(self.pieces, scope)
        if (body + self.tag).find(self.tag) < len(body):
            raise SubstituteError(
                f"a value contains {self.tag}, which would end the dollar-quoted text it is inserted into",
                hint="quote the text with another tag, for example $durasql$…$durasql$",
            )
        return self.tag + body + self.tag


@dataclass(frozen=True, slots=True)
class QuotedCode:
    """Code in a plain literal (`DO '…'`): rendered as code, then quoted again."""

    pieces: Template

    def render(self, scope: Scope) -> str:
        return "'" + render(self.pieces, scope).replace("'", "''") + "'"


Piece: TypeAlias = "str | Reference | DollarQuoted | QuotedCode"
Template: TypeAlias = "tuple[Piece, ...]"


def render(template: Template, scope: Scope) -> str:
    """The text with every reference that the scope knows resolved; the others stand as they were written."""
    return joined(piece if isinstance(piece, str) else piece.render(scope) for piece in template)


def joined(parts: Iterable[str]) -> str:
    """The parts in one text; refused before it is too long to hold."""
    taken: list[str] = []
    size = 0
    for part in parts:
        size += len(part)
        if size > MAX_SUBSTITUTED:
            raise SubstituteError(
                f"the text would be longer than {MAX_SUBSTITUTED} characters after substitution",
                hint="Keep large values in a table and refer to their rows.",
            )
        taken.append(part)
    return "".join(taken)
