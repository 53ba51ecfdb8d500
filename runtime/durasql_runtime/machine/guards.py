"""Rules of the failure policy: RETRY, TIMEOUT, CATCH, FINALLY, UNDO.

Each runs its body on a strand of its own, as a branch is run, and decides what becomes of the way it ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Final

from durasql.bytecode.program import Instruction
from durasql_runtime.failures import Expected, RetryPolicy, seconds_of, timed_out
from durasql_runtime.journal import Attempt, Key, State
from durasql_runtime.machine.state import Activation, Execution, Timer, count, failure_beside, inner, outer
from durasql_runtime.machine.strands import NULL, Broke, Ended, Fork, Strand
from durasql_runtime.machine.undo import ERROR, compensate, register
from durasql_runtime.machine.unwind import break_through, cut_off, fail_composite
from durasql_runtime.outcome import NO_ERROR, Done, Failed, Outcome

_CATCHING: Final = frozenset({"RETRY", "TIMEOUT", "CATCH", "FINALLY", "UNDO"})


def _config(ex: Execution, fork: Fork) -> str:
    return ex.program.nodes[fork.instruction.node].query or "{}"


# -- ways on, shared by all -------------------------------------------------------------------------------


def _ended(ex: Execution, fork: Fork, index: int, gen: str | None = None) -> None:
    """The guard's value is that of the arm that ended."""
    branch = fork.branches[index]
    if isinstance(branch.end, Failed):
        failed(ex, fork, branch.end, gen)
        return
    fork.strand.merge(branch.strand)
    if isinstance(branch.end, Broke):
        break_through(ex, fork.strand, fork.instruction.node, branch, gen)
    elif isinstance(branch.end, Ended):
        ex.go_on(fork, branch.end.value, (branch.root,), gen)


def failed(ex: Execution, fork: Fork, failure: Failed, gen: str | None = None) -> None:
    """The guard fails; the run may forgive what nothing around catches, once what was in vain is undone."""
    strand, instruction = fork.strand, fork.instruction
    if not forgiven(ex, instruction.node):
        fail_composite(ex, strand, instruction.node, failure, gen)
        return
    ex.row(instruction.node, strand.gen if gen is None else gen, State.FAILED, failure.to_json())
    value, node = failure.forgiven(), instruction.node
    compensate(ex, strand, node, strand.gen, failure, lambda: ex.resume(fork, value, node))


def forgiven(ex: Execution, node: int) -> bool:
    """Whether the run goes on although this node failed: it was started so, and nothing around it cares."""
    if not ex.facts.forgiving:
        return False
    for at in _ancestors(ex, node):
        info = ex.program.nodes[at]
        if info.type in _CATCHING or (
            info.type == "LOOP" and info.query and "continue_on_failure" in info.query
        ):
            return False
    return True


def _names_with(names: dict[str, Done], failure: Failed) -> dict[str, Done]:
    return {**names, ERROR: failure.row()}


# -- RETRY ------------------------------------------------------------------------------------------------


def retry(ex: Execution, strand: Strand, instruction: Instruction) -> bool:
    """Begin attempt 1, or the one that the journal says."""
    number = 1
    recorded = ex.resumed.get(instruction.node)
    if recorded is None or outer(recorded.gen) != strand.gen:
        ex.begin_anew(instruction.node, strand.gen)
    else:
        number = count(recorded.gen)
        if recorded.state is State.WAITING:
            _back_off(ex, Fork(instruction, strand, partial(_tried, ex, number)), number, 0.0)
            return False
    _try(ex, strand, instruction, number)
    return False


def _try(ex: Execution, strand: Strand, instruction: Instruction, number: int) -> None:
    ex.guarded(strand, instruction, partial(_tried, ex, number), inner(strand.gen, number))


def _tried(ex: Execution, number: int, fork: Fork, index: int) -> None:
    end, gen = fork.branches[index].end, inner(fork.strand.gen, number)
    if not isinstance(end, Failed):
        _ended(ex, fork, index, gen)
        return
    policy = RetryPolicy.of(_config(ex, fork))
    node = fork.instruction.node
    again = number < policy.max_attempts and policy.errors.retried(end)
    delay = policy.delay(number, end.retry_after, f"{ex.facts.instance_id}.{node}.{gen}") if again else None
    ex.now.attempts.append(Attempt(node, fork.strand.gen, number, end.to_json(), policy.max_attempts, delay))
    if delay is None:
        failed(ex, fork, replace(end, attempts=number), gen)
        return
    root, pause = fork.branches[index].root, delay
    compensate(ex, fork.strand, root, gen, end, lambda: _back_off(ex, fork, number, pause))


def _back_off(ex: Execution, fork: Fork, number: int, seconds: float) -> None:
    strand, instruction = fork.strand, fork.instruction

    def over(_: Outcome) -> None:
        ex.row(instruction.node, inner(strand.gen, number + 1), State.LOOPING, attempts=number + 1)
        _try(ex, strand, instruction, number + 1)

    key = (instruction.node, inner(strand.gen, number))
    ex.activate(Activation(key, instruction, strand, Timer(NULL, over, seconds=seconds, attempts=number)))


# -- TIMEOUT ----------------------------------------------------------------------------------------------


def timeout(ex: Execution, strand: Strand, instruction: Instruction) -> bool:
    """Begin the body and the clock."""
    key = (instruction.node, strand.gen)

    def ended(fork: Fork, index: int) -> None:
        ex.withdraw([key])
        _ended(ex, fork, index)

    fork = ex.guarded(strand, instruction, ended)
    failure = timed_out(_config(ex, fork)).at(instruction.node)

    def expired(outcome: Outcome) -> None:
        cut_off(ex, fork.branches[0])
        failed(ex, fork, failure)

    timer = Timer(failure, expired, seconds=seconds_of(_config(ex, fork)))
    ex.activate(Activation(key, instruction, strand, timer))
    return False


