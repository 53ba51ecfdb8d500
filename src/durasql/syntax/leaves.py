"""The configurations of leaf nodes: the strings that the SQL builders put into `query`.

In: a leaf of the AST, or a node type and its `query`. Out: the other one. A `query` that no builder would
have written becomes `Opaque` and keeps its text, so that the hash stays what it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import singledispatch
from typing import Any, Final

from durasql.syntax import ast, jsontext
from durasql.syntax.rules import MAX_BIGINT, refusals


def compact_object(**members: ast.Json) -> str:
    """A configuration: members in the given order, jsonb values inside in normal form."""
    return "{" + ",".join(f'"{key}":{jsontext.compact(value)}' for key, value in members.items()) + "}"


@singledispatch
def config(node: object) -> str:
    """The `query` of a leaf."""
    raise TypeError(f"{type(node).__name__} is not a leaf")


@config.register
def _verbatim(node: ast.Sql | ast.Opaque) -> str:
    return node.query


@config.register
def _break(node: ast.Break) -> str:
    return compact_object(break_value=node.value)


@config.register
def _sleep(node: ast.Sleep) -> str:
    return str(node.seconds)


@config.register
def _schedule(node: ast.WaitSchedule) -> str:
    if node.timezone is None:
        return compact_object(cron_expr=node.cron_expr)
    return compact_object(cron_expr=node.cron_expr, timezone=node.timezone)


@config.register
def _http(node: ast.Http) -> str:
    return compact_object(
        url=node.url,
        method=node.method,
        body=node.body,
        headers=node.headers,
        timeout_seconds=node.timeout_seconds,
    )


@config.register
def _multipart(node: ast.HttpMultipart) -> str:
    return compact_object(
        url=node.url,
        method=node.method,
        parts=node.parts,
        headers=node.headers,
        timeout_seconds=node.timeout_seconds,
    )


@config.register
def _signal(node: ast.Signal) -> str:
    return compact_object(signal_name=node.signal_name, timeout_seconds=node.timeout_seconds)


def leaf(node_type: str, query: str, name: str | None) -> ast.Node:
    """The leaf a builder would have made with this `query`, or `Opaque`."""
    if node_type == "SQL":
        return ast.Sql(query, name=name)
    candidate = _sleep_of(query, name) if node_type == "SLEEP" else _configured(node_type, query, name)
    if candidate is None or config(candidate) != query or any(refusals(candidate)):
        return ast.Opaque(node_type, query, name=name)
    return candidate


def _sleep_of(query: str, name: str | None) -> ast.Sleep | None:
    if not re.fullmatch(r"[0-9]{1,19}", query, re.ASCII) or int(query) > MAX_BIGINT:
        return None
    return ast.Sleep(int(query), name=name)


_Text: Final = (str,)
_OptionalText: Final = (str, type(None))
_SHAPES: Final[dict[str, tuple[Callable[..., Any], dict[str, tuple[type, ...]]]]] = {
    "BREAK": (ast.Break, {"break_value": _OptionalText}),
    "WAIT_SCHEDULE": (ast.WaitSchedule, {"cron_expr": _Text, "timezone": _OptionalText}),
    "SIGNAL": (ast.Signal, {"signal_name": _Text, "timeout_seconds": (int, type(None))}),
    "HTTP": (
        ast.Http,
        {
            "url": _Text,
            "method": _Text,
            "body": _OptionalText,
            "headers": (object,),
            "timeout_seconds": (int,),
        },
    ),
    "HTTP_MULTIPART": (
        ast.HttpMultipart,
        {"url": _Text, "method": _Text, "parts": (object,), "headers": (object,), "timeout_seconds": (int,)},
    ),
}


def _configured(node_type: str, query: str, name: str | None) -> Any:
    """A leaf from a JSON configuration of the right shape."""
    make, shape = _SHAPES[node_type]
    try:
        found = jsontext.read(query)
    except jsontext.JsonError:
        return None
    if not isinstance(found, dict) or not found.keys() <= shape.keys():
        return None
    if any(
        not isinstance(found.get(key), kinds) or isinstance(found.get(key), bool)
        for key, kinds in shape.items()
    ):
        return None
    renamed = {"value" if key == "break_value" else key: value for key, value in found.items()}
    return make(**renamed, name=name)
