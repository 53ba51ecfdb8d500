"""Rules of sequences and choices: THEN, IF, IF_ROWS, END_IF, JUMP, END."""

from __future__ import annotations

from durasql.bytecode.program import Instruction
from durasql_runtime.configs import has_rows
from durasql_runtime.journal import State
from durasql_runtime.machine.state import Execution
from durasql_runtime.machine.strands import Ended, Strand
from durasql_runtime.machine.unwind import fail_composite, strand_over
from durasql_runtime.outcome import Failed
from durasql_runtime.truth import truthy


def composite_done(ex: Execution, strand: Strand, instruction: Instruction) -> bool:
    """A sequence or a choice is over: its value is the one that arrived last."""
    ex.row(instruction.node, strand.gen, State.DONE, refs=(strand.source,))
    strand.source = instruction.node
    strand.bind(instruction.bind, strand.value)
    strand.pc += 1
    return True


def choose(ex: Execution, strand: Strand, instruction: Instruction) -> bool:
    """Go on if the condition's value is true."""
    return _go(strand, instruction, truthy(strand.value.value))


def choose_by_rows(ex: Execution, strand: Strand, instruction: Instruction) -> bool:
    """Go on if the named result has rows."""
    verdict = has_rows(ex.program.nodes[instruction.node].query or "", strand.names)
    if isinstance(verdict, Failed):
        return fail_composite(ex, strand, instruction.node, verdict)
    return _go(strand, instruction, verdict)


def _go(strand: Strand, instruction: Instruction, verdict: bool) -> bool:
    assert instruction.pc is not None
    strand.pc = strand.pc + 1 if verdict else instruction.pc
    return True


def jump(ex: Execution, strand: Strand, instruction: Instruction) -> bool:
    """Go on elsewhere."""
    assert instruction.pc is not None
    strand.pc = instruction.pc
    return True


def end(ex: Execution, strand: Strand, instruction: Instruction) -> bool:
    """The strand is over."""
    strand_over(ex, strand, Ended(strand.value, strand.source))
    return False