# -- CATCH ------------------------------------------------------------------------------------------------


def catch(ex: Execution, strand: Strand, instruction: Instruction) -> bool:
    """Begin the body; a failure that is expected begins the handler."""
    ex.guarded(strand, instruction, partial(_caught, ex))
    return False


def _caught(ex: Execution, fork: Fork, index: int) -> None:
    body = fork.branches[0]
    if index == 0 and isinstance(body.end, Failed) and Expected.of(_config(ex, fork)).caught(body.end):
        failure, names = body.end, _names_with(fork.strand.names, body.end)
        compensate(ex, fork.strand, body.root, fork.strand.gen, failure, lambda: _handle(ex, fork, names))
    else:
        _ended(ex, fork, index)


def _handle(ex: Execution, fork: Fork, names: dict[str, Done]) -> None:
    ex.branch(fork, 1, names=names)


# -- FINALLY ----------------------------------------------------------------------------------------------


def finally_(ex: Execution, strand: Strand, instruction: Instruction) -> bool:
    """Begin the body; however it ends, the cleanup follows."""
    fork = ex.guarded(strand, instruction, partial(_cleaning, ex))
    ex.cleanups[instruction.node, strand.gen] = fork
    return False


def _cleaning(ex: Execution, fork: Fork, index: int) -> None:
    body = fork.branches[0]
    if index == 0:
        names = body.strand.names if isinstance(body.end, Ended) else fork.strand.names
        error = body.end.row() if isinstance(body.end, Failed) else NO_ERROR
        ex.branch(fork, 1, names={**names, ERROR: error})
        return
    ex.cleanups.pop((fork.instruction.node, fork.strand.gen), None)
    cleanup = fork.branches[1]
    if isinstance(body.end, Failed):
        beside = cleanup.end if isinstance(cleanup.end, Failed) else None
        failed(
            ex,
            fork,
            failure_beside(body.end, beside.prefixed("The cleanup failed, too: ")) if beside else body.end,
        )
    elif isinstance(cleanup.end, Ended):
        body.strand.merge(cleanup.strand)
        _ended(ex, fork, 0)
    else:
        _ended(ex, fork, 1)


# -- UNDO -------------------------------------------------------------------------------------------------


def with_undo(ex: Execution, strand: Strand, instruction: Instruction) -> bool:
    """Begin the body; once it has completed it can be undone."""
    ex.guarded(strand, instruction, partial(_undoable, ex))
    return False


def _undoable(ex: Execution, fork: Fork, index: int) -> None:
    branch = fork.branches[index]
    if isinstance(branch.end, Ended):
        register(ex, fork.instruction.node, fork.strand.gen, branch.strand.names)
    _ended(ex, fork, index)


# -- questions of the runner about a step -----------------------------------------------------------------


def names_status(ex: Execution, node: int, status: int) -> bool:
    """Whether a guard around an HTTP step takes a response below 500 for a failure."""
    for guard in _bodies_around(ex, node):
        expected = Expected.of(ex.program.nodes[guard].query or "{}")
        kind = ex.program.nodes[guard].type
        if kind == "RETRY" and expected.words is None and expected.retried(Failed("", http_status=status)):
            return True
        if kind in ("RETRY", "CATCH") and expected.names_status(status):
            return True
    return False


def is_retried(ex: Execution, node: int) -> bool:
    """Whether a df.retry around a step decides about it."""
    return any(ex.program.nodes[guard].type == "RETRY" for guard in _bodies_around(ex, node))


def lasting_gen(ex: Execution, key: Key) -> str:
    """The counters of the loops around an execution, without those of retries. What was undone before another
    attempt is done anew, so it is told apart: a receiver would take it for what it has taken back.
    """
    node, gen = key
    if not gen:
        return gen
    lasting, retried = _without_retries(ex, node, gen)
    around = {at for at in _ancestors(ex, node) if retried and ex.program.nodes[at].type == "UNDO"}
    before = [_without_retries(ex, at, its)[0] for at, its in ex.undos if at in around]
    undone = sum(not its or f"{lasting}.".startswith(f"{its}.") for its in before)
    return f"{lasting}~{undone}" if undone else lasting


def _without_retries(ex: Execution, node: int, gen: str) -> tuple[str, bool]:
    """The counters of loops only, and whether there were others."""
    types = [ex.program.nodes[at].type for at in _ancestors(ex, node)]
    kinds = [kind for kind in types if kind in ("LOOP", "RETRY")]
    pairs = zip(reversed(kinds), gen.split("."), strict=False)
    return ".".join(counter for kind, counter in pairs if kind == "LOOP"), "RETRY" in kinds


def _ancestors(ex: Execution, node: int) -> Iterator[int]:
    parent = ex.program.nodes[node].parent
    while parent is not None:
        yield parent
        parent = ex.program.nodes[parent].parent


def _bodies_around(ex: Execution, node: int) -> Iterator[int]:
    """The guards in whose body a node stands, inside out."""
    parent = ex.program.nodes[node].parent
    while parent is not None:
        if ex.program.nodes[parent].left == node:
            yield parent
        elif ex.program.nodes[parent].type == "UNDO":
            return  # an undo runs when the guards around have had their say
        node, parent = parent, ex.program.nodes[parent].parent
