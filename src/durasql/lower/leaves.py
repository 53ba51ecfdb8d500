"""Lower the leaves: SQL, timers, HTTP, signals, break."""

from __future__ import annotations

from durasql.bytecode.opcodes import Op
from durasql.lower.emitter import Emitter
from durasql.lower.number import Numbered
from durasql.syntax.envelope import node_type


def lower_leaf(out: Emitter, at: Numbered) -> None:
    """One instruction, configured by its node. A break's name is kept and binds nothing."""
    out.emit(Op(node_type(at.node)), at, bind=at.node.name)
