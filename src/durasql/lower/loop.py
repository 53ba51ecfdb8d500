"""Lower `@> body` and `df.loop(body, condition)`."""

from __future__ import annotations

from durasql.bytecode.opcodes import Op
from durasql.lower.emitter import Emitter
from durasql.lower.number import Numbered
from durasql.syntax import ast


def lower_loop(out: Emitter, at: Numbered) -> None:
    """LOOP exit; body; [WHILE; condition;] NEXT loop; exit:

    A loop that goes on after a failure has its body as a strand: TRY body -> after; body: …; END; after:
    """
    loop = out.emit(Op.LOOP, at, bind=at.node.name)
    if isinstance(at.node, ast.Loop) and at.node.continue_on_failure:
        attempt = out.emit(Op.TRY, at)
        out.lower(at.below[0])
        out.emit(Op.END, at.below[0])
        out.patch(attempt, pcs=(attempt + 1,), pc=out.here)
    else:
        out.lower(at.below[0])
    for condition in at.below[1:]:
        out.emit(Op.WHILE, at)
        out.lower(condition)
    out.emit(Op.NEXT, at, pc=loop)
    out.patch(loop, pc=out.here)
