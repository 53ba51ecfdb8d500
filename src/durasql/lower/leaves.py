"""Lower the leaves: SQL, timers, HTTP, signals, break."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durasql.bytecode.opcodes import Op
from durasql.syntax import ast
from durasql.syntax.envelope import node_type

if TYPE_CHECKING:
    from durasql.lower.emit import Emitter


def lower_leaf(out: Emitter, node: ast.Node) -> None:
    """One instruction that takes its configuration from the node. A break's name is kept and binds
    nothing.
    """
    out.emit(Op(node_type(node)), node, bind=node.name)
