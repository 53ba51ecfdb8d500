"""Stage 9: what one outcome decides, as one call of `df._record`.

In: rows from the machine, waits that were armed, signals that were taken, the instance's end or its
parking. Out: the parameters of a single statement, sent in the step's own transaction or alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from durasql_runtime.journal import Row
from durasql_runtime.outcome import Done, Failed, Outcome


@dataclass(frozen=True, slots=True)
class Record:
    """The twelve text-format parameters of `df._record`."""

    params: Sequence[bytes | None]


@dataclass(slots=True)
class Batch:
    """Everything that is to be written together."""

    rows: list[Row] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    signals: list[int] = field(default_factory=list)
    finish: Outcome | None = None
    park: bool = False
    waits: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.rows or self.dropped or self.signals or self.finish or self.park)


@dataclass(slots=True)
class Recorder:
    """Numbers the rows of one claimed instance and builds its records."""

    worker: bytes
    token: bytes
    instance_id: str
    epoch: int
    seq: int = 0

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
                _array(batch.dropped),
                _array(batch.signals),
                status,
                output,
                b"t" if batch.park else b"f",
                _array(batch.waits),
                _text_array(batch.names),
            )
        )

    def _rows(self, rows: Iterable[Row]) -> bytes:
        listed = []
        for row in rows:
            self.seq += 1
            listed.append(
                (
                    row.node, row.gen, self.seq, row.state.value, row.value, row.columns, row.names,
                    row.refs or None, row.due.isoformat() if row.due else None, row.delay, row.attempts,
                )
            )  # fmt: skip
        return json.dumps(listed, ensure_ascii=False, separators=(",", ":")).encode()


def _end(finish: Outcome | None) -> tuple[bytes | None, bytes | None]:
    if isinstance(finish, Done):
        return b"completed", finish.value.encode()
    if isinstance(finish, Failed):
        return b"failed", finish.message.encode()
    return None, None


def _array(numbers: Sequence[int]) -> bytes | None:
    return b"{%s}" % b",".join(b"%d" % number for number in numbers) if numbers else None


def _text_array(texts: Sequence[str]) -> bytes | None:
    if not texts:
        return None
    quoted = ('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in texts)
    return ("{" + ",".join(quoted) + "}").encode()
