"""Stage 8: the pure machine. (program, journal) -> what is ready, what is over, what to write.

No I/O, no clock, no randomness: the same program and journal give the same state on every worker.
Strands, program counters, loop counters and named results live here only; the journal is all that is
stored.

A strand runs instructions until it meets a leaf (which becomes ready), forks, or ends. `complete` feeds a
leaf's outcome back and returns a `Transition`: the rows that follow from it, the leaves that became
ready, the executions that were cut off, and the instance's end when there is one. The caller writes all
rows in the leaf's own transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from durasql.bytecode.opcodes import Op
from durasql.bytecode.program import Instruction, Program
from durasql.errors import ProgramError
from durasql_runtime.journal import Key, Row, State, UndoRow, UndoState, outcome_of, row_of
from durasql_runtime.machine import choice, forks, guards, loops
from durasql_runtime.machine.state import (
    COUNTING,
    WHOLE,
    Activation,
    Execution,
    Facts,
    Finish,
    Timer,
    Transition,
)
from durasql_runtime.machine.strands import NOWHERE, NULL, Branch, Ended, Strand
from durasql_runtime.machine.unwind import cut_off, fail, strand_over
from durasql_runtime.outcome import Done, Failed, Outcome
from durasql_runtime.substitute import Scope

_STEPS_PER_INSTRUCTION: Final = 8
"""What the lowering emits needs less than two; bytecode that was written by hand could do without end."""
_NOTHING_KNOWN: Final = Facts()
_OVERDUE: Final = "Timeout: the run was not finished by its deadline"


class Machine:
    """The state of one instance. Build it with `replay`; then alternate `ready` and `complete`."""

    def __init__(self, program: Program, facts: Facts = _NOTHING_KNOWN) -> None:
        self.program = program
        self._ex = Execution(program, facts)
        self.opening = Transition()
        """What follows from the journal, or from merely starting (a break, say), and is not in it yet. Unless
        an operator has taken something back from the journal, only a start leaves anything.
        """

    @property
    def ready(self) -> dict[Key, Activation]:
        """What may be performed, and what is waited for."""
        return self._ex.ready

    @property
    def finished(self) -> Finish | None:
        """How the instance ended."""
        return self._ex.finished

    @classmethod
    def replay(
        cls,
        program: Program,
        history: Iterable[Row],
        facts: Facts = _NOTHING_KNOWN,
        undos: Iterable[UndoRow] = (),
    ) -> tuple[Machine, dict[Key, Row]]:
        """The machine as the journal left it, and the waiting or started rows of its ready leaves."""
        machine = cls(program, facts)
        ex = machine._ex
        rows = sorted(history, key=lambda row: row.seq)
        ex.resumed = {
            row.node: row for row in rows if row.node >= 0 and program.nodes[row.node].type in COUNTING
        }
        written = {row.node: row.seq for row in rows}
        machine.opening = machine.start()
        for event in _in_order(rows, list(undos)):
            if isinstance(event, UndoRow):
                machine._recall(event)
            elif event.key in ex.ready and event.state in (State.DONE, State.FAILED):
                # What the journal says of a node since then is the truth about it.
                machine.opening.rows.extend(
                    row for row in machine._now_over(event) if written.get(row.node, 0) <= event.seq
                )
        recorded = {(row.key, row.state) for row in rows}
        machine.opening.rows = [row for row in machine.opening.rows if (row.key, row.state) not in recorded]
        ex.resumed.clear()
        pending = {row.key: row for row in rows if row.state in (State.WAITING, State.STARTED)}
        return machine, {key: row for key, row in pending.items() if key in ex.ready}

    def start(self) -> Transition:
        """Begin at pc 0."""
        ex = self._ex
        ex.now = Transition()
        main = Strand(pc=0)
        ex.runnable.append(main)
        if ex.facts.deadline is not None:
            self._set_deadline(main)
        return self._settle()

    def complete(self, key: Key, outcome: Outcome) -> Transition | None:
        """A ready leaf is over, or a timer has fired. None when it is not ready (any more): nothing may be
        written then.
        """
        ex = self._ex
        activation = ex.ready.pop(key, None)
        if activation is None:
            return None
        ex.now = Transition()
        if activation.timer is not None:
            activation.timer.fired(outcome)
        else:
            self._leaf_over(activation, outcome)
        return self._settle()

    def names_status(self, node: int, status: int) -> bool:
        """Whether a guard around an HTTP step takes a response below 500 for a failure."""
        return guards.names_status(self._ex, node, status)

    def is_retried(self, node: int) -> bool:
        """Whether a df.retry around a step decides about it, so that the run's own policy does not."""
        return guards.is_retried(self._ex, node)

    def lasting_gen(self, key: Key) -> str:
        """What all tries of an HTTP step have in common: its generation, without the attempts of retries."""
        return guards.lasting_gen(self._ex, key)

    def scope(self, names: dict[str, Done]) -> Scope:
        """What substitution may refer to from a place that sees these names."""
        return self._ex.scope(names)

    def _now_over(self, row: Row) -> list[Row]:
        """The rows that follow from one that the journal has."""
        transition = self.complete(row.key, outcome_of(row))
        return transition.rows if transition is not None else []

    def _recall(self, undo: UndoRow) -> None:
        """What a record said about an undo, whose own rows may be gone: its loop has come round since."""
        ex, fork = self._ex, self._ex.undoing.get(undo.key)
        if undo.state is UndoState.READY:
            ex.undos[undo.key] = replace(ex.undos.get(undo.key, undo), seq=undo.seq)
        elif fork is None:
            ex.undos[undo.key] = undo
        else:
            ex.now = Transition()
            cut_off(ex, fork.branches[0], owing=False)
            fork.branches[0].end = Failed.from_json(undo.error) if undo.error else Ended(NULL, NOWHERE)
            fork.on_end(fork, 0)
            self._settle()

    def _leaf_over(self, activation: Activation, outcome: Outcome) -> None:
        ex, strand, instruction = self._ex, activation.strand, activation.instruction
        ex.now.rows.append(row_of(activation.key, outcome))
        if isinstance(outcome, Failed):
            outcome = outcome.at(instruction.node)
            if not guards.forgiven(ex, instruction.node):
                fail(ex, strand, instruction.node, outcome)
                return
            outcome = outcome.forgiven()
        strand.deliver(outcome, instruction.node)
        strand.bind(instruction.bind, outcome)
        strand.pc += 1
        ex.runnable.append(strand)

    def _set_deadline(self, main: Strand) -> None:
        ex = self._ex

        def passed(outcome: Outcome) -> None:
            assert isinstance(outcome, Failed)
            cut_off(ex, Branch(main, 0))
            ex.row(*WHOLE, State.FAILED, outcome.to_json())
            strand_over(ex, main, outcome)

        timer = Timer(Failed(_OVERDUE, reason="timeout"), passed, due=ex.facts.deadline)
        ex.activate(Activation(WHOLE, Instruction(Op.TIMEOUT, 0), main, timer))

    def _settle(self) -> Transition:
        """Run every strand that can run; what stopped it is in the transition."""
        ex = self._ex
        budget = _STEPS_PER_INSTRUCTION * len(self.program.code)
        while ex.runnable and ex.finished is None:
            strand = ex.runnable.popleft()
            while budget > 0 and not strand.dead and self._step(strand):
                budget -= 1
            budget -= 1
            if budget < 0:
                raise ProgramError("the program runs in circles without ever performing a step")
        ex.runnable.clear()
        if ex.finished is None and not ex.ready:
            raise ProgramError("the program comes to a halt without an end")
        if ex.finished is not None:
            ex.now.finish = ex.finished
            ex.withdraw(list(ex.ready))
        # What was cut off in the same breath is not even begun.
        ex.now.started = [leaf for leaf in ex.now.started if ex.ready.get(leaf.key) is leaf]
        return ex.now

    def _step(self, strand: Strand) -> bool:
        """Execute one instruction; False when the strand cannot go on by itself."""
        instruction = self.program.code[strand.pc]
        return _RULES.get(instruction.op, _leaf)(self._ex, strand, instruction)


