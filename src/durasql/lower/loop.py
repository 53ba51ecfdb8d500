"""Lower `@> body` and `df.loop(body, condition)`."""

from __future__ import annotations

from durasql.bytecode.opcodes import Op
from durasql.lower.emitter import Emitter
from durasql.lower.number import Numbered


def lower_loop(out: Emitter, at: Numbered) -> None:
    """LOOP exit; body; [WHILE; condition;] NEXT loop; exit:"""
    loop = out.emit(Op.LOOP, at, bind=at.node.name)
    out.lower(at.below[0])
    for condition in at.below[1:]:
        out.emit(Op.WHILE, at)
        out.lower(condition)
    out.emit(Op.NEXT, at, pc=loop)
    out.patch(loop, pc=out.here)
