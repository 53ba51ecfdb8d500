"""Lower `a ~> b`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durasql.bytecode.opcodes import Op

if TYPE_CHECKING:
    from durasql.lower.emit import Emitter
    from durasql.lower.number import Numbered


def lower_then(out: Emitter, at: Numbered) -> None:
    """first; second; THEN"""
    first, second = at.below
    out.lower(first)
    out.lower(second)
    out.emit(Op.THEN, at, bind=at.node.name)
