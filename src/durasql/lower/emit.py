"""Walk the AST once and emit code: children first, then the instruction that says their composite is over.

In: an AST node (the root). Out: a `Program`. Deterministic: no option, clock or hash order takes part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from durasql.bytecode.opcodes import Op
from durasql.bytecode.program import FORMAT, Instruction, Program
from durasql.lower.branches import lower_join, lower_race
from durasql.lower.choice import lower_if, lower_if_rows
from durasql.lower.leaves import lower_leaf
from durasql.lower.loop import lower_loop
from durasql.lower.number import number_nodes
from durasql.lower.sequence import lower_then
from durasql.syntax import ast
from durasql.syntax.envelope import graph_hash


class Emitter:
    """The code so far. `node` is the number of the node being lowered."""

    def __init__(self, numbers: dict[int, int]) -> None:
        self.code: list[Instruction] = []
        self._numbers = numbers

    @property
    def here(self) -> int:
        """The pc of the next instruction."""
        return len(self.code)

    def number(self, node: ast.Node) -> int:
        """The number of a node of this tree."""
        return self._numbers[id(node)]

    def emit(self, op: Op, node: ast.Node, **operands: Any) -> int:
        """Append an instruction; returns its pc so that targets can be patched."""
        self.code.append(Instruction(op, self.number(node), **operands))
        return len(self.code) - 1

    def patch(self, at: int, **operands: Any) -> None:
        """Fill in what was not known when the instruction was emitted."""
        self.code[at] = replace(self.code[at], **operands)

    def lower(self, node: ast.Node) -> None:
        """Emit the code of one node and everything below it."""
        _LOWERING[type(node)](self, node)


_LOWERING: Final[dict[type[Any], Callable[[Emitter, Any], None]]] = {
    ast.Sql: lower_leaf,
    ast.Sleep: lower_leaf,
    ast.WaitSchedule: lower_leaf,
    ast.Http: lower_leaf,
    ast.HttpMultipart: lower_leaf,
    ast.Signal: lower_leaf,
    ast.Opaque: lower_leaf,
    ast.Break: lower_leaf,
    ast.Then: lower_then,
    ast.If: lower_if,
    ast.IfRows: lower_if_rows,
    ast.Join: lower_join,
    ast.Race: lower_race,
    ast.Loop: lower_loop,
}


def lower(root: ast.Node) -> Program:
    """Lower a whole graph. The result passes `bytecode.verify`."""
    numbers, nodes = number_nodes(root)
    emitter = Emitter(numbers)
    emitter.lower(root)
    emitter.emit(Op.END, root)
    return Program(FORMAT, graph_hash(root), tuple(nodes), tuple(emitter.code))
