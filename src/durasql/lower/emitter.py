"""What the lowering functions write into: the code so far, and the way down to a child."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from durasql.bytecode.opcodes import Op
from durasql.bytecode.program import Instruction
from durasql.lower.number import Numbered


class Emitter:
    """The code so far, and the lowering function of each construct."""

    def __init__(self, lowering: Mapping[type[Any], Lowering]) -> None:
        self.code: list[Instruction] = []
        self._lowering = lowering

    @property
    def here(self) -> int:
        """The pc of the next instruction."""
        return len(self.code)

    def emit(self, op: Op, at: Numbered, **operands: Any) -> int:
        """Append an instruction of a node; returns its pc so that targets can be patched."""
        self.code.append(Instruction(op, at.number, **operands))
        return len(self.code) - 1

    def patch(self, pc: int, /, **operands: Any) -> None:
        """Fill in what was not known when the instruction was emitted."""
        self.code[pc] = replace(self.code[pc], **operands)

    def lower(self, at: Numbered) -> None:
        """Emit the code of one node and everything below it."""
        self._lowering[type(at.node)](self, at)


Lowering: TypeAlias = Callable[[Emitter, Numbered], None]
"""Emits the code of one construct."""
