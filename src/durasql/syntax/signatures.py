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
from durasql.syntax.durations import seconds, time_limit
from durasql.syntax.failures import failures


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter; `type` is a PostgreSQL type, or `node` for a text that is taken as a step."""

    name: str
    type: str
    required: bool = True
    nullable: bool = False
    default: Any = None
    read: Callable[[str], Any] | None = None
    """What makes a value of a text with a syntax of its own; raises `ConversionError`."""

    @property
    def default_value(self) -> Any:
        """The default as the server would read it: '1 min' is 60."""
        return self.default if self.read is None or self.default is None else self.read(self.default)


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
    if isinstance(parameter.default, bool):
        default = default.lower()
    return f"{parameter.name} {type_name} DEFAULT {default}"


def _node(name: str) -> Parameter:
    return Parameter(name, "node")


def _optional(
    name: str, type_name: str, default: Any = None, read: Callable[[str], Any] | None = None
) -> Parameter:
    return Parameter(name, type_name, False, default is None, default, read)


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
        (_node("body"), _optional("condition", "node"), _optional("continue_on_failure", "boolean", False)),
        lambda body, condition, continue_on_failure: ast.Loop(body, condition, continue_on_failure),
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
    Builder(
        "retry",
        (
            _node("fut"),
            _optional("max_attempts", "integer", 5),
            _optional("backoff", "text", "1 s", seconds),
            _optional("max_backoff", "text", "1 min", seconds),
            _optional("jitter", "boolean", True),
            _optional("errors", "text", read=failures),
        ),
        lambda fut, *options: ast.Retry(fut, *options),
        "runs it again when it fails, after a pause that doubles",
    ),
    Builder(
        "timeout",
        (_node("fut"), Parameter("duration", "text", read=time_limit)),
        lambda fut, duration: ast.Timeout(fut, duration),
        "cancels it on the server when its time is up, and fails",
    ),
    Builder(
        "catch",
        (_node("fut"), _node("handler"), _optional("errors", "text", read=failures)),
        lambda fut, handler, errors: ast.Catch(fut, handler, errors),
        "runs the handler, which sees $error, when it fails",
    ),
    Builder(
        "finally",
        (_node("fut"), _node("cleanup")),
        lambda fut, cleanup: ast.Finally(fut, cleanup),
        "runs the cleanup afterwards, however it ends",
    ),
    Builder(
        "with_undo",
        (_node("fut"), _node("undo")),
        lambda fut, undo: ast.Undo(fut, undo),
        "keeps a step that takes it back, should a later step fail for good",
    ),
)
BUILDERS: Final = {builder.name: builder for builder in _TABLE}

OPERATOR_ALIASES: Final = {"as_op": "as", "loop_prefix_op": "loop"}
"""The functions behind operators that do the same as a builder."""

START: Final = (
    _node("fut"),
    _optional("label", "text"),
    _optional("database", "text"),
    _optional("transaction_mode", "text"),
    _optional("max_attempts", "integer"),
    _optional("backoff", "text"),
    _optional("max_backoff", "text"),
    _optional("on_failure", "text"),
    _optional("timeout", "text"),
    _optional("key", "text"),
    _optional("on_conflict", "text"),
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
