"""Lower `c ?> t !> e` and `df.if_rows`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durasql.bytecode.opcodes import Op
from durasql.syntax import ast

if TYPE_CHECKING:
    from durasql.lower.emit import Emitter


def lower_if(out: Emitter, node: ast.If) -> None:
    """condition; IF else; then; JUMP end; else: otherwise; end: END_IF"""
    out.lower(node.condition)
    _arms(out, node, out.emit(Op.IF, node))


def lower_if_rows(out: Emitter, node: ast.IfRows) -> None:
    """IF_ROWS else; then; JUMP end; else: otherwise; end: END_IF"""
    _arms(out, node, out.emit(Op.IF_ROWS, node))


def _arms(out: Emitter, node: ast.If | ast.IfRows, test: int) -> None:
    out.lower(node.then)
    jump = out.emit(Op.JUMP, node)
    out.patch(test, pc=out.here)
    out.lower(node.otherwise)
    out.patch(jump, pc=out.here)
    out.emit(Op.END_IF, node, bind=node.name)
