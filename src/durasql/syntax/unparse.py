"""AST to canonical text: `parse(unparse(x)) == x` for every tree.

In: a node or a workflow. Out: text in the layout of `fmt`. Operators are used where there is one;
parentheses stand wherever PostgreSQL's equal precedence could surprise a reader, so the checker finds no
trap in what this prints. Envelopes that no text could build (wide joins, hand-written configurations) are
printed as string literals, which builders read back.
"""

from __future__ import annotations

from decimal import Decimal
from functools import singledispatch
from itertools import chain, count
from typing import Final

from durasql.syntax import ast, durations, jsontext
from durasql.syntax.envelope import encode, looks_like_envelope
from durasql.syntax.fmt import format_source
from durasql.syntax.reading import looks_like_dsl
from durasql.syntax.signatures import BUILDERS, START, Parameter

_CHAINS: Final = (ast.Then, ast.Join, ast.Race)
_INFIX: Final = (*_CHAINS, ast.If, ast.Undo)


def unparse(node: ast.Node) -> str:
    """The canonical text of one workflow expression."""
    return format_source(_root(node))


def unparse_workflow(workflow: ast.Workflow) -> str:
    """The canonical text of a whole workflow: a bare expression where one is enough."""
    match workflow.statements:
        case [ast.Start(graph) as start] if start == ast.Start(graph):
            return unparse(graph)
    return format_source("\n".join(_statement(item) for item in workflow.statements))


def _statement(item: ast.Statement) -> str:
    if isinstance(item, ast.SetVar):
        return f"SELECT df.setvar({quote(item.name)}, {quote(item.value)});"
    arguments = [_root(item.graph)]
    if item.label is not None:
        arguments.append(quote(item.label))
    for parameter in START[2:]:
        value = getattr(item, parameter.name)
        if value is not None:
            arguments.append(f"{parameter.name} => {quote(value) if isinstance(value, str) else value}")
    return f"SELECT df.start({', '.join(arguments)});"


def _root(node: ast.Node) -> str:
    """As any step, but a lone text must not be taken for operator language."""
    if isinstance(node, ast.Sql) and node.name is None and looks_like_dsl(node.query):
        return f"df.sql({quote(node.query)})"
    return _text(node)


def _text(root: ast.Node) -> str:
    """The text of a tree, from the leaves up, without recursion."""
    order: list[ast.Node] = []
    stack = [root]
    while stack:
        node = stack.pop()
        order.append(node)
        if not _as_literal(node):
            stack.extend(node.children())
    done: dict[int, str] = {}
    for node in reversed(order):
        below = [] if _as_literal(node) else [(child, done[id(child)]) for child in node.children()]
        done[id(node)] = _one(node, below)
    return done[id(root)]


Below = list[tuple[ast.Node, str]]


def _one(node: ast.Node, below: Below) -> str:
    """One node with its name."""
    if _as_literal(node):
        return quote(encode(node))
    text = _bare(node, below)
    if node.name is None:
        return text
    simple = not isinstance(node, _INFIX)
    return f"{text if simple else f'({text})'} |=> {quote(node.name)}"


def _as_literal(node: ast.Node) -> bool:
    """Whether only an envelope can say it."""
    match node:
        case ast.Opaque():
            return True
        case ast.Join(branches=branches, config=config):
            return len(branches) > 3 or config is not None
        case ast.If(config=config) | ast.IfRows(config=config) | ast.Loop(config=config):
            return config is not None
    return False


def _right(child: tuple[ast.Node, str]) -> str:
    """A right operand; a loop there needs no parentheses, it ends where its operand ends."""
    node, text = child
    return text if _is_prefixed(node) and node.name is None else _operand(child)


def _is_prefixed(node: ast.Node) -> bool:
    """Whether it is written with `@>` rather than as a call."""
    return isinstance(node, ast.Loop) and node.condition is None and not node.continue_on_failure


def _operand(child: tuple[ast.Node, str], *, same: type[ast.Node] | None = None) -> str:
    """A left operand, in parentheses unless it is a single thing or the same chain going on."""
    node, text = child
    if _as_literal(node) and node.name is None:
        return text
    if same is not None and isinstance(node, same) and node.name is None:
        return text
    three = isinstance(node, ast.Join) and len(node.branches) == 3
    composite = (isinstance(node, _INFIX) and not three) or _is_prefixed(node)
    if composite or (node.name is not None and not _as_literal(node) and same is None):
        return f"({text})"
    return text


@singledispatch
def _bare(node: ast.Node, below: Below) -> str:
    raise TypeError(type(node).__name__)


@_bare.register
def _sql(node: ast.Sql, below: Below) -> str:
    return f"df.sql({quote(node.query)})" if looks_like_envelope(node.query) else quote(node.query)


