"""The journal as the machine sees it: rows in, rows out. No database here.

One row per node and current loop generation (`df.journal`). Replay reads leaf rows in `seq` order and
LOOP rows by position; rows of composites are for people and views.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from durasql_runtime.outcome import Columns, Done, Failed, Outcome

Key: TypeAlias = tuple[int, str]
"""A node number and the generation it runs in: the identity of one execution."""


class State(StrEnum):
    """States of a journal row, guarded by a CHECK in the table."""

    WAITING = "waiting"
    STARTED = "started"
    LOOPING = "looping"
    DONE = "done"
    FAILED = "failed"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Row:
    """One journal row. LOOP rows carry `names` into their generation; `delay` (seconds from the
    database's now) becomes `due` when the row is written.
    """

    node: int
    gen: str
    state: State
    value: str | None = None
    refs: tuple[int, ...] = ()
    columns: str | None = None
    names: str | None = None
    due: datetime | None = None
    delay: float | None = None
    seq: int = 0
    attempts: int = 1

    @property
    def key(self) -> Key:
        """Which execution this row is about."""
        return self.node, self.gen


@dataclass(frozen=True, slots=True)
class Attempt:
    """A try that failed and is followed by another, `delay` seconds from now (None: not of its own): one row
    of df.attempts. Of one node the latest `kept` stay.
    """

    node: int
    gen: str
    number: int
    error: str
    kept: int
    delay: float | None = None


class UndoState(StrEnum):
    """States of a row of df.undos."""

    READY = "ready"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class UndoRow:
    """Something that completed and can be undone: one row of df.undos. `seq` is when it completed, `settled`
    when its undo was over; the same numbers as the journal's.
    """

    node: int
    gen: str
    state: UndoState
    names: str | None = None
    error: str | None = None
    seq: int = 0
    settled: int | None = None

    @property
    def key(self) -> Key:
        """Which execution this row is about."""
        return self.node, self.gen


@dataclass(frozen=True, slots=True)
class Names:
    """The results bound inside a loop so far, as its row carries them into the generation it is in."""

    values: Mapping[str, Done]

    def to_json(self) -> str:
        """`{"name":{"v":<json text>,"c":<columns>}, …}`"""
        document = {
            name: {"v": done.value, **({"c": done.columns} if done.columns else {})}
            for name, done in self.values.items()
        }
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Names:
        """The inverse of `to_json`."""
        document = json.loads(text)
        return cls({name: Done(entry["v"], _columns(entry.get("c"))) for name, entry in document.items()})


def outcome_of(row: Row) -> Outcome:
    """The outcome that a finished leaf's row records."""
    if row.state is State.FAILED:
        return Failed.from_json(row.value or "{}")
    columns = _columns(json.loads(row.columns)) if row.columns else None
    return Done(row.value or "null", columns)


def row_of(key: Key, outcome: Outcome) -> Row:
    """The row that records a leaf's outcome."""
    node, gen = key
    if isinstance(outcome, Failed):
        return Row(node, gen, State.FAILED, outcome.to_json())
    columns = json.dumps(outcome.columns, ensure_ascii=False) if outcome.columns else None
    return Row(node, gen, State.DONE, outcome.value, columns=columns)


def _columns(raw: Iterable[Iterable[str]] | None) -> Columns | None:
    return tuple((str(name), str(kind)) for name, kind in raw) if raw else None
