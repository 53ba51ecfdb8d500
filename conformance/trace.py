"""One run through the public SQL interface of schema df, as text without ids and times.

In: a session of a role that may use df, and a case. Out: how each instance ended and what its nodes did.
Nothing here is durasql's own: another implementation of the interface can be put behind the session.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import psycopg

from conformance.cases import Case
from conformance.postgresql import Session, expression_of, is_script

PATIENCE: Final = 60
"""Seconds until a run is given up."""

_ENDS: Final = ("completed", "failed", "cancelled", "compensated", "stuck")


def trace(user: Session, case: Case) -> str:
    """Run a case and tell how it went."""
    user.execute("SELECT df.clearvars()")
    return "\n".join(followed(user, case.directives, id_) for id_ in _start(user, case.text))


def _start(user: Session, text: str) -> list[str]:
    """Start what the text starts; the ids of the instances."""
    if not is_script(text):
        return [_one(user, f"SELECT df.start(({expression_of(text)}\n))")]
    cursor = user.execute(text.encode())
    found: list[str] = []
    while True:
        assert cursor.description is not None
        for row in cursor.fetchall():
            found += [value for value in row if _is_instance(user, value)]
        if not cursor.nextset():
            return found


def _is_instance(user: Session, value: object) -> bool:
    return bool(_one(user, "SELECT EXISTS (SELECT FROM df.instances WHERE id = %s)", (str(value),)))


def followed(user: Session, directives: Sequence[tuple[str, str]], id_: str) -> str:
    """Send what the directives say, wait for the end, and describe it."""
    for word, argument in directives:
        if word == "signal":
            name, _, data = argument.partition(" ")
            user.execute("SELECT df.signal(%s, %s, %s)", (id_, name, data))
        elif word == "cancel":
            _until(user, id_, ("running", *_ENDS))
            user.execute("SELECT df.cancel(%s, %s)", (id_, argument))
    _until(user, id_, _ENDS)
    return "\n".join(_described(user, id_)) + "\n"


def _until(user: Session, id_: str, states: tuple[str, ...]) -> None:
    """Ask again and again: df.await_instance keeps a snapshot, and CREATE INDEX CONCURRENTLY waits for it."""
    last = time.monotonic() + PATIENCE
    while (status := _one(user, "SELECT df.status(%s)", (id_,))) not in states:
        assert time.monotonic() < last, f"still {status}"
        time.sleep(0.005)


def _described(user: Session, id_: str) -> Iterator[str]:
    yield f"status  {_one(user, 'SELECT df.status(%s)', (id_,))}"
    yield f"result  {_one(user, 'SELECT df.result(%s)', (id_,))}"
    rows = user.execute(
        "SELECT node_id, node_type, query, result_name, left_node, right_node, inferred_status, result "
        "FROM df.instance_nodes(%s)",
        (id_,),
    ).fetchall()
    nodes = {row[0]: row for row in rows}
    root = _one(user, "SELECT root_node FROM df.instances WHERE id = %s", (id_,))
    stack = [(root, 0)]
    while stack:
        at, depth = stack.pop()
        _, kind, _, name, *_, status, result = nodes[at]
        shown = f"{'  ' * depth}{kind}{f' |=> {name}' if name else ''}"
        yield f"{shown:<24} {status:<10} {result or ''}".rstrip()
        stack += [(child, depth + 1) for child in reversed(_children(nodes[at]))]


def _children(node: tuple[Any, ...]) -> list[str]:
    """The ids below a node: its branches, its condition, further branches."""
    _, kind, query, _, left, right, *_ = node
    config = json.loads(query) if query and kind in ("IF", "LOOP", "JOIN") else {}
    below = [left, right, config.get("condition_node"), *config.get("extra_nodes", [])]
    return [child for child in below if child is not None]


def _one(user: Session, query: str, parameters: tuple[object, ...] | None = None) -> Any:
    row = user.execute(query.encode(), parameters).fetchone()
    assert row is not None
    return row[0]


def connect(dsn: str) -> psycopg.Connection[Any]:
    """A session for runs."""
    return psycopg.connect(dsn, autocommit=True)