@_bare.register
def _then(node: ast.Then, below: Below) -> str:
    return f"{_operand(below[0], same=ast.Then)} ~> {_right(below[1])}"


@_bare.register
def _join(node: ast.Join, below: Below) -> str:
    if len(below) == 3:
        return f"df.join3({', '.join(text for _, text in below)})"
    first = below[0][0]
    wide = isinstance(first, ast.Join) and len(first.branches) == 3
    return f"{_operand(below[0], same=None if wide else ast.Join)} & {_right(below[1])}"


@_bare.register
def _race(node: ast.Race, below: Below) -> str:
    return f"{_operand(below[0], same=ast.Race)} | {_right(below[1])}"


@_bare.register
def _if(node: ast.If, below: Below) -> str:
    return f"{_operand(below[2])} ?> {_right(below[0])} !> {_right(below[1])}"


@_bare.register
def _if_rows(node: ast.IfRows, below: Below) -> str:
    return f"df.if_rows({quote(node.result_name)}, {below[0][1]}, {below[1][1]})"


@_bare.register
def _loop(node: ast.Loop, below: Below) -> str:
    if _is_prefixed(node):
        return f"@> {_operand(below[0])}"
    arguments = [text for _, text in below]
    if node.continue_on_failure:
        arguments.append("continue_on_failure => true")
    return f"df.loop({', '.join(arguments)})"


@_bare.register
def _undo(node: ast.Undo, below: Below) -> str:
    return f"{_operand(below[0], same=ast.Undo)} <~ {_right(below[1])}"


@_bare.register
def _guard(node: ast.Retry | ast.Timeout | ast.Catch | ast.Finally, below: Below) -> str:
    builder = type(node).__name__.lower()
    arguments = [text for _, text in below]
    if isinstance(node, ast.Timeout):
        arguments.append(quote(durations.text(node.seconds)))
    for parameter in BUILDERS[builder].parameters:
        value = None if parameter.required else getattr(node, parameter.name)
        if not parameter.required and value != parameter.default_value:
            arguments.append(f"{parameter.name} => {_option(parameter, value)}")
    return f"df.{builder}({', '.join(arguments)})"


def _option(parameter: Parameter, value: object) -> str:
    """An argument as a text that is read back to the value."""
    if isinstance(value, tuple):
        return quote(", ".join(value))
    if parameter.read is not None and isinstance(value, int | Decimal):
        return quote(durations.text(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


@_bare.register
def _break(node: ast.Break, below: Below) -> str:
    return "df.break()" if node.value is None else f"df.break({quote(node.value)})"


@_bare.register
def _sleep(node: ast.Sleep, below: Below) -> str:
    return f"df.sleep({node.seconds})"


@_bare.register
def _schedule(node: ast.WaitSchedule, below: Below) -> str:
    zone = "" if node.timezone is None else f", timezone => {quote(node.timezone)}"
    return f"df.wait_for_schedule({quote(node.cron_expr)}{zone})"


@_bare.register
def _signal(node: ast.Signal, below: Below) -> str:
    timeout = "" if node.timeout_seconds is None else f", {node.timeout_seconds}"
    return f"df.wait_for_signal({quote(node.signal_name)}{timeout})"


@_bare.register
def _http(node: ast.Http, below: Below) -> str:
    body = [] if node.body is None else [f"body => {quote(node.body)}"]
    return _request("df.http", node, body)


@_bare.register
def _multipart(node: ast.HttpMultipart, below: Below) -> str:
    return _request("df.http_multipart", node, [f"parts => {_json(node.parts)}"])


def _request(function: str, node: ast.Http | ast.HttpMultipart, middle: list[str]) -> str:
    arguments = [quote(node.url), *([] if node.method == "POST" else [quote(node.method)]), *middle]
    if node.headers is not None:
        arguments.append(f"headers => {_json(node.headers)}")
    if node.timeout_seconds != 30:
        arguments.append(f"timeout_seconds => {node.timeout_seconds}")
    return f"{function}({', '.join(arguments)})"


def _json(value: ast.Json) -> str:
    return quote(jsontext.spaced(value)) + "::jsonb"


def quote(text: str) -> str:
    """A string literal: plain where it reads well, dollar quotes where the text has quotes or several
    lines."""
    if "'" not in text and "\n" not in text:
        return f"'{text}'"
    if text.endswith("$"):  # the closing tag would begin one character early
        return "'" + text.replace("'", "''") + "'"
    tags = chain(["$$", "$sql$"], (f"$q{number}$" for number in count(1)))
    tag = next(tag for tag in tags if tag not in text)
    return f"{tag}{text}{tag}"
