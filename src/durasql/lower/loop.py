"""Lower `@> body` and `df.loop(body, condition)`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durasql.bytecode.opcodes import Op
from durasql.syntax import ast

if TYPE_CHECKING:
    from durasql.lower.emit import Emitter


def lower_loop(out: Emitter, node: ast.Loop) -> None:
    """LOOP exit; body; [WHILE; condition;] NEXT loop; exit:"""
    loop = out.emit(Op.LOOP, node, bind=node.name)
    out.lower(node.body)
    if node.condition is not None:
        out.emit(Op.WHILE, node)
        out.lower(node.condition)
    out.emit(Op.NEXT, node, pc=loop)
    out.patch(loop, pc=out.here)
