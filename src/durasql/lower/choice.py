"""Lower `c ?> t !> e` and `df.if_rows`."""

from __future__ import annotations

from durasql.bytecode.opcodes import Op
from durasql.lower.emitter import Emitter
from durasql.lower.number import Numbered


def lower_if(out: Emitter, at: Numbered) -> None:
    """condition; IF else; then; JUMP end; else: otherwise; end: END_IF"""
    out.lower(at.below[2])
    _arms(out, at, out.emit(Op.IF, at))


def lower_if_rows(out: Emitter, at: Numbered) -> None:
    """IF_ROWS else; then; JUMP end; else: otherwise; end: END_IF"""
    _arms(out, at, out.emit(Op.IF_ROWS, at))


def _arms(out: Emitter, at: Numbered, test: int) -> None:
    then, otherwise = at.below[:2]
    out.lower(then)
    jump = out.emit(Op.JUMP, at)
    out.patch(test, pc=out.here)
    out.lower(otherwise)
    out.patch(jump, pc=out.here)
    out.emit(Op.END_IF, at, bind=at.node.name)
