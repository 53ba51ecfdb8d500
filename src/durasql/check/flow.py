"""Which names are bound where, and which steps can be reached: one walk that several passes read.

In: a graph. Out: `Flow`: for every node the names that may and must be bound when it begins (with the nodes
that bind them), and whether it can begin at all. The rules are those of the runtime: branches start with a
copy of the names, a join merges all branches, a race only the winner's, a loop runs its body at least once
and keeps its names. What a body that failed has bound is lost; a handler, a cleanup after a failure and an
undo know the failure as `$error`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import reduce
from typing import Final

from durasql.syntax import ast

ERROR: Final = "error"
"""The name of a failure where it is handled."""
FAILURE: Final = ast.Sql(
    "SELECT '' AS message, '' AS sqlstate, '' AS detail, '' AS hint, '' AS node, 1 AS attempts, "
    "500 AS http_status"
)
"""Stands for what binds `$error`: its one row has these columns."""


@dataclass(frozen=True, slots=True)
class Names:
    """`bound`: the nodes that may have bound a name. `certain`: the names bound on every way here."""

    bound: dict[str, tuple[ast.Node, ...]] = field(default_factory=dict)
    certain: frozenset[str] = frozenset()

    def bind(self, name: str, node: ast.Node) -> Names:
        """After `node` has stored its result; an earlier value is gone."""
        return Names({**self.bound, name: (node,)}, self.certain | {name})

    def either(self, other: Names) -> Names:
        """Where two ways meet and one of them was taken."""
        return Names(_merged(self.bound, other.bound), self.certain & other.certain)

    def both(self, other: Names) -> Names:
        """Where two branches meet and both were taken."""
        return Names(_merged(self.bound, other.bound), self.certain | other.certain)

    def possibly(self, found: dict[str, tuple[ast.Node, ...]]) -> Names:
        """With names that an earlier iteration may have bound."""
        return Names(_merged(self.bound, found), self.certain)


def _merged(
    one: dict[str, tuple[ast.Node, ...]], other: dict[str, tuple[ast.Node, ...]]
) -> dict[str, tuple[ast.Node, ...]]:
    if not other:
        return one
    out = dict(one)
    for name, nodes in other.items():
        known = {id(node) for node in out.get(name, ())}
        out[name] = (*out.get(name, ()), *(node for node in nodes if id(node) not in known))
    return out


@dataclass(slots=True)
class Flow:
    """The result of the walk. Nodes are keyed by identity; one that cannot be reached has no entry in
    `before`."""

    before: dict[int, Names] = field(default_factory=dict)
    dead: list[tuple[ast.Node, str]] = field(default_factory=list)
    """Steps that can never begin, with the reason; nothing below them is listed."""
    endless: dict[int, ast.Loop] = field(default_factory=dict)
    """Loops that nothing ends from the inside."""

    def kill(self, node: ast.Node, *, after: ast.Node) -> None:
        """Note that a step never begins, unless the step before it in the same sequence never does either."""
        if isinstance(after, ast.Then) and self.names(after.second) is None:
            return
        self.dead.append((node, self._why(after)))

    def _why(self, before: ast.Node) -> str:
        if any(id(node) in self.endless for node in ast.walk(before)):
            return "the loop before it never ends"
        return "every way before it ends in df.break()"

    def names(self, node: ast.Node) -> Names | None:
        """The names when the node begins, None when it never does."""
        return self.before.get(id(node))


@dataclass(frozen=True, slots=True)
class _Exit:
    """How a node can be left: with these names (None: never), or by a break with those."""

    names: Names | None
    breaks: tuple[Names, ...] = ()


def flow_of(root: ast.Node) -> Flow:
    """Walk one graph."""
    flow = Flow()
    _walk(flow, root, Names())
    return flow


def _walk(flow: Flow, node: ast.Node, names: Names) -> _Exit:
    """One node; at most 256 levels deep, with one frame a level."""
    flow.before[id(node)] = names
    left: _Exit
    match node:
        case ast.Break():
            return _Exit(None, (names,))
        case ast.Then(first=first, second=second):
            left = _walk(flow, first, names)
            if left.names is None:
                flow.kill(second, after=first)
            else:
                after = _walk(flow, second, left.names)
                left = _Exit(after.names, left.breaks + after.breaks)
        case ast.If(condition=condition, then=then, otherwise=otherwise):
            judged = _walk(flow, condition, names)
            if judged.names is None:
                flow.kill(then, after=condition)
                left = judged
            else:
                arms = [_walk(flow, arm, judged.names) for arm in (then, otherwise)]
                left = _Exit(_one_of(arms), judged.breaks + _breaks(arms))
        case ast.IfRows(then=then, otherwise=otherwise):
            arms = [_walk(flow, arm, names) for arm in (then, otherwise)]
            left = _Exit(_one_of(arms), _breaks(arms))
        case ast.Race(left=one, right=other):
            arms = [_walk(flow, arm, names) for arm in (one, other)]
            left = _Exit(_one_of(arms), _breaks(arms))
        case ast.Join(branches=branches):
            arms = [_walk(flow, branch, names) for branch in branches]
            ends = [arm.names for arm in arms if arm.names is not None]
            left = _Exit(reduce(Names.both, ends) if len(ends) == len(arms) else None, _breaks(arms))
        case ast.Loop(body=body, condition=condition):
            left = _loop(flow, node, body, condition, names)
        case ast.Retry(body=body) | ast.Timeout(body=body):
            left = _walk(flow, body, names)
        case ast.Catch(body=body, handler=handler):
            arms = [_walk(flow, body, names), _walk(flow, handler, names.bind(ERROR, FAILURE))]
            left = _Exit(_forgotten(_one_of(arms), names), _breaks(arms))
        case ast.Finally(body=body, cleanup=cleanup):
            left = _finally(flow, body, cleanup, names)
        case ast.Undo(body=body, undo=undo):
            left = _walk(flow, body, names)
            if left.names is None:
                flow.kill(undo, after=body)
            else:
                _walk(flow, undo, left.names.bind(ERROR, FAILURE))
        case _:
            left = _Exit(names)
    if node.name is not None and left.names is not None:
        return _Exit(left.names.bind(node.name, node), left.breaks)
    return left


def _finally(flow: Flow, body: ast.Node, cleanup: ast.Node, names: Names) -> _Exit:
    """The cleanup follows a body that completed, with its names, and one that failed, without; both with
    `$error`, whose columns are NULL where nothing failed.
    """
    done = _walk(flow, body, names)
    failed = names.bind(ERROR, FAILURE)
    cleaned = _walk(
        flow, cleanup, failed if done.names is None else done.names.bind(ERROR, FAILURE).either(failed)
    )
    ends = None
    if done.names is not None and cleaned.names is not None:
        ends = _forgotten(done.names.both(cleaned.names), names)
    return _Exit(ends, done.breaks + cleaned.breaks)


def _forgotten(names: Names | None, before: Names) -> Names | None:
    """Without `$error`, which is known only where the failure is handled."""
    if names is None or FAILURE not in names.bound.get(ERROR, ()):
        return names
    bound = {name: nodes for name, nodes in names.bound.items() if name != ERROR}
    if kept := tuple(node for node in names.bound[ERROR] if node is not FAILURE):
        bound[ERROR] = kept
    return Names(bound, names.certain - {ERROR} | before.certain & {ERROR})


def _loop(flow: Flow, loop: ast.Loop, body: ast.Node, condition: ast.Node | None, names: Names) -> _Exit:
    again = names.possibly(bound_below(loop))
    exits: list[Names] = []
    done = _walk(flow, body, again)
    if loop.continue_on_failure and done.names is not None:
        done = _Exit(done.names.either(again), done.breaks)
    breaks = list(done.breaks)
    if condition is not None:
        if done.names is None:
            flow.kill(condition, after=body)
        else:
            judged = _walk(flow, condition, done.names)
            breaks.extend(judged.breaks)
            exits.extend([judged.names] if judged.names is not None else [])
    exits.extend(breaks)
    if not exits:
        flow.endless[id(loop)] = loop
    return _Exit(reduce(Names.either, exits) if exits else None)


def _one_of(exits: Iterable[_Exit]) -> Names | None:
    ends = [item.names for item in exits if item.names is not None]
    return reduce(Names.either, ends) if ends else None


def _breaks(exits: Iterable[_Exit]) -> tuple[Names, ...]:
    return tuple(names for item in exits for names in item.breaks)


def bound_below(root: ast.Node) -> dict[str, tuple[ast.Node, ...]]:
    """The names that steps below `root` bind, with those steps; what an undo binds stays in it."""
    found: dict[str, tuple[ast.Node, ...]] = {}
    for node in on_the_way(root):
        if node is not root and node.name is not None and not isinstance(node, ast.Break):
            found[node.name] = (*found.get(node.name, ()), node)
    return found


def on_the_way(root: ast.Node) -> Iterator[ast.Node]:
    """Every node in pre-order, without undo steps, which run only when the way is given up."""
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        below = [node.body] if isinstance(node, ast.Undo) else list(node.children())
        stack.extend(reversed(below))
