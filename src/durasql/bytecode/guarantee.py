"""What a crash can do to each instruction (P2), as the listing and explain say it."""

from __future__ import annotations

from durasql.bytecode.opcodes import OPCODES, Guarantee, Op
from durasql.bytecode.program import Instruction, NodeInfo
from durasql.statement import classify


def guarantee_of(instruction: Instruction, node: NodeInfo) -> Guarantee:
    """The opcode's guarantee; a statement that PostgreSQL refuses to run in a transaction has a weaker one.

    `CALL` and `DO` are exactly once unless the procedure commits, which only running it shows.
    """
    if instruction.op is Op.SQL and not classify(node.query or "").transactional:
        return Guarantee.AT_LEAST_ONCE
    return OPCODES[instruction.op].guarantee
