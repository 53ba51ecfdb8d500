"""Lower `a & b`, `a | b` and the guards: every child is a strand of its own that stops at END."""

from __future__ import annotations

from durasql.bytecode.opcodes import Op
from durasql.lower.emitter import Emitter
from durasql.lower.number import Numbered
from durasql.syntax.envelope import node_type


def lower_join(out: Emitter, at: Numbered) -> None:
    """JOIN b1 b2 … -> next; b1: …; END; b2: …; END; next:"""
    _fork(out, Op.JOIN, at)


def lower_race(out: Emitter, at: Numbered) -> None:
    """RACE left right -> next; left: …; END; right: …; END; next:"""
    _fork(out, Op.RACE, at)


def lower_guard(out: Emitter, at: Numbered) -> None:
    """RETRY body -> next; body: …; END; next: and with a second strand for CATCH, FINALLY and UNDO"""
    _fork(out, Op(node_type(at.node)), at)


def _fork(out: Emitter, op: Op, at: Numbered) -> None:
    fork = out.emit(op, at, bind=at.node.name)
    starts = []
    for branch in at.below:
        starts.append(out.here)
        out.lower(branch)
        out.emit(Op.END, branch)
    out.patch(fork, pcs=tuple(starts), pc=out.here)
