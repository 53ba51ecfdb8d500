"""Lower `a ~> b`."""

from __future__ import annotations

from durasql.bytecode.opcodes import Op
from durasql.lower.emitter import Emitter
from durasql.lower.number import Numbered


def lower_then(out: Emitter, at: Numbered) -> None:
    """first; second; THEN"""
    first, second = at.below
    out.lower(first)
    out.lower(second)
    out.emit(Op.THEN, at, bind=at.node.name)
