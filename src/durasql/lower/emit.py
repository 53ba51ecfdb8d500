"""Walk the AST once and emit code: children first, then the instruction that says their composite is over.

In: an AST node (the root). Out: a `Program`. Deterministic: no option, clock or hash order takes part.
"""

from __future__ import annotations

from typing import Any, Final

from durasql.bytecode.opcodes import Op
from durasql.bytecode.program import FORMAT, Program
from durasql.lower.branches import lower_guard, lower_join, lower_race
from durasql.lower.choice import lower_if, lower_if_rows
from durasql.lower.emitter import Emitter, Lowering
from durasql.lower.leaves import lower_leaf
from durasql.lower.loop import lower_loop
from durasql.lower.number import number_nodes
from durasql.lower.sequence import lower_then
from durasql.syntax import ast
from durasql.syntax.envelope import graph_hash

_LOWERING: Final[dict[type[Any], Lowering]] = {
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
    ast.Retry: lower_guard,
    ast.Timeout: lower_guard,
    ast.Catch: lower_guard,
    ast.Finally: lower_guard,
    ast.Undo: lower_guard,
}


def lower(root: ast.Node) -> Program:
    """Lower a whole graph. The result passes `bytecode.verify`."""
    tree, nodes = number_nodes(root)
    emitter = Emitter(_LOWERING)
    emitter.lower(tree)
    emitter.emit(Op.END, tree)
    return Program(FORMAT, graph_hash(root), nodes, tuple(emitter.code))
