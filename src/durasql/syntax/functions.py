"""The functions that are no builders: jsonb_build_… of literals, and the wording for unknown ones.

In: the values of the arguments. Out: a json or jsonb value as PostgreSQL builds it.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from durasql.limits import MAX_ARGUMENTS
from durasql.source import Span
from durasql.syntax import jsontext
from durasql.syntax.signatures import BUILDERS, OPERATOR_ALIASES, OTHER_FUNCTIONS
from durasql.syntax.values import ConversionError, Scalar, json_element, json_value, to_text

JSON_FUNCTIONS: Final = ("jsonb_build_object", "jsonb_build_array", "json_build_object", "json_build_array")
_OF_DF: Final = (*BUILDERS, *OPERATOR_ALIASES, "start", "setvar")


def build_json(function: str, arguments: list[Scalar], span: Span) -> Scalar:
    """The value of one of `JSON_FUNCTIONS`. Raises `ConversionError` where PostgreSQL raises."""
    if len(arguments) > MAX_ARGUMENTS:
        raise ConversionError(f"cannot pass more than {MAX_ARGUMENTS} arguments to a function", "E116")
    if function.endswith("_array"):
        return _array(function, arguments, span)
    if len(arguments) % 2:
        raise ConversionError(
            "argument list must have even number of elements", "E116", "give a value for every key"
        )
    keys = [_key(at, key) for at, key in enumerate(arguments[::2])]
    if function.startswith("jsonb"):
        pairs = zip(keys, map(json_value, arguments[1::2]), strict=True)
        return Scalar("jsonb", dict(pairs), span)
    members = (
        f"{jsontext.quote(key)} : {json_element(value)}"
        for key, value in zip(keys, arguments[1::2], strict=True)
    )
    return Scalar("json", "{" + ", ".join(members) + "}", span)


def _array(function: str, arguments: list[Scalar], span: Span) -> Scalar:
    if function.startswith("jsonb"):
        return Scalar("jsonb", [json_value(value) for value in arguments], span)
    return Scalar("json", "[" + ", ".join(map(json_element, arguments)) + "]", span)


def _key(position: int, key: Scalar) -> str:
    if key.value is None:
        raise ConversionError(f"argument {position * 2 + 1}: key must not be null", "E118")
    if key.type in ("json", "jsonb"):
        raise ConversionError("key value must be scalar, not array, composite, or json")
    return to_text(key)


def unknown_function(name: tuple[str, ...]) -> tuple[str, str | None]:
    """What to say about a function that is no builder: a message and a hint."""
    spelled, last = ".".join(name), name[-1]
    if name[:-1] == ("df",) and last in ("start", "setvar"):
        return f"{spelled} is not a step", f"it stands alone: SELECT {spelled}(…);"
    if name[:-1] == ("df",) and last in OTHER_FUNCTIONS:
        return f"{spelled} cannot be used as a workflow step", "call it from psql, or in a step's SQL"
    if name[:-1] in ((), ("public",)) and last in BUILDERS:
        return f"unknown function {spelled}", f"did you mean df.{last}?"
    known = {**{name: f"df.{name}" for name in _OF_DF}, **{name: name for name in JSON_FUNCTIONS}}
    near = [known[name] for name in get_close_matches(last, known, 1, 0.6)]
    if near:
        return f"unknown function {spelled}", f"did you mean {near[0]}?"
    return (
        f"unknown function {spelled}",
        "only df.… builders and jsonb_build_object/array stand outside the quotes of a step",
    )
