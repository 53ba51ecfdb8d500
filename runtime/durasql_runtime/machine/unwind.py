"""Ways out: a strand that is over, a failure or a break on its way outwards, branches that are cut off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from durasql_runtime.journal import State, UndoState
from durasql_runtime.machine.state import WHOLE, Execution, Finish
from durasql_runtime.machine.strands import Branch, Broke, End, Ended, Fork, Strand
from durasql_runtime.machine.undo import compensate, register
from durasql_runtime.outcome import Done, Failed

BREAK_OUTSIDE: Final = (
    "df.break() was called outside of a loop. df.break() may only be used inside df.loop()."
)
LOST_LOOP: Final = "Loop branch cancelled after losing RACE"


def strand_over(ex: Execution, strand: Strand, end: End) -> None:
    """A strand ended: tell its fork, or end the instance."""
    strand.dead = True
    fork = strand.parent
    if fork is not None:
        fork.branches[strand.index].end = end
        fork.on_end(fork, strand.index)
    elif isinstance(end, Ended):
        ex.withdraw([WHOLE])
        ex.finished = Finish(end.value)
    else:
        fail_whole(ex, strand, Failed(BREAK_OUTSIDE) if isinstance(end, Broke) else end)


def fail_whole(ex: Execution, strand: Strand, failure: Failed) -> None:
    """The instance fails, once what it did is undone. Cleanups that it owed take nothing back."""
    ex.withdraw([WHOLE])
    owed = [undo.node for undo in ex.undos.values() if undo.state is UndoState.READY]
    undoing = any(ex.program.nodes[node].type == "UNDO" for node in owed)

    def over() -> None:
        ex.finished = Finish(failure, "compensated" if undoing else "failed")

    compensate(ex, strand, 0, "", failure, over)


def fail_composite(ex: Execution, strand: Strand, node: int, failure: Failed, gen: str | None = None) -> bool:
    """A composite itself fails (not merely something below it)."""
    failure = failure.at(node)
    ex.row(node, strand.gen if gen is None else gen, State.FAILED, failure.to_json())
    fail(ex, strand, node, failure)
    return False


def fail(ex: Execution, strand: Strand, node: int, failure: Failed) -> None:
    """`node` has its row: mark everything around it in this strand, then end the strand with the failure."""
    for ancestor in _ancestors(ex, strand, node):
        text = _failed_out_of(strand, node, failure)
        if text is failure:
            ex.row(ancestor, strand.gen, State.FAILED, refs=(node,))
        else:
            ex.row(ancestor, strand.gen, State.FAILED, text.to_json())
        node, failure = ancestor, text
    strand_over(ex, strand, _failed_out_of(strand, node, failure))


def _failed_out_of(strand: Strand, node: int, failure: Failed) -> Failed:
    """The failure as seen outside `node`, leaving its frame when it is the loop the strand is in."""
    if not strand.frames or strand.frames[-1].node != node:
        return failure
    strand.frames.pop()
    return failure if node == _root(strand) else failure.prefixed("Loop sub-orchestration failed: ")


def break_out(ex: Execution, strand: Strand, node: int, value: Done) -> None:
    """A break travels outwards to the nearest loop of its strand, or out of the strand."""
    child = node
    for ancestor in _ancestors(ex, strand, node):
        if strand.frames and strand.frames[-1].node == ancestor:
            leave_loop(ex, strand, value, ())
            ex.runnable.appendleft(strand)
            return
        ex.row(ancestor, strand.gen, State.BROKEN, refs=(child,))
        child = ancestor
    strand_over(ex, strand, Broke(value))


def break_through(ex: Execution, parent: Strand, node: int, branch: Branch, gen: str | None = None) -> None:
    """A branch's break goes on in the strand that forked."""
    assert isinstance(branch.end, Broke)
    ex.row(node, parent.gen if gen is None else gen, State.BROKEN, refs=(branch.root,))
    break_out(ex, parent, node, branch.end.value)


def leave_loop(ex: Execution, strand: Strand, value: Done, refs: tuple[int, ...]) -> None:
    """The innermost loop ends with a value; without `refs` the value is the row's own (a break)."""
    frame = strand.frames[-1]
    stored = None if refs else value.value
    ex.row(frame.node, strand.gen, State.DONE, stored, refs, attempts=frame.attempts)
    strand.frames.pop()
    instruction = ex.program.code[frame.loop_pc]
    assert instruction.pc is not None
    strand.deliver(value, frame.node)
    strand.bind(instruction.bind, value)
    strand.pc = instruction.pc


def cut_off(ex: Execution, branch: Branch, *, owing: bool = True) -> None:
    """Everything in a branch stops. Cleanups that it owes are kept for whoever handles this, unless it is
    known to have come to its own end.
    """
    ex.withdraw([key for key, leaf in ex.ready.items() if leaf.strand.inside(branch.strand)])
    for strand in ex.runnable:
        strand.dead = strand.dead or strand.inside(branch.strand)
    branch.strand.dead = True
    for key, fork in list(ex.undoing.items()):
        if fork.branches[0].strand.inside(branch.strand):
            del ex.undoing[key]
            ex.anew = ex.anew or owing
    for (node, gen), fork in list(ex.cleanups.items()):
        if fork.strand.inside(branch.strand):
            del ex.cleanups[node, gen]
            if owing:
                _owe(ex, fork)


def _owe(ex: Execution, fork: Fork) -> None:
    """A df.finally was cut off: its cleanup runs with the undos, from the beginning."""
    body, *cleanup = fork.branches
    ex.anew = ex.anew or bool(cleanup)
    names = body.strand.names if isinstance(body.end, Ended) else fork.strand.names
    register(ex, fork.instruction.node, fork.strand.gen, names)


def mark_lost_loop(ex: Execution, branch: Branch) -> None:
    """A loop that lost a race in its first generation says so."""
    frames = branch.strand.frames
    if frames and frames[0].node == branch.root and frames[0].count == 1:
        ex.row(branch.root, branch.strand.gen_at(1), State.FAILED, Failed(LOST_LOOP).to_json())


def _ancestors(ex: Execution, strand: Strand, node: int) -> Sequence[int]:
    """The nodes around `node`, inside out, as far as this strand reaches."""
    root = _root(strand)
    found: list[int] = []
    while node != root:
        parent = ex.program.nodes[node].parent
        assert parent is not None
        found.append(parent)
        node = parent
    return found


def _root(strand: Strand) -> int:
    return 0 if strand.parent is None else strand.parent.branches[strand.index].root
