"""Lower `a ~> b`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durasql.bytecode.opcodes import Op
from durasql.syntax import ast

if TYPE_CHECKING:
    from durasql.lower.emit import Emitter


def lower_then(out: Emitter, node: ast.Then) -> None:
    """first; second; THEN"""
    out.lower(node.first)
    out.lower(node.second)
    out.emit(Op.THEN, node, bind=node.name)
