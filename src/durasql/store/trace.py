"""A run as executed instructions. In: an instance's id. Out: its `Trace`, in the order of recording.

The journal keeps one row for each node and the current generation of the loops around it, so of a loop the
latest generation is seen. Rows of composites stand for the instruction that ended them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from durasql.bytecode.codec import decode
from durasql.bytecode.guarantee import guarantee_of
from durasql.bytecode.opcodes import OPCODES, Op
from durasql.bytecode.program import Program
from durasql.errors import NotFound
from durasql.store.instances import Operation, Query

_ENDS: Final = {"IF": Op.END_IF, "LOOP": Op.NEXT, "THEN": Op.THEN, "JOIN": Op.JOIN, "RACE": Op.RACE}
"""The instruction after which a composite's row is written, by the node's type."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One executed instruction. `at` is when it was recorded, `due` the deadline of a wait, `took` how many
    seconds a step or a wait took, None where that means nothing.

    `generation` has the counters of the loops around it; `value` is JSON text, or an error's message.
    """

    pc: int
    op: str
    node: str
    generation: str
    state: str
    at: datetime
    attempts: int
    guarantee: str
    bind: str | None
    value: str | None
    due: datetime | None
    took: float | None


@dataclass(frozen=True, slots=True)
class Trace:
    """One run: whose it is, its program and what was executed of it."""

    id: str
    status: str
    label: str | None
    database: str | None
    created_at: datetime
    program: Program
    entries: tuple[Entry, ...]


def trace(id: str, compiled: Callable[[str], Program]) -> Operation[Trace]:
    """The trace of one instance; `compiled` makes its program if no worker has. Raises NotFound."""
    rows = yield Query("run", {"id": id}, "trace")
    if not rows:
        raise NotFound(f"instance {id!r} not found", hint="A role sees its own instances: durasql list")
    id, status, label, database, created_at, graph, code = rows[0]
    program = decode(code) if code else compiled(graph)
    journal = yield Query("journal", {"id": id}, "trace")
    places = _places(program)
    entries = tuple(_entry(program, places, row) for row in journal)
    return Trace(id, status, label, database, created_at, program, entries)


def _places(program: Program) -> dict[int, int]:
    """The pc that a node's row in the journal stands for."""
    found: dict[int, int] = {}
    for pc, instruction in enumerate(program.code):
        node = program.nodes[instruction.node]
        if (
            instruction.op is _ENDS.get(node.type)
            or OPCODES[instruction.op].leaf
            or instruction.op is Op.BREAK
        ):
            found[instruction.node] = pc
        else:  # a guard is where it begins; what ends elsewhere comes later and wins
            found.setdefault(instruction.node, pc)
    return found


def _entry(program: Program, places: dict[int, int], row: Any) -> Entry:
    _, node, generation, state, value, attempts, at, due, took = row
    pc = places[node]
    instruction = program.code[pc]
    guarantee = str(guarantee_of(instruction, program.nodes[node]))
    bind = program.nodes[node].name if state == "done" else None
    shown = _message(value) if state == "failed" else value
    op = instruction.op.value
    over = took if state in ("done", "failed") else None
    return Entry(pc, op, f"{node:08x}", generation, state, at, attempts, guarantee, bind, shown, due, over)


def _message(value: str | None) -> str | None:
    """What a failed step said; how it is stored is the engine's business."""
    try:
        return str(json.loads(value or "")["message"])
    except (ValueError, KeyError, TypeError):
        return value
