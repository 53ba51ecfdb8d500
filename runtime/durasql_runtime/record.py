"""Stage 9: what one outcome decides, as one call of `df._record`.

In: rows from the machine, waits that were armed, signals that were taken, the instance's end or its
parking. Out: the parameters of a single statement, sent in the step's own transaction or alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from json.encoder import encode_basestring as quote

from durasql_runtime.journal import Attempt, Key, Row, State, UndoRow
from durasql_runtime.machine import Finish
from durasql_runtime.outcome import Done


@dataclass(frozen=True, slots=True)
class Record:
    """The text-format parameters of `df._record`."""

    params: Sequence[bytes | None]
    committed: Callable[[], None] | None = None
    """To be called when a record that travels with the next step is committed."""


@dataclass(slots=True)
class Batch:
    """Everything that is to be written together."""

    rows: list[Row] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    undos: list[UndoRow] = field(default_factory=list)
    signals: list[int] = field(default_factory=list)
    finish: Finish | None = None
    park: bool = False
    waits: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def drop(self, key: Key) -> None:
        """A branch lost: whatever its leaf has in the journal, or was to get in this very batch, is void."""
        self.rows = [row for row in self.rows if row.key != key or row.state is not State.WAITING]
        self.dropped.append(key[0])

    @property
    def void(self) -> list[int]:
        """Nodes whose waiting or started row goes; not those that wait again, in a loop's next generation."""
        waiting = {row.node for row in self.rows if row.state is State.WAITING}
        return [node for node in self.dropped if node not in waiting]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (
            self.rows
            or self.dropped
            or self.attempts
            or self.undos
            or self.signals
            or self.finish
            or self.park
        )


@dataclass(slots=True)
class Recorder:
    """Numbers the rows of one claimed instance and builds its records.

    `took`: seconds that leaves took of which the row is still to be written.
    """

    worker: bytes
    token: bytes
    instance_id: str
    epoch: int
    seq: int = 0
    took: dict[Key, float] = field(default_factory=dict)

    def build(self, batch: Batch) -> Record:
        """The record of a batch; rows get the next sequence numbers."""
        status, output = _end(batch.finish)
        return Record(
            (
                self.worker,
                self.token,
                self.instance_id.encode(),
                b"%d" % self.epoch,
                self._rows(batch.rows),
                _array(batch.void),
                _array(batch.signals),
                status,
                output,
                b"t" if batch.park else b"f",
                _array(batch.waits),
                _text_array(batch.names),
                self._policy(batch),
            )
        )

    def _policy(self, batch: Batch) -> bytes | None:
        """Failed tries and undos as one JSON object; most records have none."""
        if not batch.attempts and not batch.undos:
            return None
        undos = []
        for undo in batch.undos:
            self.seq += 1
            undos.append([undo.node, undo.gen, self.seq, undo.state.value, undo.names, undo.error])
        tries = [[a.node, a.gen, a.number, a.error, a.kept, a.delay] for a in batch.attempts]
        document = {"attempts": tries, "undos": undos}
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()

    def _rows(self, rows: Sequence[Row]) -> bytes:
        written = []
        for row in rows if len(rows) == 1 else _last_of_each(rows):
            self.seq += 1
            written.append(_row(row, self.seq, self.took.pop(row.key, None)))
        return f"[{','.join(written)}]".encode()


def _row(row: Row, seq: int, took: float | None) -> str:
    """One JSON object, only with the members that are not null. Every step writes some, so by hand."""
    text = f'{{"node":{row.node},"gen":"{row.gen}","seq":{seq},"state":"{row.state.value}"'
    if row.value is not None:
        text += f',"value":{quote(row.value)}'
    if row.refs:
        text += f',"refs":[{",".join(map(str, row.refs))}]'
    if row.columns is not None:
        text += f',"columns":{quote(row.columns)}'
    if row.names is not None:
        text += f',"names":{quote(row.names)}'
    if row.due is not None:
        text += f',"due":"{row.due.isoformat()}"'
    if row.delay is not None:
        text += f',"delay":{row.delay!r}'
    if row.attempts != 1:
        text += f',"attempts":{row.attempts}'
    if took is not None:
        text += f',"took":{took:.6f}'
    return text + "}"


def _last_of_each(rows: Iterable[Row]) -> Iterable[Row]:
    """A node has one row; when its loop comes round within one record only the latest counts."""
    latest: dict[int, Row] = {}
    for row in rows:
        earlier = latest.pop(row.node, None)
        if earlier is not None and earlier.gen == row.gen and row.names is None:
            row = replace(row, names=earlier.names)
        latest[row.node] = row
    return latest.values()


def _end(finish: Finish | None) -> tuple[bytes | None, bytes | None]:
    if finish is None:
        return None, None
    outcome = finish.outcome
    output = outcome.value if isinstance(outcome, Done) else outcome.message
    return finish.status.encode(), output.encode()


def _array(numbers: Sequence[int]) -> bytes | None:
    return b"{%s}" % b",".join(b"%d" % number for number in numbers) if numbers else None


def _text_array(texts: Sequence[str]) -> bytes | None:
    if not texts:
        return None
    quoted = ('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in texts)
    return ("{" + ",".join(quoted) + "}").encode()
