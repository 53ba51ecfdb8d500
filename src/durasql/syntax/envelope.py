"""AST <-> the JSON graph ("envelope") of the SQL operators.

In: an AST node, or an envelope text. Out: the other one. `encode` writes the canonical text whose SHA-256 is
the program's identity, byte for byte what PostgreSQL stores; `decode` is total on what `df.start` accepts.
Nothing here recurses, so neither depth nor hostile nesting can hurt. The worker compiles stored graphs
through this module, so it must not load the parser.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from functools import singledispatch
from typing import Any, Final, NoReturn

from durasql.limits import MAX_DEPTH, MAX_NODES
from durasql.source import Span
from durasql.syntax import ast, guards, jsontext, leaves
from durasql.syntax.rules import IDENTIFIER

NODE_TYPES: Final = (
    "SQL",
    "THEN",
    "IF",
    "JOIN",
    "LOOP",
    "BREAK",
    "RACE",
    "SLEEP",
    "WAIT_SCHEDULE",
    "HTTP",
    "HTTP_MULTIPART",
    "SIGNAL",
    "RETRY",
    "TIMEOUT",
    "CATCH",
    "FINALLY",
    "UNDO",
)
_TYPE_OF: Final[dict[type[Any], str]] = {
    ast.Sql: "SQL",
    ast.Then: "THEN",
    ast.If: "IF",
    ast.IfRows: "IF",
    ast.Join: "JOIN",
    ast.Loop: "LOOP",
    ast.Race: "RACE",
    ast.Break: "BREAK",
    ast.Sleep: "SLEEP",
    ast.WaitSchedule: "WAIT_SCHEDULE",
    ast.Http: "HTTP",
    ast.HttpMultipart: "HTTP_MULTIPART",
    ast.Signal: "SIGNAL",
    ast.Retry: "RETRY",
    ast.Timeout: "TIMEOUT",
    ast.Catch: "CATCH",
    ast.Finally: "FINALLY",
    ast.Undo: "UNDO",
}
_COMPOSITES: Final = ("THEN", "IF", "JOIN", "LOOP", "RACE", *guards.NODE_TYPES)


class EnvelopeError(ValueError):
    """An envelope that `df.start` would refuse; `path` is `root`, `root.left`, …

    `malformed` is False for a text that is no envelope at all and would be taken for SQL; `unknown_root` is
    True for one that only df.start refuses, because builders take it for SQL as well.
    """

    unknown_root = False

    def __init__(self, message: str, path: str = "root", *, malformed: bool = True) -> None:
        super().__init__(f"{path}: {message}")
        self.message = message
        self.path = path
        self.malformed = malformed


def node_type(node: ast.Node) -> str:
    """The type a node has in the graph, one of `NODE_TYPES`."""
    return node.node_type if isinstance(node, ast.Opaque) else _TYPE_OF[type(node)]


@singledispatch
def query_text(node: ast.Node) -> str | None:
    """The node's `query`: a leaf's text or configuration, None for most composites."""
    return leaves.config(node)


@query_text.register
def _no_query(node: ast.Then | ast.Race) -> str | None:
    return None


@query_text.register
def _kept_query(node: ast.If | ast.Join) -> str | None:
    return node.config


@query_text.register
def _guard_query(node: ast.Retry | ast.Timeout | ast.Catch | ast.Finally | ast.Undo) -> str | None:
    return guards.config(node)


@query_text.register
def _loop_query(node: ast.Loop) -> str | None:
    return guards.CONTINUE_ON_FAILURE if node.continue_on_failure else node.config


@query_text.register
def _if_rows_query(node: ast.IfRows) -> str | None:
    if node.config is not None:
        return node.config
    return leaves.compact_object(condition_type="result_has_rows", result_name=node.result_name)


def graph_hash(node: ast.Node) -> str:
    """The identity of a program: SHA-256 of the canonical envelope, in hex."""
    return hashlib.sha256(encode(node).encode()).hexdigest()


def encode(node: ast.Node) -> str:
    """The canonical envelope: keys in the documented order, absent when empty, no whitespace."""
    out: list[str] = []
    stack: list[ast.Node | str] = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            out.append(item)
        else:
            stack.extend(reversed(list(_pieces(item))))
    return "".join(out)


def _pieces(node: ast.Node) -> Iterator[ast.Node | str]:
    """The text of one node, with its children as nodes in between."""
    yield f'{{"node_type":{jsontext.quote(node_type(node))}'
    for key, child in zip(_child_keys(node), node.children(), strict=False):
        yield f',"{key}":'
        yield child
    if isinstance(node, ast.Join) and len(node.branches) > 2:
        yield ',"extra_nodes":['
        for index, branch in enumerate(node.branches[2:]):
            yield "," if index else ""
            yield branch
        yield "]"
    query = query_text(node)
    if query is not None:
        yield f',"query":{jsontext.quote(query)}'
    if node.name is not None:
        yield f',"result_name":{jsontext.quote(node.name)}'
    yield "}"


def _child_keys(node: ast.Node) -> tuple[str, ...]:
    if isinstance(node, ast.Loop):
        return ("left_node", "condition_node")
    return (
        ("left_node", "right_node", "condition_node")
        if isinstance(node, ast.If)
        else ("left_node", "right_node")
    )


class _Members(dict[str, ast.Json]):
    """The members of a JSON object that remembers whether a key came twice."""

    repeated: str | None = None


def _members(pairs: list[tuple[str, ast.Json]]) -> ast.Json:
    members = _Members(pairs)
    if len(members) != len(pairs):
        keys = [key for key, _ in pairs]
        members.repeated = next(key for key in keys if keys.count(key) > 1)
    return members


def looks_like_envelope(text: str) -> bool:
    """Whether a text could be an envelope at all; cheap, so that SQL is not read as JSON."""
    return text.lstrip(" \t\n\r").startswith("{")


def decode(text: str, span: Span | None = None) -> ast.Node:
    """The AST of an envelope, every node placed at `span`, where its text stands.

    Raises `EnvelopeError` with a path for what `df.start` would refuse.
    """
    try:
        document = jsontext.read(text, _members)
    except jsontext.JsonError as error:
        raise EnvelopeError(f"not valid JSON: {error.message}", malformed=False) from None
    if not isinstance(document, _Members) or not isinstance(document.get("node_type"), str):
        raise EnvelopeError("not an envelope: a JSON object with a string node_type", malformed=False)
    return _Decoder(span).tree(document)


class _Decoder:
    """Reads the tree in pre-order, as df.start walks it, then builds it from the leaves up."""

    def __init__(self, span: Span | None) -> None:
        self._span = span

    def tree(self, document: _Members) -> ast.Node:
        visits: list[tuple[_Members, str]] = []
        stack: list[tuple[ast.Json, str, int]] = [(document, "root", 0)]
        while stack:
            found, path, depth = stack.pop()
            members = self._visit(found, path, depth)
            visits.append((members, path))
            if len(visits) > MAX_NODES:
                raise EnvelopeError(f"Workflow exceeds maximum node count of {MAX_NODES}.", path)
            stack.extend(
                (child, below, depth + 1) for child, below in reversed(list(_children(members, path)))
            )
        return self._build(visits)

    def _visit(self, found: ast.Json, path: str, depth: int) -> _Members:
        if depth > MAX_DEPTH:
            raise EnvelopeError(f"Graph exceeds maximum nesting depth of {MAX_DEPTH}.", path)
        if not isinstance(found, _Members) or not isinstance(found.get("node_type"), str):
            raise EnvelopeError("failed to deserialize Durofut child: missing field `node_type`", path)
        if found.repeated in (*_FIELDS, "node_type"):
            raise EnvelopeError(f"duplicate field `{found.repeated}`", path)
        _check_types(found, path)
        if found["node_type"] not in NODE_TYPES:
            raise _unknown_type(found["node_type"], path)
        _check_places(found, path)
        return found

    def _build(self, visits: list[tuple[_Members, str]]) -> ast.Node:
        built: dict[int, ast.Node] = {}
        for members, path in reversed(visits):
            below = [built[id(child)] for child, _ in _children(members, path)]
            node = _node(members, below, path)
            built[id(members)] = node if self._span is None else replace(node, span=self._span)
        return built[id(visits[0][0])]


def _children(members: _Members, path: str) -> Iterator[tuple[ast.Json, str]]:
    for key, step in (("left_node", "left"), ("right_node", "right"), ("condition_node", "condition_node")):
        if members.get(key) is not None:
            yield members[key], f"{path}.{step}"
    extras = members.get("extra_nodes")
    if isinstance(extras, list):
        for index, extra in enumerate(extras):
            yield extra, f"{path}.extra_nodes[{index}]"


_FIELDS: Final = {
    "left_node": (dict, "Durofut children must be JSON objects"),
    "right_node": (dict, "Durofut children must be JSON objects"),
    "condition_node": (dict, "condition_node must be a Durofut JSON object"),
    "extra_nodes": (list, "extra_nodes entries must be Durofut JSON objects"),
    "query": (str, "query must be a string"),
    "result_name": (str, "result_name must be a string"),
}


def _check_types(members: _Members, path: str) -> None:
    """What makes an envelope unreadable, whatever its node type is."""
    for key, (expected, message) in _FIELDS.items():
        value = members.get(key)
        if value is not None and not isinstance(value, expected):
            raise EnvelopeError(message, path)
    extras = members.get("extra_nodes") or []
    if isinstance(extras, list) and not all(isinstance(extra, dict) for extra in extras):
        raise EnvelopeError("extra_nodes entries must be Durofut JSON objects", path)


def _check_places(members: _Members, path: str) -> None:
    """Members that the node type does not have."""
    kind, extras = members["node_type"], members.get("extra_nodes")
    if members.get("condition_node") is not None and kind not in ("IF", "LOOP"):
        raise EnvelopeError(f"condition_node is not valid for {kind} nodes", path)
    if extras and kind != "JOIN":
        raise EnvelopeError(f"extra_nodes is not valid for {kind} nodes", path)
    name = members.get("result_name")
    if isinstance(name, str) and not IDENTIFIER.fullmatch(name):
        raise EnvelopeError(f"result_name '{name}' is not a valid identifier", path)


def _node(members: _Members, below: list[ast.Node], path: str) -> ast.Node:
    """One node from its members and its children, which come in the order left, right, condition, extras."""
    kind: Any = members["node_type"]
    query: Any = members.get("query")
    name: Any = members.get("result_name")
    shape = tuple(members.get(key) is not None for key in ("left_node", "right_node", "condition_node"))
    if kind not in _COMPOSITES:
        if query is None or any(shape):
            _refuse(kind, "needs a query and no children", path)
        return leaves.leaf(kind, query, name)
    if kind in ("THEN", "RACE"):
        if shape[:2] != (True, True) or query is not None:
            _refuse(kind, "needs left_node and right_node and no query", path)
        return ast.Then(*below, name=name) if kind == "THEN" else ast.Race(*below, name=name)
    if kind in guards.NODE_TYPES:
        return _guard(kind, query, shape, below, name, path)
    config = _config(kind, query, path, needed=shape[2] or len(below) > 2)
    if kind == "LOOP":
        if not shape[0] or shape[1]:
            _refuse(kind, "needs left_node and no right_node", path)
        return _loop(below, query, config, name, path)
    if shape[:2] != (True, True):
        _refuse(kind, "needs left_node and right_node", path)
    if kind == "JOIN":
        return ast.Join(tuple(below), config=query, name=name)
    if shape[2]:
        return ast.If(below[2], below[0], below[1], config=query, name=name)
    if query is None:
        _refuse(kind, "needs a condition_node or a configuration", path)
    node = ast.IfRows(_rows_of(config), *below, name=name)
    return (
        node if query_text(node) == query else ast.IfRows(_rows_of(config), *below, name=name, config=query)
    )


def _loop(below: list[ast.Node], query: str | None, config: ast.Json, name: Any, path: str) -> ast.Loop:
    """A loop; the one configuration that means something is the one that df.loop writes."""
    body, condition = below[0], below[1] if len(below) > 1 else None
    if query == guards.CONTINUE_ON_FAILURE:
        return ast.Loop(body, condition, continue_on_failure=True, name=name)
    if isinstance(config, dict) and "continue_on_failure" in config:
        _refuse("LOOP", f"needs the configuration {guards.CONTINUE_ON_FAILURE}, or none", path)
    return ast.Loop(body, condition, config=query, name=name)


def _guard(
    kind: str, query: str | None, shape: tuple[bool, ...], below: list[ast.Node], name: Any, path: str
) -> ast.Node:
    """A guard, which is nothing without its configuration: only what its builder writes is accepted."""
    if shape[:2] != (True, guards.CHILDREN[kind] == 2):
        _refuse(kind, f"needs {guards.SHAPES[kind]}", path)
    found = guards.guard(kind, query, below, name)
    if found is None:
        _refuse(kind, f"needs {guards.CONFIGS[kind]}", path)
    return found


def _rows_of(config: ast.Json) -> str:
    """The result name of an `if_rows` configuration; empty when it is not one, which fails when it runs."""
    if isinstance(config, dict) and config.get("condition_type") == "result_has_rows":
        name = config.get("result_name")
        return name if isinstance(name, str) else ""
    return ""


def _config(kind: str, query: str | None, path: str, *, needed: bool) -> ast.Json:
    """The configuration of a composite as JSON; checked where df.start has to add to it."""
    if query is None:
        return None
    try:
        config = jsontext.read(query)
    except jsontext.JsonError as error:
        if not needed:
            return None
        raise EnvelopeError(f"query in {kind} must be valid JSON config: {error.message}", path) from None
    if needed and not isinstance(config, dict):
        raise EnvelopeError(f"query in {kind} must be a JSON config object", path)
    for old, kinds in (("condition_node", ("IF", "LOOP")), ("extra_nodes", ("JOIN",))):
        if kind in kinds and isinstance(config, dict) and old in config:
            message = f"{old} in {kind} must be a first-class Durofut field, not embedded in query"
            raise EnvelopeError(message, path)
    return config


def _unknown_type(kind: ast.Json, path: str) -> EnvelopeError:
    error = EnvelopeError(f"Unknown node_type '{kind}'. Valid types: {', '.join(NODE_TYPES)}", path)
    error.unknown_root = path == "root"
    return error


def _refuse(kind: str, what: str, path: str) -> NoReturn:
    raise EnvelopeError(f"{kind} {what}", path)
