"""What a term is worth: SQL values with PostgreSQL's types, or a step.

In: literals, casts and `jsonb_build_…` calls. Out: `Value`s, and `convert`, which gives a parameter its
argument exactly where PostgreSQL's function resolution would (an untyped literal fits any type, an integer
fits bigint, nothing else is implicit).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeAlias

from durasql.source import Span
from durasql.syntax import ast, jsontext
from durasql.syntax.rules import MAX_BIGINT, MAX_INTEGER
from durasql.syntax.textmap import TextMap


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value of type `unknown` (an untyped literal), text, integer, bigint, numeric, boolean, json or jsonb.

    `value` is None for NULL; a `json` value is kept as its text.
    """

    type: str
    value: ast.Json
    span: Span
    map: TextMap | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A node: the result of a builder or an operator."""

    node: ast.Node
    span: Span


@dataclass(frozen=True, slots=True)
class Partial:
    """`condition ?> then`, which waits for its `!>`."""

    condition: ast.Node
    then: ast.Node
    span: Span


@dataclass(frozen=True, slots=True)
class Bad:
    """Something already reported; whatever is made of it is silent."""

    span: Span


Value: TypeAlias = Scalar | Step | Partial | Bad

TYPES: Final = {
    "text": "text",
    "varchar": "text",
    "pg_catalog.text": "text",
    "pg_catalog.varchar": "text",
    "json": "json",
    "jsonb": "jsonb",
    "pg_catalog.json": "json",
    "pg_catalog.jsonb": "jsonb",
    "int": "integer",
    "integer": "integer",
    "int4": "integer",
    "pg_catalog.int4": "integer",
    "bigint": "bigint",
    "int8": "bigint",
    "pg_catalog.int8": "bigint",
    "boolean": "boolean",
    "bool": "boolean",
    "pg_catalog.bool": "boolean",
    "numeric": "numeric",
    "decimal": "numeric",
    "pg_catalog.numeric": "numeric",
}
_BOUNDS: Final = {"integer": MAX_INTEGER, "bigint": MAX_BIGINT}
_TRUE: Final = re.compile(r"t(r(ue?)?)?|y(es?)?|on|1")
_FALSE: Final = re.compile(r"f(a(l(se?)?)?)?|n(o)?|off?|0")


class ConversionError(ValueError):
    """PostgreSQL would not convert the value; `code` is the diagnostic's."""

    def __init__(self, message: str, code: str = "E117", hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint


def number(digits: str, span: Span) -> Scalar:
    """A number constant gets the smallest of integer, bigint, numeric that holds it."""
    value = jsontext.number(_json_digits(digits))
    if "." in digits or "e" in digits.lower() or isinstance(value, Decimal):
        return Scalar("numeric", value, span)
    return Scalar(
        "integer" if value <= MAX_INTEGER else "bigint" if value <= MAX_BIGINT else "numeric", value, span
    )


def _json_digits(digits: str) -> str:
    """`.5`, `5.` and `007` as JSON would write them."""
    found = re.fullmatch(r"([0-9]*)(?:\.([0-9]*))?([eE][+-]?[0-9]+)?", digits)
    if not found:
        return "0"
    whole, fraction, exponent = found.groups()
    return (whole.lstrip("0") or "0") + (f".{fraction}" if fraction else "") + (exponent or "")


def negative(value: Scalar) -> Scalar:
    """Unary minus keeps the type, as in PostgreSQL."""
    if value.type not in ("integer", "bigint", "numeric") or not isinstance(value.value, int | Decimal):
        raise ConversionError(f"- cannot be applied to {_described(value)}")
    return Scalar(value.type, _negated(value.value), value.span)


def _negated(value: int | Decimal) -> int | Decimal:
    """Arithmetic on `Decimal` would round to the context's precision; zero has no sign in PostgreSQL."""
    if not value:
        return value
    return value.copy_negate() if isinstance(value, Decimal) else -value


def cast(value: Scalar, type_name: str) -> Scalar:
    """An explicit cast. Raises `ConversionError`."""
    target = TYPES.get(type_name)
    if target is None:
        known = "text, varchar, json, jsonb, integer, bigint, numeric, boolean"
        raise ConversionError(
            f"a cast to {type_name} has no place in a workflow", hint=f"casts here are to {known}"
        )
    if value.value is None:
        return Scalar(target, None, value.span)
    if value.type == target:
        return value
    converted = _convert(value, target)
    return Scalar(target, converted, value.span, value.map if target == "text" else None)


def _convert(value: Scalar, target: str) -> ast.Json:
    source = value.value
    if target == "text":
        return to_text(value)
    if value.type in ("unknown", "text") and isinstance(source, str):
        return parse(source, target)
    if value.type in ("integer", "bigint", "numeric") and target in ("integer", "bigint", "numeric"):
        return (
            source
            if target == "numeric"
            else _bounded(int(Decimal(str(source)).to_integral_value("ROUND_HALF_UP")), target)
        )
    if value.type == "json" and target == "jsonb" and isinstance(source, str):
        return parse(source, "jsonb")
    if value.type == "jsonb" and target == "json":
        return jsontext.spaced(source)
    raise ConversionError(f"{_described(value)} cannot be cast to {target}")


def to_text(value: Scalar) -> str:
    """The text PostgreSQL's `::text` gives."""
    if isinstance(value.value, str) and value.type != "jsonb":
        return value.value
    return jsontext.spaced(value.value)


def parse(text: str, target: str) -> ast.Json:
    """The value of an untyped literal used where `target` is needed."""
    if target in ("json", "jsonb"):
        try:
            found = jsontext.read(text)
        except jsontext.JsonError as error:
            hint = (
                'keys and strings need double quotes: {"key": "value"}'
                if "'" in text or error.offset
                else None
            )
            raise ConversionError(f"invalid JSON: {error.message}", "E126", hint) from None
        return text if target == "json" else found
    if target == "boolean":
        word = text.strip(" \t\n\r\f\v").lower()
        if not (_TRUE.fullmatch(word) or _FALSE.fullmatch(word)):
            raise ConversionError(f"invalid input syntax for type boolean: '{text}'")
        return bool(_TRUE.fullmatch(word))
    if target == "numeric" and re.fullmatch(
        r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]{1,4})?\s*", text, re.ASCII | re.I
    ):
        unsigned = number(text.strip().lstrip("+-"), Span(0, 0))
        return negative(unsigned).value if text.strip().startswith("-") else unsigned.value
    if not re.fullmatch(r"[ \t\n\r\f\v]*[+-]?[0-9]{1,40}[ \t\n\r\f\v]*", text, re.ASCII):
        raise ConversionError(f"invalid input syntax for type {target}: '{text}'")
    return _bounded(int(text), target)


