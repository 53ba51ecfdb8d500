"""`$name.*` anywhere but in FROM, or with an alias: it stands for rows that have their name already."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

import postgast

from durasql.check.parsed import parsed_sql
from durasql.check.sqltext import Where, place, references
from durasql.check.view import View
from durasql.errors import Diagnostic
from durasql.syntax import ast


def check_rowsets(view: View) -> Iterator[Diagnostic]:
    """E219."""
    for flow, root in zip(view.flows, view.graphs, strict=True):
        for node in ast.walk(root):
            names = flow.names(node)
            if isinstance(node, ast.Sql) and ".*" in node.query and names is not None:
                yield from _step(view, node, names.bound)


def _step(view: View, node: ast.Sql, bound: Container[str]) -> Iterator[Diagnostic]:
    parsed = parsed_sql(node.query)
    if parsed is None or parsed.statements is None:
        return
    items = dict(_from_items(parsed.statements))
    for found in references(node.query):
        if not found.star or found.where is not Where.CODE or found.name not in bound:
            continue
        item = items.get(len(node.query[: found.start].encode()))
        span = place(node, "query", found.start, found.end)
        if item is None:
            message = f"{found.text} is a set of rows, which can stand in FROM only"
            yield view.finding("E219", message, span, f"SELECT … FROM {found.text}")
        elif item.alias.aliasname:
            message = f"{found.text} already has the name {found.name}, so it takes no alias"
            hint = f"write FROM {found.text} and {found.name}.column, or (SELECT * FROM {found.text}) AS …"
            yield view.finding("E219", message, span, hint)


def _from_items(statements: tuple[Any, ...]) -> Iterator[tuple[int, Any]]:
    """The tables in FROM by the byte where they stand."""
    for statement in statements:
        for _, item in postgast.walk(statement):
            if item.DESCRIPTOR.name == "RangeVar":
                yield item.location, item