def _in_order(rows: Sequence[Row], undos: Sequence[UndoRow]) -> Iterable[Row | UndoRow]:
    """Everything that was recorded, as it came: an undo became possible, and later it was over."""
    events: list[tuple[int, Row | UndoRow]] = [(row.seq, row) for row in rows]
    for undo in undos:
        events.append((undo.seq, replace(undo, state=UndoState.READY)))
        if undo.state is not UndoState.READY and undo.settled is not None:
            events.append((undo.settled, undo))
    return [event for _, event in sorted(events, key=lambda event: event[0])]


def _leaf(ex: Execution, strand: Strand, instruction: Instruction) -> bool:
    key = (instruction.node, strand.gen)
    if key in ex.ready:
        raise ProgramError(f"two branches of the program lead to the same step, node {instruction.node}")
    ex.activate(Activation(key, instruction, strand))
    return False


_RULES: Final[dict[Op, Callable[[Execution, Strand, Instruction], bool]]] = {
    Op.THEN: choice.composite_done,
    Op.IF: choice.choose,
    Op.IF_ROWS: choice.choose_by_rows,
    Op.END_IF: choice.composite_done,
    Op.JUMP: choice.jump,
    Op.END: choice.end,
    Op.JOIN: forks.join,
    Op.RACE: forks.race,
    Op.LOOP: loops.enter,
    Op.TRY: loops.attempt,
    Op.WHILE: loops.judge,
    Op.NEXT: loops.again,
    Op.BREAK: loops.leave,
    Op.RETRY: guards.retry,
    Op.TIMEOUT: guards.timeout,
    Op.CATCH: guards.catch,
    Op.FINALLY: guards.finally_,
    Op.UNDO: guards.with_undo,
}
