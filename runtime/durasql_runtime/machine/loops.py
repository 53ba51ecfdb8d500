"""Rules of loops: LOOP, TRY, WHILE, NEXT, BREAK."""

from __future__ import annotations

from functools import partial
from typing import Final

from durasql.bytecode.program import Instruction
from durasql_runtime.configs import break_value
from durasql_runtime.journal import Attempt, Names, State
from durasql_runtime.machine.state import Activation, Execution, Timer, count, outer
from durasql_runtime.machine.strands import NOWHERE, NULL, Broke, Ended, Fork, Frame, Strand
from durasql_runtime.machine.undo import compensate
from durasql_runtime.machine.unwind import break_out, fail_composite, leave_loop
from durasql_runtime.outcome import Failed, Outcome
from durasql_runtime.truth import truthy

PAUSE_AFTER_FAILURE: Final = 1.0
"""Seconds before a loop that goes on after failures begins its next generation: it must not spin."""
FAILURES_KEPT: Final = 10
"""The latest failures of such a loop that df.attempts shows; all are counted."""


def enter(ex: Execution, strand: Strand, instruction: Instruction) -> bool:
    """Begin generation 1, or the one that the journal says."""
    frame = Frame(loop_pc=strand.pc, node=instruction.node)
    recorded = ex.resumed.get(instruction.node)
    around = strand.gen
    strand.frames.append(frame)
    if ex.program.code[strand.pc + 1].op == "TRY":
        frame.failures = 0
    if recorded is not None and outer(recorded.gen) == around:
        frame.count = count(recorded.gen)
        if frame.failures is not None:
            frame.failures = recorded.attempts
        for name, value in Names.from_json(recorded.names or "{}").values.items():
            strand.bind(name, value)
    else:
        ex.begin_anew(instruction.node, around)
    strand.pc += 1
    return True


def attempt(ex: Execution, strand: Strand, instruction: Instruction) -> bool:
    """The body of a loop that goes on after failures; after one it waits for a moment first."""
    recorded = ex.resumed.get(instruction.node)
    waiting = recorded is not None and recorded.state is State.WAITING and recorded.gen == strand.gen
    frame = strand.frames[-1]
    if waiting or frame.failed:
        frame.failed = False
        _pause(ex, strand, instruction)
    else:
        ex.guarded(strand, instruction, partial(_attempted, ex))
    return False


def _pause(ex: Execution, strand: Strand, instruction: Instruction) -> None:
    frame = strand.frames[-1]

    def over(_: Outcome) -> None:
        ex.row(instruction.node, strand.gen, State.LOOPING, attempts=frame.attempts)
        ex.guarded(strand, instruction, partial(_attempted, ex))

    timer = Timer(NULL, over, seconds=PAUSE_AFTER_FAILURE, attempts=frame.attempts)
    ex.activate(Activation((instruction.node, strand.gen), instruction, strand, timer))


def _attempted(ex: Execution, fork: Fork, index: int) -> None:
    branch, strand = fork.branches[index], fork.strand
    if isinstance(branch.end, Failed):
        _note_failure(ex, fork, branch.end)
        compensate(ex, strand, branch.root, strand.gen, branch.end, lambda: ex.resume(fork, NULL, NOWHERE))
        return
    strand.merge(branch.strand)
    if isinstance(branch.end, Broke):
        break_out(ex, strand, branch.root, branch.end.value)
    elif isinstance(branch.end, Ended):
        ex.resume(fork, branch.end.value, branch.end.source)


def _note_failure(ex: Execution, fork: Fork, failure: Failed) -> None:
    frame, gen = fork.strand.frames[-1], outer(fork.strand.gen)
    frame.failures, frame.failed = (frame.failures or 0) + 1, True
    ex.now.attempts.append(Attempt(frame.node, gen, frame.count, failure.to_json(), FAILURES_KEPT))


def judge(ex: Execution, strand: Strand, instruction: Instruction) -> bool:
    """The body is over, the condition follows."""
    strand.frames[-1].body = (strand.value, strand.source)
    strand.pc += 1
    return True


def again(ex: Execution, strand: Strand, instruction: Instruction) -> bool:
    """Begin the next generation, or leave when the condition is false."""
    frame = strand.frames[-1]
    if frame.body is not None and not truthy(strand.value.value):
        value, source = frame.body
        leave_loop(ex, strand, value, () if source == NOWHERE else (source,))
        return True
    limit = ex.facts.max_iterations
    if limit and frame.count >= limit:
        return fail_composite(ex, strand, frame.node, _too_many(limit))
    frame.count += 1
    frame.body = None
    carried = Names({name: strand.names[name] for name in frame.bound})
    ex.row(frame.node, strand.gen, State.LOOPING, names=carried.to_json(), attempts=frame.attempts)
    strand.pc = frame.loop_pc + 1
    return True


def _too_many(limit: int) -> Failed:
    return Failed(
        f"Loop exceeded maximum iteration count of {limit}. Use df.break() to exit the loop or "
        "restructure the workflow.",
        hint="The limit is the setting loop_max_iterations in df.settings; 0 means none.",
    )


def leave(ex: Execution, strand: Strand, instruction: Instruction) -> bool:
    """df.break: leave the innermost loop with the configured value."""
    node = instruction.node
    value = break_value(ex.program.nodes[node].query or "", ex.scope(strand.names))
    if isinstance(value, Failed):
        return fail_composite(ex, strand, node, value)
    ex.row(node, strand.gen, State.BROKEN, value.value)
    break_out(ex, strand, node, value)
    return False
