"""Lower `a & b` and `a | b`: every branch is a strand of its own that stops at END."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durasql.bytecode.opcodes import Op
from durasql.syntax import ast

if TYPE_CHECKING:
    from durasql.lower.emit import Emitter


def lower_join(out: Emitter, node: ast.Join) -> None:
    """JOIN b1 b2 … -> next; b1: …; END; b2: …; END; next:"""
    _fork(out, Op.JOIN, node, node.branches)


def lower_race(out: Emitter, node: ast.Race) -> None:
    """RACE left right -> next; left: …; END; right: …; END; next:"""
    _fork(out, Op.RACE, node, (node.left, node.right))


def _fork(out: Emitter, op: Op, node: ast.Join | ast.Race, branches: tuple[ast.Node, ...]) -> None:
    fork = out.emit(op, node, bind=node.name)
    starts = []
    for branch in branches:
        starts.append(out.here)
        out.lower(branch)
        out.emit(Op.END, branch)
    out.patch(fork, pcs=tuple(starts), pc=out.here)
