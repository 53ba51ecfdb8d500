"""The builder functions of the language: names, parameters, types, defaults. One table.

In: nothing. Out: `BUILDERS`, read by `evaluate`, `unparse`, the messages and the language server. The
defaults and strictness are those of the SQL functions: a strict function yields NULL for any NULL argument,
so NULL is refused there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from durasql.syntax import ast


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter; `type` is a PostgreSQL type, or `node` for a text that is taken as a step."""

    name: str
    type: str
    required: bool = True
    nullable: bool = False
    default: Any = None


@dataclass(frozen=True, slots=True)
class Builder:
    """One function of schema df that builds a node; `make` takes the arguments in parameter order."""

    name: str
    parameters: tuple[Parameter, ...]
    make: Callable[..., ast.Node]
    summary: str

    @property
    def signature(self) -> str:
        """`df.name(a text, b text DEFAULT NULL)` for messages."""
        return f"df.{self.name}({', '.join(_shown(parameter) for parameter in self.parameters)})"


def _shown(parameter: Parameter) -> str:
    type_name = "text" if parameter.type == "node" else parameter.type
    if parameter.required:
        return f"{parameter.name} {type_name}"
    default = "NULL" if parameter.default is None else repr(parameter.default)
    return f"{parameter.name} {type_name} DEFAULT {default}"


def _node(name: str) -> Parameter:
    return Parameter(name, "node")


def _optional(name: str, type_name: str, default: Any = None) -> Parameter:
    return Parameter(name, type_name, required=False, nullable=default is None, default=default)


_HTTP_TAIL: Final = (_optional("headers", "jsonb"), _optional("timeout_seconds", "integer", 30))

_TABLE: Final = (
    Builder(
        "sql",
        (Parameter("query", "text"),),
        lambda query: ast.Sql(query),
        "one SQL step, its text taken as it is",
    ),
    Builder("seq", (_node("a"), _node("b")), lambda a, b: ast.Then(a, b), "first a, then b"),
    Builder(
        "as",
        (_node("fut"), Parameter("name", "text")),
        lambda fut, name: replace(fut, name=name),
        "names a step's result",
    ),
    Builder("sleep", (Parameter("seconds", "bigint"),), lambda seconds: ast.Sleep(seconds), "waits"),
    Builder(
        "wait_for_schedule",
        (Parameter("cron_expr", "text"), _optional("timezone", "text")),
        lambda cron_expr, timezone: ast.WaitSchedule(cron_expr, timezone),
        "waits for the next tick of a cron schedule",
    ),
    Builder(
        "wait_for_signal",
        (Parameter("name", "text"), _optional("timeout_seconds", "integer")),
        lambda name, timeout_seconds: ast.Signal(name, timeout_seconds),
        "waits for df.signal",
    ),
    Builder(
        "loop",
        (_node("body"), _optional("condition", "node")),
        lambda body, condition: ast.Loop(body, condition),
        "repeats body, while the condition is true if there is one",
    ),
    Builder(
        "break", (_optional("value", "text"),), lambda value: ast.Break(value), "ends the loop around it"
    ),
    Builder(
        "if",
        (_node("condition"), _node("then_branch"), _node("else_branch")),
        lambda condition, then, otherwise: ast.If(condition, then, otherwise),
        "runs one of two branches",
    ),
    Builder(
        "if_rows",
        (Parameter("result_name", "text"), _node("then_branch"), _node("else_branch")),
        lambda name, then, otherwise: ast.IfRows(name, then, otherwise),
        "runs then_branch when the named result has rows",
    ),
    Builder(
        "join",
        (_node("a"), _node("b")),
        lambda a, b: ast.Join((a, b)),
        "runs both at the same time, waits for both",
    ),
    Builder(
        "join3",
        (_node("a"), _node("b"), _node("c")),
        lambda a, b, c: ast.Join((a, b, c)),
        "runs three at the same time, waits for all",
    ),
    Builder(
        "race",
        (_node("a"), _node("b")),
        lambda a, b: ast.Race(a, b),
        "runs both, the first to finish decides",
    ),
    Builder(
        "http",
        (
            Parameter("url", "text"),
            _optional("method", "text", "POST"),
            _optional("body", "text"),
            *_HTTP_TAIL,
        ),
        lambda url, method, body, headers, timeout: ast.Http(url, upper(method), body, headers, timeout),
        "one HTTP request",
    ),
    Builder(
        "http_multipart",
        (
            Parameter("url", "text"),
            _optional("method", "text", "POST"),
            _optional("parts", "jsonb"),
            *_HTTP_TAIL,
        ),
        lambda url, method, parts, headers, timeout: ast.HttpMultipart(
            url, upper(method), parts, headers, timeout
        ),
        "one multipart/form-data HTTP request",
    ),
)
BUILDERS: Final = {builder.name: builder for builder in _TABLE}

OPERATOR_ALIASES: Final = {"as_op": "as", "loop_prefix_op": "loop"}
"""The functions behind operators that do the same as a builder."""

START: Final = (
    _node("fut"),
    _optional("label", "text"),
    _optional("database", "text"),
    Parameter("transaction_mode", "text", required=False, nullable=True, default=None),
)
SETVAR: Final = (Parameter("name", "text"), Parameter("value", "text"))
OTHER_FUNCTIONS: Final = (
    "unsetvar",
    "getvar",
    "clearvars",
    "status",
    "result",
    "cancel",
    "signal",
    "await_instance",
    "wait_for_completion",
    "run",
    "explain",
    "version",
    "error",
    "list_instances",
)
"""Functions of schema df that are no part of a workflow text."""


def upper(text: str) -> str:
    """Upper case of ASCII letters only, as an HTTP method needs; `str.upper` would turn `ß` into `SS`."""
    return "".join(char.upper() if char.isascii() else char for char in text)
