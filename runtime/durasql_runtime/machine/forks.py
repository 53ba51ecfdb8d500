"""Rules of JOIN and RACE."""

from __future__ import annotations

from functools import partial

from durasql.bytecode.program import Instruction
from durasql_runtime.machine.state import Execution
from durasql_runtime.machine.strands import Branch, Broke, Ended, Fork, Strand
from durasql_runtime.machine.undo import compensate
from durasql_runtime.machine.unwind import break_through, cut_off, fail_composite, mark_lost_loop
from durasql_runtime.outcome import Done, Failed

_LOST = Failed("The race was lost")


def join(ex: Execution, strand: Strand, instruction: Instruction) -> bool:
    """Begin all branches; all are waited for."""
    return _begin(ex, Fork(instruction, strand, partial(_join_end, ex)))


def race(ex: Execution, strand: Strand, instruction: Instruction) -> bool:
    """Begin both branches; the first to end decides."""
    return _begin(ex, Fork(instruction, strand, partial(_race_end, ex)))


def _begin(ex: Execution, fork: Fork) -> bool:
    for index in range(len(fork.instruction.pcs)):
        ex.branch(fork, index)
    # Branches run before anything else that waits, left to right, so that replay repeats the order.
    for _ in fork.branches:
        ex.runnable.popleft()
    ex.runnable.extendleft(branch.strand for branch in reversed(fork.branches))
    return False


def _join_end(ex: Execution, fork: Fork, _: int) -> None:
    if any(branch.end is None for branch in fork.branches):
        return
    parent, node = fork.strand, fork.instruction.node
    for number, branch in enumerate(fork.branches, start=1):
        if isinstance(branch.end, Failed):
            fail_composite(ex, parent, node, branch.end.prefixed(f"JOIN branch {number} failed: "))
            return
        parent.merge(branch.strand)
        if isinstance(branch.end, Broke):
            break_through(ex, parent, node, branch)
            return
    values = [branch.end.value.value for branch in fork.branches if isinstance(branch.end, Ended)]
    ex.go_on(fork, Done(f"[{','.join(values)}]"), tuple(branch.root for branch in fork.branches))


def _race_end(ex: Execution, fork: Fork, winner: int) -> None:
    losers = [branch for branch in fork.branches if branch.end is None]
    for loser in losers:
        cut_off(ex, loser)
        mark_lost_loop(ex, loser)
    branch, parent, node = fork.branches[winner], fork.strand, fork.instruction.node
    if isinstance(branch.end, Failed):
        side = ("left", "right")[winner]
        fail_composite(ex, parent, node, branch.end.prefixed(f"RACE {side} branch failed: "))
        return
    _undo_losers(ex, fork, losers, branch)


def _undo_losers(ex: Execution, fork: Fork, losers: list[Branch], winner: Branch) -> None:
    if losers:
        root = losers[0].root
        compensate(
            ex, fork.strand, root, fork.strand.gen, _LOST, lambda: _undo_losers(ex, fork, losers[1:], winner)
        )
        return
    fork.strand.merge(winner.strand)
    if isinstance(winner.end, Broke):
        break_through(ex, fork.strand, fork.instruction.node, winner)
    elif isinstance(winner.end, Ended):
        ex.go_on(fork, winner.end.value, (winner.root,))
