"""What a running program is made of: what is ready, what can run by itself, what has to be undone.

Plain state and the moves that all rules share. The rules themselves are one file per construct beside this
one; `core` puts them together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from durasql.bytecode.opcodes import Op
from durasql.bytecode.program import Instruction, Program
from durasql_runtime.journal import Attempt, Key, Row, State, UndoRow
from durasql_runtime.machine.strands import Branch, Fork, OnEnd, Strand
from durasql_runtime.outcome import Done, Failed, Outcome
from durasql_runtime.substitute import Scope

COUNTING: Final = frozenset({"LOOP", "RETRY"})
"""Types of nodes whose own row says how far they have come. It stays when they are cut off, so that a replay
comes by the same way.
"""
WHOLE: Final[Key] = (-1, "")
"""Stands for the instance itself: the key of its own deadline."""


@dataclass(frozen=True, slots=True)
class Timer:
    """A wait that the machine itself asks for: `seconds` from now, or until `due`. `outcome` is what it comes
    to, `fired` what happens then, `attempts` what its row says about tries.
    """

    outcome: Outcome
    fired: Callable[[Outcome], None]
    seconds: float | None = None
    due: datetime | None = None
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Activation:
    """A leaf that may run now, or a timer that runs: its instruction, its identity and the names it sees."""

    key: Key
    instruction: Instruction
    strand: Strand
    timer: Timer | None = None
    lasting_gen: str = ""
    """Of an HTTP step that is performed, what all its tries have in common."""

    @property
    def names(self) -> dict[str, Done]:
        """Named results visible to this leaf."""
        return self.strand.names


@dataclass(frozen=True, slots=True)
class Finish:
    """The instance is over. `status` is what df.instances says: completed, failed, compensated or stuck."""

    outcome: Outcome
    status: str = "completed"


@dataclass(slots=True)
class Transition:
    """What follows from one outcome."""

    rows: list[Row] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    undos: list[UndoRow] = field(default_factory=list)
    started: list[Activation] = field(default_factory=list)
    cancelled: list[Key] = field(default_factory=list)
    finish: Finish | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What an instance knows besides its program: for break values, the loop guard and the run's own policy.

    `forgiving`: a failure that nothing catches does not end the run. `deadline`: when the run fails.
    """

    instance_id: str = "00000000"
    label: str | None = None
    variables: dict[str, str] = field(default_factory=dict)
    max_iterations: int = 0
    forgiving: bool = False
    deadline: datetime | None = None


class Execution:
    """The state of one instance."""

    def __init__(self, program: Program, facts: Facts) -> None:
        self.program = program
        self.facts = facts
        self.ready: dict[Key, Activation] = {}
        self.finished: Finish | None = None
        self.runnable: deque[Strand] = deque()
        self.now = Transition()
        self.resumed: dict[int, Row] = {}
        """Rows of LOOP and RETRY nodes that say how far these had come; during replay only."""
        self.undos: dict[Key, UndoRow] = {}
        """What has completed and can be undone, in the order of completion."""
        self.guards = {at.node: at for at in program.code if at.op in (Op.UNDO, Op.FINALLY)}
        self.undoing: dict[Key, Fork] = {}
        """Undos that are being run."""
        self.cleanups: dict[Key, Fork] = {}
        """Bodies and cleanups of df.finally that are being run: who cuts one off owes its cleanup."""
        self.anew = False
        """Whether an undo or a cleanup was cut off, so that it begins anew in the same generation."""

    # -- rows ------------------------------------------------------------------------------------------------

    def row(self, *fields: Any, **named: Any) -> None:
        """Have a journal row written."""
        self.now.rows.append(Row(*fields, **named))

    def begin_anew(self, node: int, gen: str) -> None:
        """A LOOP or RETRY begins at 1. Its row may still say how far it had come before it was cut off; in a
        replay it does not.
        """
        if self.anew and not self.resumed:
            self.row(node, inner(gen, 1), State.LOOPING)

    def undo(self, undo: UndoRow) -> None:
        """Note, and have written, how it stands with something that can be undone."""
        self.undos[undo.key] = undo
        self.now.undos.append(undo)

    # -- what waits for the outside --------------------------------------------------------------------------

    def activate(self, activation: Activation) -> None:
        """From now on this may be completed from outside."""
        self.ready[activation.key] = activation
        self.now.started.append(activation)

    def withdraw(self, keys: Iterable[Key]) -> None:
        """These can no longer be completed."""
        lost = [key for key in keys if self.ready.pop(key, None) is not None]
        self.now.cancelled.extend(lost)

    # -- strands ---------------------------------------------------------------------------------------------

    def branch(
        self, fork: Fork, index: int, *, names: dict[str, Done] | None = None, gen: str | None = None
    ) -> Branch:
        """Begin the arm of a fork that starts at the instruction's `pcs[index]`."""
        parent = fork.strand
        strand = Strand(
            pc=fork.instruction.pcs[index],
            names=dict(parent.names if names is None else names),
            parent=fork,
            index=len(fork.branches),
            base_gen=parent.gen if gen is None else gen,
        )
        branch = Branch(strand, self.child(fork.instruction.node, index))
        fork.branches.append(branch)
        self.runnable.appendleft(strand)
        return branch

    def guarded(
        self, strand: Strand, instruction: Instruction, on_end: OnEnd, gen: str | None = None
    ) -> Fork:
        """Run the first arm of an instruction on a strand of its own; `on_end` hears how that ends."""
        fork = Fork(instruction, strand, on_end)
        self.branch(fork, 0, gen=gen)
        return fork

    def child(self, node: int, index: int) -> int:
        """The node that the arm `index` of a fork executes."""
        info = self.program.nodes[node]
        child = (info.left, info.right, *info.extras)[index]
        assert child is not None
        return child

    def go_on(self, fork: Fork, value: Done, refs: tuple[int, ...], gen: str | None = None) -> None:
        """A fork is over: its node has a value, and the strand that forked goes on behind it."""
        node = fork.instruction.node
        self.row(node, fork.strand.gen if gen is None else gen, State.DONE, refs=refs)
        self.resume(fork, value, node)

    def resume(self, fork: Fork, value: Done, source: int) -> None:
        """The strand that forked goes on behind its instruction, with a value that came from `source`."""
        strand, instruction = fork.strand, fork.instruction
        assert instruction.pc is not None
        strand.deliver(value, source)
        strand.bind(instruction.bind, value)
        strand.pc = instruction.pc
        self.runnable.appendleft(strand)

    def scope(self, names: dict[str, Done]) -> Scope:
        """What substitution may refer to from a place that sees these names."""
        facts = self.facts
        return Scope(
            names={name: done.value for name, done in names.items()},
            variables=facts.variables,
            instance_id=facts.instance_id,
            label=facts.label,
            columns={name: done.columns for name, done in names.items() if done.columns},
        )


def outer(gen: str) -> str:
    """The counters around a LOOP or RETRY, from those of its own row."""
    return gen.rpartition(".")[0]


def count(gen: str) -> int:
    """The innermost counter."""
    return int(gen.rpartition(".")[2])


def inner(gen: str, number: int) -> str:
    """The counters inside a LOOP or RETRY."""
    return f"{gen}.{number}" if gen else str(number)


def failure_beside(failure: Failed, other: Failed) -> Failed:
    """The first failure, with a word on what failed on the way out."""
    detail = f"{failure.detail}\n{other.message}" if failure.detail else other.message
    return replace(failure, detail=detail)
