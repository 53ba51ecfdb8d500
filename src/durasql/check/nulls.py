"""Values that break a statement: comparisons with a NULL that is allowed, text where a number must stand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import postgast

from durasql.check.parsed import parsed_sql
from durasql.check.sqltext import Reference, Where, place, references
from durasql.check.view import View
from durasql.errors import Diagnostic
from durasql.syntax import ast


def check_nulls(view: View) -> Iterator[Diagnostic]:
    """W212."""
    for node in view.nodes():
        if isinstance(node, ast.Sql) and "?" in node.query:
            yield from _compared(view, node)


def _compared(view: View, node: ast.Sql) -> Iterator[Diagnostic]:
    """`= $x?` is never true when $x is NULL."""
    parsed = parsed_sql(node.query)
    if parsed is None or parsed.statements is None:
        return
    optional = {
        len(node.query[: item.start].encode()): item
        for item in references(node.query)
        if item.optional and item.where is Where.CODE
    }
    for operator, location in _comparisons(parsed.statements):
        reference: Reference | None = optional.get(location)
        if reference is not None:
            span = place(node, "query", reference.start, reference.end)
            instead = "IS NOT DISTINCT FROM" if operator == "=" else "IS DISTINCT FROM"
            message = f"a comparison with {operator} is never true when {reference.text} is NULL"
            yield view.finding("W212", message, span, f"write {instead} {reference.text}")


def _comparisons(statements: tuple[Any, ...]) -> Iterator[tuple[str, int]]:
    """The operator and the place of every placeholder that is compared."""
    for statement in statements:
        for _, item in postgast.walk(statement):
            if (
                item.DESCRIPTOR.name != "A_Expr"
                or item.kind != 1
                or item.name[-1].string.sval not in ("=", "<>")
            ):
                continue
            for side in (item.lexpr, item.rexpr):
                if side.WhichOneof("node") in ("param_ref", "a_const"):
                    yield item.name[-1].string.sval, getattr(side, side.WhichOneof("node")).location