def _bounded(value: int, target: str) -> int:
    bound = _BOUNDS[target]
    if not -bound - 1 <= value <= bound:
        raise ConversionError(f"{value} is out of range for type {target}")
    return value


def convert(value: Scalar, target: str) -> ast.Json:
    """The argument for a parameter of type `target`, where PostgreSQL converts by itself. Raises
    `ConversionError`."""
    if value.value is None or value.type == target:
        return value.value
    if value.type == "unknown" and isinstance(value.value, str):
        return value.value if target == "text" else parse(value.value, target)
    if value.type == "integer" and target == "bigint":
        return value.value
    hint = None
    if target == "text":
        hint = "write it as text: add ::text, or quotes"
    elif target == "jsonb" and value.type in ("text", "json"):
        hint = "add ::jsonb"
    raise ConversionError(f"expected {target}, found {_described(value)}", hint=hint)


def _described(value: Scalar) -> str:
    kind = "text" if value.type == "unknown" else value.type
    return f"a value of type {kind}"


def json_value(value: Scalar) -> ast.Json:
    """The value as an element of `jsonb_build_object` and its kin."""
    if value.type == "json" and isinstance(value.value, str):
        return parse(value.value, "jsonb")
    return value.value


def json_element(value: Scalar) -> str:
    """The text of the value inside `json_build_object`, which keeps json texts as they are."""
    if value.type == "json" and isinstance(value.value, str):
        return value.value
    return jsontext.spaced(value.value)
