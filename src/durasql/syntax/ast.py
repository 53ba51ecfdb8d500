"""The abstract syntax tree: one frozen class per construct of the language.

In: nothing. Out: the types that `build` and `envelope` make and that `check`, `lower`, `unparse` read.

A node's `span` points into the source it was parsed from and takes no part in equality, so a tree built
from text equals the tree read back from its envelope. `name` is the result name given by `|=>` or `df.as`.
Passes dispatch with `functools.singledispatch` or a `match` on these classes, in one place per pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeAlias

from durasql.source import Span
from durasql.syntax.textmap import TextMap

Json: TypeAlias = "bool | int | Decimal | str | list[Json] | dict[str, Json] | None"
"""A jsonb value; numbers that are no integers are `Decimal`, because PostgreSQL keeps their digits
(`1.10`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    name: str | None = None
    span: Span | None = field(default=None, compare=False)
    name_span: Span | None = field(default=None, compare=False)
    texts: tuple[tuple[str, TextMap], ...] = field(default=(), compare=False, repr=False)
    """Where the text arguments stand in the source, by the name of the parameter."""

    def text_map(self, argument: str) -> TextMap | None:
        """Where the text of one argument (`query`, `url`, `cron_expr`, …) stands in the source."""
        return next((found for name, found in self.texts if name == argument), None)

    def children(self) -> Iterator[Node]:
        """The nodes below, in graph order: left, right, condition, extras."""
        return iter(())


@dataclass(frozen=True, slots=True)
class Sql(_Node):
    """One SQL step. `body_span` covers the text inside its quotes."""

    query: str
    body_span: Span | None = field(default=None, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Then(_Node):
    """`first ~> second`"""

    first: Node
    second: Node

    def children(self) -> Iterator[Node]:
        yield self.first
        yield self.second


@dataclass(frozen=True, slots=True)
class If(_Node):
    """`condition ?> then !> otherwise`, `df.if(condition, then, otherwise)`

    Here and in `IfRows`, `Join` and `Loop`, `config` is the `query` of an envelope written by hand where no
    builder writes one. It means nothing and is kept so that the hash is the same in both fronts.
    """

    condition: Node
    then: Node
    otherwise: Node
    config: str | None = field(default=None, kw_only=True)

    def children(self) -> Iterator[Node]:
        yield self.then
        yield self.otherwise
        yield self.condition


@dataclass(frozen=True, slots=True)
class IfRows(_Node):
    """`df.if_rows('result_name', then, otherwise)`: true when the named result has rows."""

    result_name: str
    then: Node
    otherwise: Node
    config: str | None = field(default=None, kw_only=True)

    def children(self) -> Iterator[Node]:
        yield self.then
        yield self.otherwise


@dataclass(frozen=True, slots=True)
class Join(_Node):
    """`a & b`, `df.join3(a, b, c)`: two or more branches, all of them awaited."""

    branches: tuple[Node, ...]
    config: str | None = field(default=None, kw_only=True)

    def children(self) -> Iterator[Node]:
        return iter(self.branches)


@dataclass(frozen=True, slots=True)
class Race(_Node):
    """`left | right`: the first branch to finish decides."""

    left: Node
    right: Node

    def children(self) -> Iterator[Node]:
        yield self.left
        yield self.right


@dataclass(frozen=True, slots=True)
class Loop(_Node):
    """`@> body`, `df.loop(body, condition)`: body first, then the condition."""

    body: Node
    condition: Node | None = None
    continue_on_failure: bool = False
    config: str | None = field(default=None, kw_only=True)

    def children(self) -> Iterator[Node]:
        yield self.body
        if self.condition is not None:
            yield self.condition


@dataclass(frozen=True, slots=True)
class Retry(_Node):
    """`df.retry(body, …)`: again when it fails, after a pause that doubles. Times are in seconds."""

    body: Node
    max_attempts: int = 5
    backoff: int | Decimal = 1
    max_backoff: int | Decimal = 60
    jitter: bool = True
    errors: tuple[str, ...] | None = None
    """What is tried again, as `syntax.conditions` writes it; None for what can get better by itself."""

    def children(self) -> Iterator[Node]:
        yield self.body


@dataclass(frozen=True, slots=True)
class Timeout(_Node):
    """`df.timeout(body, '30 s')`"""

    body: Node
    seconds: int | Decimal

    def children(self) -> Iterator[Node]:
        yield self.body


@dataclass(frozen=True, slots=True)
class Catch(_Node):
    """`df.catch(body, handler, errors)`: the handler sees `$error` and its value replaces the body's."""

    body: Node
    handler: Node
    errors: tuple[str, ...] | None = None
    """What is caught; None for every failure."""

    def children(self) -> Iterator[Node]:
        yield self.body
        yield self.handler


@dataclass(frozen=True, slots=True)
class Finally(_Node):
    """`df.finally(body, cleanup)`: the cleanup runs however the body ends."""

    body: Node
    cleanup: Node

    def children(self) -> Iterator[Node]:
        yield self.body
        yield self.cleanup


@dataclass(frozen=True, slots=True)
class Undo(_Node):
    """`body <~ undo`, `df.with_undo(body, undo)`: the undo runs when a later step fails for good."""

    body: Node
    undo: Node

    def children(self) -> Iterator[Node]:
        yield self.body
        yield self.undo


@dataclass(frozen=True, slots=True)
class Break(_Node):
    """`df.break(value)`"""

    value: str | None = None


@dataclass(frozen=True, slots=True)
class Sleep(_Node):
    """`df.sleep(seconds)`"""

    seconds: int


@dataclass(frozen=True, slots=True)
class WaitSchedule(_Node):
    """`df.wait_for_schedule(cron_expr, timezone => 'Area/City')`; without a time zone, UTC."""

    cron_expr: str
    timezone: str | None = None


@dataclass(frozen=True, slots=True)
class Http(_Node):
    """`df.http(url, method, body, headers, timeout_seconds)`; the method is upper case."""

    url: str
    method: str = "POST"
    body: str | None = None
    headers: Json = None
    timeout_seconds: int = 30


@dataclass(frozen=True, slots=True)
class HttpMultipart(_Node):
    """`df.http_multipart(url, method, parts, headers, timeout_seconds)`"""

    url: str
    method: str = "POST"
    parts: Json = None
    headers: Json = None
    timeout_seconds: int = 30


@dataclass(frozen=True, slots=True)
class Signal(_Node):
    """`df.wait_for_signal(name, timeout_seconds)`"""

    signal_name: str
    timeout_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Opaque(_Node):
    """A leaf written by hand whose `query` no builder would have made.

    `df.start` accepts such an envelope; the step may fail when it runs, with the reason. Keeping the text as
    it is keeps the program's hash the same in both fronts.
    """

    node_type: str
    query: str


Node: TypeAlias = (
    Sql
    | Then
    | If
    | IfRows
    | Join
    | Race
    | Loop
    | Retry
    | Timeout
    | Catch
    | Finally
    | Undo
    | Break
    | Sleep
    | WaitSchedule
    | Http
    | HttpMultipart
    | Signal
    | Opaque
)


@dataclass(frozen=True, slots=True)
class SetVar:
    """`SELECT df.setvar('name', 'value');`"""

    name: str
    value: str
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Start:
    """`SELECT df.start(<expression>, 'label', database => …, transaction_mode => …);`

    The options are as they were written: durations are texts, which df.start reads.
    """

    graph: Node
    label: str | None = None
    database: str | None = None
    transaction_mode: str | None = None
    max_attempts: int | None = None
    backoff: str | None = None
    max_backoff: str | None = None
    on_failure: str | None = None
    timeout: str | None = None
    key: str | None = None
    on_conflict: str | None = None
    span: Span | None = field(default=None, compare=False)


Statement: TypeAlias = SetVar | Start


@dataclass(frozen=True, slots=True)
class Workflow:
    """A whole `.dsql` text: its statements in order. A bare expression is one `Start` without a label."""

    statements: tuple[Statement, ...]

    @property
    def starts(self) -> tuple[Start, ...]:
        """The workflows this text starts."""
        return tuple(item for item in self.statements if isinstance(item, Start))


def walk(node: Node) -> Iterator[Node]:
    """Every node of the tree in pre-order, the order in which nodes are numbered."""
    stack: list[Node] = [node]
    while stack:
        current = stack.pop()
        yield current
        stack.extend(reversed(list(current.children())))
