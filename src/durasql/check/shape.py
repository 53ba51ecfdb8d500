"""What a step's result looks like: the fields that `$name.field` can find.

In: a node. Out: its `Shape`. Only what is certain is said; `fields` is None wherever the server has to
decide (`SELECT *`, functions, unknown JSON).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from durasql.check.parsed import Parsed, parsed_sql
from durasql.syntax import ast


@dataclass(frozen=True, slots=True)
class Shape:
    """`kind`: rows, object, array or unknown. `fields` in order, or None when they are not known."""

    kind: str
    fields: tuple[str, ...] | None = None


UNKNOWN: Final = Shape("unknown")
_HTTP: Final = Shape("object", ("status", "body", "encoding", "headers", "ok", "duration_ms"))
_LEAVES: Final[dict[type[Any], Shape]] = {
    ast.Http: _HTTP,
    ast.HttpMultipart: _HTTP,
    ast.Signal: Shape("object", ("signal_name", "timed_out", "data")),
    ast.Sleep: Shape("object", ("slept", "seconds")),
    ast.WaitSchedule: Shape("object", ("scheduled",)),
    ast.Join: Shape("array"),
}
_TRANSPARENT: Final = ast.Retry | ast.Timeout | ast.Finally | ast.Undo
"""Guards whose value is their body's."""

Known: TypeAlias = Mapping[int, Shape]
"""Shapes that a server told, by the identity of the node."""


def shape_of(node: ast.Node, known: Known = MappingProxyType({})) -> Shape:
    """The shape of a node's value: a sequence has its last step's, a choice the one its arms agree on."""
    while isinstance(node, ast.Then | _TRANSPARENT):
        node = node.second if isinstance(node, ast.Then) else node.body
    if id(node) in known:
        return known[id(node)]
    if isinstance(node, ast.Sql):
        parsed = parsed_sql(node.query)
        return columns_of(parsed) if parsed else UNKNOWN
    if isinstance(node, ast.If | ast.IfRows):
        then, otherwise = shape_of(node.then, known), shape_of(node.otherwise, known)
        return then if then == otherwise else UNKNOWN
    if isinstance(node, ast.Catch):
        body, handler = shape_of(node.body, known), shape_of(node.handler, known)
        return body if body == handler else UNKNOWN
    return _LEAVES.get(type(node), UNKNOWN)


def columns_of(parsed: Parsed) -> Shape:
    """The columns of the last statement of a step."""
    if parsed.statements is None or not parsed.statements:
        return UNKNOWN
    statement = parsed.statements[-1]
    kind = statement.WhichOneof("node")
    body = getattr(statement, kind)
    if kind == "select_stmt":
        return Shape("rows", _select_columns(body))
    if kind in ("insert_stmt", "update_stmt", "delete_stmt", "merge_stmt"):
        targets = _returning(body)
        return Shape("rows", _names(targets)) if targets else Shape("rows", ())
    return UNKNOWN


def _returning(body: Any) -> Any:
    if body.DESCRIPTOR.fields_by_name.get("returning_clause") is not None:
        return body.returning_clause.exprs
    return body.returning_list


def _select_columns(select: Any) -> tuple[str, ...] | None:
    while select.HasField("larg"):
        select = select.larg
    if select.values_lists:
        width = len(select.values_lists[0].list.items)
        return tuple(f"column{number}" for number in range(1, width + 1))
    return _names(select.target_list)


def _names(targets: Any) -> tuple[str, ...] | None:
    """Column names as PostgreSQL chooses them; repeated ones get a number."""
    found: list[str] = []
    for target in targets:
        name = target.res_target.name or _figure(target.res_target.val)
        if name is None:
            return None
        found.append(name)
    return tuple(_numbered(found))


def _numbered(names: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return out


def _figure(value: Any) -> str | None:
    """The name of an unnamed column, for the expressions where it is simple; None when it is not known."""
    kind = value.WhichOneof("node")
    if kind == "column_ref":
        last = value.column_ref.fields[-1]
        return last.string.sval if last.WhichOneof("node") == "string" else None
    if kind == "func_call":
        return str(value.func_call.funcname[-1].string.sval)
    if kind == "type_cast":
        inner = value.type_cast.arg
        if inner.WhichOneof("node") in ("column_ref", "func_call"):
            return _figure(inner)
        names = value.type_cast.type_name.names
        return (
            str(names[-1].string.sval)
            if inner.WhichOneof("node") in ("a_const", "param_ref") and names
            else None
        )
    if kind in ("a_const", "a_expr", "bool_expr", "param_ref"):
        return "?column?"
    return {"coalesce_expr": "coalesce", "a_array_expr": "array"}.get(kind or "")
