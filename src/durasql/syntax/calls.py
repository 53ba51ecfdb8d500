"""Arguments to parameters: positional and named notation, with the mistakes people make.

In: a call and the values of its arguments. Out: `Bound`, each value under its parameter's name; or reports.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from durasql.limits import MAX_ARGUMENTS
from durasql.source import Span
from durasql.syntax import terms
from durasql.syntax.signatures import Parameter
from durasql.syntax.textmap import TextMap
from durasql.syntax.values import Scalar, Value

Report = Callable[[str, str, Span, str | None], Any]


@dataclass(frozen=True, slots=True)
class Bound:
    """The arguments that were given, by parameter."""

    values: dict[str, Value]

    def text_maps(self) -> tuple[tuple[str, TextMap], ...]:
        """Where the arguments that are literals stand."""
        found = ((name, value.map) for name, value in self.values.items() if isinstance(value, Scalar))
        return tuple((name, map_) for name, map_ in found if map_)


def bind(
    call: terms.Call, function: str, parameters: tuple[Parameter, ...], values: list[Value], report: Report
) -> Bound | None:
    """Give each argument its parameter; None after a report."""
    if len(call.arguments) > MAX_ARGUMENTS:
        report("E116", f"cannot pass more than {MAX_ARGUMENTS} arguments to a function", call.span, None)
        return None
    names = [parameter.name for parameter in parameters]
    bound: dict[str, Value] = {}
    named = False
    for position, (argument, value) in enumerate(zip(call.arguments, values, strict=True)):
        named = named or argument.name is not None
        problem = _misplaced(argument, position, names, bound, function, named=named)
        if problem:
            report("E116", problem[0], argument.name_span or argument.span, problem[1])
            return None
        bound[argument.name or names[position]] = value
    missing = [
        parameter.name for parameter in parameters if parameter.required and parameter.name not in bound
    ]
    if missing:
        shown = ", ".join(f"{parameter.name} {_type(parameter)}" for parameter in parameters)
        message = f"{function} needs the argument {missing[0]}"
        report("E116", message, call.span if call.arguments else call.name_span, f"{function}({shown})")
        return None
    return Bound(bound)


def _misplaced(
    argument: terms.Argument,
    position: int,
    names: list[str],
    bound: dict[str, Value],
    function: str,
    *,
    named: bool,
) -> tuple[str, str | None] | None:
    """What is wrong with the place or the name of one argument, and a hint."""
    if argument.name is None:
        if named:
            return "a positional argument cannot follow a named one", "name it, or move it to the front"
        if position >= len(names):
            return f"{function} takes at most {len(names)} arguments", _listing(function, names)
        return None
    if argument.name not in names:
        near = get_close_matches(argument.name, names, 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else _listing(function, names)
        return f"{function} has no argument {argument.name}", hint
    if argument.name in bound:
        return f"argument {argument.name} of {function} is given twice", None
    return None


def _listing(function: str, names: list[str]) -> str:
    return f"{function}({', '.join(names)})"


def _type(parameter: Parameter) -> str:
    return "text" if parameter.type == "node" else parameter.type
