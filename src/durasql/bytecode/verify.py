"""Verify a decoded program before anything runs it: every operand points somewhere sensible.

In: a `Program` from the store or from the assembler. Out: nothing, or `ProgramError` with the pc.
"""

from __future__ import annotations

from typing import Final

from durasql.bytecode.opcodes import OPCODES, Op, Operand
from durasql.bytecode.program import Instruction, NodeInfo, Program
from durasql.errors import ProgramError
from durasql.limits import MAX_NODES

_NODE_TYPES: Final[dict[Op, tuple[str, ...]]] = {
    Op.IF_ROWS: ("IF",),
    Op.END_IF: ("IF",),
    Op.JUMP: ("IF",),
    Op.WHILE: ("LOOP",),
    Op.NEXT: ("LOOP",),
    Op.TRY: ("LOOP",),
}
"""The node type of the control ops; every other op has its own name."""

_CONFIGURED: Final = (Op.RETRY, Op.TIMEOUT, Op.CATCH)
"""Composites that do nothing without their configuration."""


def verify(program: Program) -> Program:
    """Return the program unchanged, or raise `ProgramError` naming the first instruction that is wrong."""
    if not program.nodes or not program.code:
        raise ProgramError("the program is empty")
    if len(program.nodes) > MAX_NODES:
        raise ProgramError(f"the program has {len(program.nodes)} nodes, the limit is {MAX_NODES}")
    for number, node in enumerate(program.nodes):
        _verify_node(program, number, node)
    for pc, instruction in enumerate(program.code):
        _verify_instruction(program, pc, instruction)
    if program.code[-1].op is not Op.END:
        raise ProgramError("the program does not stop: its last instruction must be END")
    _verify_loops(program)
    return program


def _verify_node(program: Program, number: int, node: NodeInfo) -> None:
    children = [node.left, node.right, node.condition, *node.extras]
    for child in children:
        if child is not None and not number < child < len(program.nodes):
            raise ProgramError(f"node {number} has a child {child} that is not below it")
    if (node.parent is None) != (number == 0) or (node.parent is not None and node.parent >= number):
        raise ProgramError(f"node {number} has no proper parent")


def _verify_instruction(program: Program, pc: int, instruction: Instruction) -> None:
    spec = OPCODES[instruction.op]
    place = f"instruction {pc:04d} {instruction.op}"
    if not 0 <= instruction.node < len(program.nodes):
        raise ProgramError(f"{place}: there is no node {instruction.node}")
    if (Operand.PC in spec.operands) != (instruction.pc is not None):
        raise ProgramError(f"{place}: takes {'a' if Operand.PC in spec.operands else 'no'} target")
    if (Operand.PCS in spec.operands) != bool(instruction.pcs):
        raise ProgramError(f"{place}: takes {'a' if Operand.PCS in spec.operands else 'no'} list of branches")
    for target in (*instruction.pcs, *(() if instruction.pc is None else (instruction.pc,))):
        if not 0 <= target < len(program.code):
            raise ProgramError(f"{place}: jumps out of the program, to {target}")
        if instruction.op is not Op.NEXT and target <= pc:
            raise ProgramError(f"{place}: jumps back, to {target}")
    node = program.nodes[instruction.node]
    if (
        node.type not in _NODE_TYPES.get(instruction.op, (instruction.op.value,))
        and instruction.op is not Op.END
    ):
        raise ProgramError(f"{place}: belongs to a {node.type} node")
    if instruction.pcs and len(instruction.pcs) != (strands := _strands(instruction.op, node)):
        raise ProgramError(f"{place}: has {len(instruction.pcs)} branches, its node has {strands}")
    if (spec.leaf or instruction.op in _CONFIGURED) and node.query is None:
        raise ProgramError(f"{place}: its node has no text")


def _strands(op: Op, node: NodeInfo) -> int:
    """How many strands the instruction starts: one for each child, and a loop's body alone for TRY."""
    if op is Op.TRY:
        return 1
    return sum(child is not None for child in (node.left, node.right, *node.extras))


def _verify_loops(program: Program) -> None:
    for pc, instruction in enumerate(program.code):
        if instruction.op is Op.NEXT:
            assert instruction.pc is not None
            if instruction.pc >= pc or program.code[instruction.pc].op is not Op.LOOP:
                raise ProgramError(f"instruction {pc:04d} NEXT: {instruction.pc:04d} is no LOOP before it")
