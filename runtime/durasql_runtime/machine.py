"""Stage 8: the pure machine. (program, journal) -> what is ready, what is over, what to write.

No I/O, no clock, no randomness: the same program and journal give the same state on every worker.
Strands, program counters, loop counters and named results live here only; the journal is all that is
stored.

A strand runs instructions until it meets a leaf (which becomes ready), forks, or ends. `complete` feeds a
leaf's outcome back and returns a `Transition`: the rows that follow from it, the leaves that became
ready, the executions that lost a race, and the instance's end when there is one. The caller writes all
rows in the leaf's own transaction.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from durasql.bytecode.opcodes import Op
from durasql.bytecode.program import Instruction, Program
from durasql.errors import ProgramError
from durasql_runtime.configs import break_value, has_rows
from durasql_runtime.journal import Key, Names, Row, State, outcome_of, row_of
from durasql_runtime.outcome import Done, Failed, Outcome
from durasql_runtime.strands import Branch, Broke, Ended, Fork, Frame, Strand
from durasql_runtime.substitute import Scope
from durasql_runtime.truth import truthy

BREAK_OUTSIDE: Final = (
    "df.break() was called outside of a loop. df.break() may only be used inside df.loop()."
)
_STEPS_PER_INSTRUCTION: Final = 8
"""What the lowering emits needs less than two; bytecode that was written by hand could do without end."""
LOST_LOOP: Final = "Loop branch cancelled after losing RACE"


@dataclass(frozen=True, slots=True)
class Activation:
    """A leaf that may run now: its instruction, its identity and the names it sees."""

    key: Key
    instruction: Instruction
    strand: Strand

    @property
    def names(self) -> dict[str, Done]:
        """Named results visible to this leaf."""
        return self.strand.names


@dataclass(frozen=True, slots=True)
class Finish:
    """The instance is over."""

    outcome: Outcome


@dataclass(slots=True)
class Transition:
    """What follows from one outcome."""

    rows: list[Row] = field(default_factory=list)
    started: list[Activation] = field(default_factory=list)
    cancelled: list[Key] = field(default_factory=list)
    finish: Finish | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What an instance knows besides its program: for break values and the loop guard."""

    instance_id: str = "00000000"
    label: str | None = None
    variables: dict[str, str] = field(default_factory=dict)
    max_iterations: int = 0


class Machine:
    """The state of one instance. Build it with `replay`; then alternate `ready` and `complete`."""

    def __init__(self, program: Program, facts: Facts = Facts()) -> None:
        self.program = program
        self.facts = facts
        self.ready: dict[Key, Activation] = {}
        self.finished: Finish | None = None
        self.opening: list[Row] = []
        """Rows that follow from merely starting (a break, say) and are not in the journal yet."""
        self._loops: dict[int, Row] = {}
        self._runnable: deque[Strand] = deque()
        self._now = Transition()

    @classmethod
    def replay(
        cls,
        program: Program,
        history: Iterable[Row],
        facts: Facts = Facts(),
    ) -> tuple[Machine, dict[Key, Row]]:
        """The machine as the journal left it, and the waiting or started rows of its ready leaves."""
        machine = cls(program, facts)
        rows = sorted(history, key=lambda row: row.seq)
        machine._loops = {row.node: row for row in rows if program.nodes[row.node].type == Op.LOOP}
        recorded = {row.key for row in rows}
        machine.opening = [row for row in machine.start().rows if row.key not in recorded]
        pending: dict[Key, Row] = {}
        for row in rows:
            if row.state in (State.WAITING, State.STARTED):
                pending[row.key] = row
            elif row.key in machine.ready and row.state in (State.DONE, State.FAILED):
                machine.complete(row.key, outcome_of(row))
        machine._loops.clear()
        return machine, {key: row for key, row in pending.items() if key in machine.ready}

    def start(self) -> Transition:
        """Begin at pc 0."""
        self._now = Transition()
        self._runnable.append(Strand(pc=0))
        return self._settle()

    def complete(self, key: Key, outcome: Outcome) -> Transition | None:
        """A ready leaf is over. None when it is not ready (any more): nothing may be written then."""
        activation = self.ready.pop(key, None)
        if activation is None:
            return None
        self._now = Transition()
        self._now.rows.append(row_of(key, outcome))
        strand, instruction = activation.strand, activation.instruction
        if isinstance(outcome, Failed):
            self._fail(strand, instruction.node, outcome)
        else:
            strand.deliver(outcome, instruction.node)
            strand.bind(instruction.bind, outcome)
            strand.pc += 1
            self._runnable.append(strand)
        return self._settle()

    def _settle(self) -> Transition:
        """Run every strand that can run; what stopped it is in the transition."""
        budget = _STEPS_PER_INSTRUCTION * len(self.program.code)
        while self._runnable and self.finished is None:
            strand = self._runnable.popleft()
            while budget > 0 and not strand.dead and self._step(strand):
                budget -= 1
            budget -= 1
            if budget < 0:
                raise ProgramError("the program runs in circles without ever performing a step")
        self._runnable.clear()
        if self.finished is None and not self.ready:
            raise ProgramError("the program comes to a halt without an end")
        if self.finished is not None:
            self._now.finish = self.finished
            self._now.cancelled.extend(self.ready)
            self.ready.clear()
        return self._now

    def _step(self, strand: Strand) -> bool:
        """Execute one instruction; False when the strand cannot go on by itself."""
        instruction = self.program.code[strand.pc]
        rule = _RULES.get(instruction.op, Machine._leaf)
        return rule(self, strand, instruction)

    # -- one rule per opcode ------------------------------------------------------------------------------

    def _leaf(self, strand: Strand, instruction: Instruction) -> bool:
        key = (instruction.node, strand.gen)
        if key in self.ready:
            raise ProgramError(f"two branches of the program lead to the same step, node {instruction.node}")
        activation = Activation(key, instruction, strand)
        self.ready[key] = activation
        self._now.started.append(activation)
        return False

    def _then(self, strand: Strand, instruction: Instruction) -> bool:
        return self._composite_done(strand, instruction)

    def _if(self, strand: Strand, instruction: Instruction) -> bool:
        assert instruction.pc is not None
        strand.pc = strand.pc + 1 if truthy(strand.value.value) else instruction.pc
        return True

    def _if_rows(self, strand: Strand, instruction: Instruction) -> bool:
        assert instruction.pc is not None
        verdict = has_rows(self.program.nodes[instruction.node].query or "", strand.names)
        if isinstance(verdict, Failed):
            return self._fail_composite(strand, instruction.node, verdict)
        strand.pc = strand.pc + 1 if verdict else instruction.pc
        return True

    def _jump(self, strand: Strand, instruction: Instruction) -> bool:
        assert instruction.pc is not None
        strand.pc = instruction.pc
        return True

    def _fork(self, strand: Strand, instruction: Instruction) -> bool:
        fork = Fork(instruction, strand)
        for index, pc in enumerate(instruction.pcs):
            branch = Strand(pc=pc, names=dict(strand.names), parent=fork, index=index, base_gen=strand.gen)
            fork.branches.append(Branch(branch, self._branch_root(instruction, index)))
        # Branches run before anything else that waits, left to right, so that replay repeats the order.
        self._runnable.extendleft(branch.strand for branch in reversed(fork.branches))
        return False

    def _branch_root(self, instruction: Instruction, index: int) -> int:
        node = self.program.nodes[instruction.node]
        roots = (node.left, node.right, *node.extras)
        root = roots[index]
        assert root is not None
        return root

    def _end(self, strand: Strand, _: Instruction) -> bool:
        self._strand_over(strand, Ended(strand.value, strand.source))
        return False

    def _loop(self, strand: Strand, instruction: Instruction) -> bool:
        frame = Frame(loop_pc=strand.pc, node=instruction.node)
        recorded = self._loops.get(instruction.node)
        outer = strand.gen
        strand.frames.append(frame)
        if recorded is not None and _outer(recorded.gen) == outer:
            frame.count = _count(recorded.gen)
            for name, value in Names.from_json(recorded.names or "{}").values.items():
                strand.bind(name, value)
        strand.pc += 1
        return True

    def _while(self, strand: Strand, _: Instruction) -> bool:
        strand.frames[-1].body = (strand.value, strand.source)
        strand.pc += 1
        return True

    def _next(self, strand: Strand, instruction: Instruction) -> bool:
        frame = strand.frames[-1]
        if frame.body is not None and not truthy(strand.value.value):
            value, source = frame.body
            return self._leave_loop(strand, value, (source,))
        return self._next_generation(strand, frame)

    def _break(self, strand: Strand, instruction: Instruction) -> bool:
        node = instruction.node
        value = break_value(self.program.nodes[node].query or "", self.scope(strand.names))
        if isinstance(value, Failed):
            return self._fail_composite(strand, node, value)
        self._now.rows.append(Row(node, strand.gen, State.BROKEN, value.value))
        self._unwind_break(strand, node, value)
        return False

    # -- loops ----------------------------------------------------------------------------------------------

    def _next_generation(self, strand: Strand, frame: Frame) -> bool:
        limit = self.facts.max_iterations
        if limit and frame.count >= limit:
            message = (
                f"Loop exceeded maximum iteration count of {limit}. Use df.break() to exit the loop or "
                "restructure the workflow."
            )
            hint = "The limit is the setting loop_max_iterations in df.settings; 0 means none."
            return self._fail_composite(strand, frame.node, Failed(message, hint=hint))
        frame.count += 1
        frame.body = None
        carried = Names({name: strand.names[name] for name in frame.bound})
        self._now.rows.append(Row(frame.node, strand.gen, State.LOOPING, names=carried.to_json()))
        strand.pc = frame.loop_pc + 1
        return True

    def _leave_loop(self, strand: Strand, value: Done, refs: tuple[int, ...]) -> bool:
        """The innermost loop ends with a value; without `refs` the value is the row's own (a break)."""
        frame = strand.frames[-1]
        stored = None if refs else value.value
        self._now.rows.append(Row(frame.node, strand.gen, State.DONE, stored, refs))
        strand.frames.pop()
        instruction = self.program.code[frame.loop_pc]
        assert instruction.pc is not None
        strand.deliver(value, frame.node)
        strand.bind(instruction.bind, value)
        strand.pc = instruction.pc
        return True

    # -- composites -----------------------------------------------------------------------------------------

    def _composite_done(self, strand: Strand, instruction: Instruction) -> bool:
        """A sequence or a choice is over: its value is the one that arrived last."""
        self._now.rows.append(Row(instruction.node, strand.gen, State.DONE, refs=(strand.source,)))
        strand.source = instruction.node
        strand.bind(instruction.bind, strand.value)
        strand.pc += 1
        return True

    def _strand_over(self, strand: Strand, end: Ended | Broke | Failed) -> None:
        """A strand ended: hand the result to its fork, or end the instance."""
        strand.dead = True
        fork = strand.parent
        if fork is not None:
            fork.branches[strand.index].end = end
            (self._join_end if fork.instruction.op is Op.JOIN else self._race_end)(fork, strand.index)
        elif isinstance(end, Ended):
            self.finished = Finish(end.value)
        else:
            self.finished = Finish(Failed(BREAK_OUTSIDE) if isinstance(end, Broke) else end)

    def _join_end(self, fork: Fork, _: int) -> None:
        if any(branch.end is None for branch in fork.branches):
            return
        parent = fork.strand
        for number, branch in enumerate(fork.branches, start=1):
            if isinstance(branch.end, Failed):
                failure = branch.end.prefixed(f"JOIN branch {number} failed: ")
                self._fail_composite(parent, fork.instruction.node, failure)
                return
            parent.merge(branch.strand)
            if isinstance(branch.end, Broke):
                self._break_through(parent, fork.instruction.node, branch)
                return
        values = [branch.end.value.value for branch in fork.branches if isinstance(branch.end, Ended)]
        roots = tuple(branch.root for branch in fork.branches)
        self._resume(fork, Done(f"[{','.join(values)}]"), roots)

    def _race_end(self, fork: Fork, winner: int) -> None:
        for branch in fork.branches:
            if branch.end is None:
                self._cancel(branch)
        branch, parent = fork.branches[winner], fork.strand
        if isinstance(branch.end, Failed):
            side = ("left", "right")[winner]
            failure = branch.end.prefixed(f"RACE {side} branch failed: ")
            self._fail_composite(parent, fork.instruction.node, failure)
            return
        parent.merge(branch.strand)
        if isinstance(branch.end, Broke):
            self._break_through(parent, fork.instruction.node, branch)
        elif isinstance(branch.end, Ended):
            self._resume(fork, branch.end.value, (branch.root,))

    def _resume(self, fork: Fork, value: Done, refs: tuple[int, ...]) -> None:
        strand, instruction = fork.strand, fork.instruction
        assert instruction.pc is not None
        self._now.rows.append(Row(instruction.node, strand.gen, State.DONE, refs=refs))
        strand.deliver(value, instruction.node)
        strand.bind(instruction.bind, value)
        strand.pc = instruction.pc
        self._runnable.appendleft(strand)

    def _cancel(self, branch: Branch) -> None:
        """A race is decided: everything in the losing branch stops."""
        lost = [key for key, activation in self.ready.items() if activation.strand.inside(branch.strand)]
        for key in lost:
            del self.ready[key]
        self._now.cancelled.extend(lost)
        for strand in self._runnable:
            strand.dead = strand.dead or strand.inside(branch.strand)
        branch.strand.dead = True
        frames = branch.strand.frames
        if frames and frames[0].node == branch.root and frames[0].count == 1:
            gen = branch.strand.gen_at(1)
            self._now.rows.append(Row(branch.root, gen, State.FAILED, Failed(LOST_LOOP).to_json()))

    # -- unwinding ------------------------------------------------------------------------------------------

    def _fail_composite(self, strand: Strand, node: int, failure: Failed) -> bool:
        """A composite itself fails (not merely something below it)."""
        self._now.rows.append(Row(node, strand.gen, State.FAILED, failure.to_json()))
        self._fail(strand, node, failure)
        return False

    def _fail(self, strand: Strand, node: int, failure: Failed) -> None:
        """`node` has its row: mark everything around it in this strand, then end the strand with
        the failure.
        """
        for ancestor in self._ancestors(strand, node):
            text = self._failed_out_of(strand, node, failure)
            if text is failure:
                row = Row(ancestor, strand.gen, State.FAILED, refs=(node,))
            else:
                row = Row(ancestor, strand.gen, State.FAILED, text.to_json())
            self._now.rows.append(row)
            node, failure = ancestor, text
        self._strand_over(strand, self._failed_out_of(strand, node, failure))

    def _failed_out_of(self, strand: Strand, node: int, failure: Failed) -> Failed:
        """The failure as seen outside `node`, leaving its frame when it is the loop the strand is in."""
        if not strand.frames or strand.frames[-1].node != node:
            return failure
        strand.frames.pop()
        if self._is_child_loop(strand, node):
            return failure.prefixed("Loop sub-orchestration failed: ")
        return failure

    def _is_child_loop(self, strand: Strand, node: int) -> bool:
        """Whether a loop is more than the root of its instance or of its branch."""
        fork = strand.parent
        return node != (0 if fork is None else fork.branches[strand.index].root)

    def _unwind_break(self, strand: Strand, node: int, value: Done) -> None:
        """A break travels outwards to the nearest loop of its strand, or out of the strand."""
        child = node
        for ancestor in self._ancestors(strand, node):
            if strand.frames and strand.frames[-1].node == ancestor:
                self._leave_loop(strand, value, ())
                self._runnable.appendleft(strand)
                return
            self._now.rows.append(Row(ancestor, strand.gen, State.BROKEN, refs=(child,)))
            child = ancestor
        self._strand_over(strand, Broke(value))

    def _break_through(self, parent: Strand, node: int, branch: Branch) -> None:
        """A branch's break goes on in the strand that forked."""
        assert isinstance(branch.end, Broke)
        self._now.rows.append(Row(node, parent.gen, State.BROKEN, refs=(branch.root,)))
        self._unwind_break(parent, node, branch.end.value)

    def _ancestors(self, strand: Strand, node: int) -> Sequence[int]:
        """The nodes around `node`, inside out, as far as this strand reaches."""
        root = 0 if strand.parent is None else strand.parent.branches[strand.index].root
        found: list[int] = []
        while node != root:
            parent = self.program.nodes[node].parent
            assert parent is not None
            found.append(parent)
            node = parent
        return found

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


def _outer(gen: str) -> str:
    return gen.rpartition(".")[0]


def _count(gen: str) -> int:
    return int(gen.rpartition(".")[2])


_RULES: Final[dict[Op, Callable[[Machine, Strand, Instruction], bool]]] = {
    Op.THEN: Machine._then,
    Op.IF: Machine._if,
    Op.IF_ROWS: Machine._if_rows,
    Op.END_IF: Machine._composite_done,
    Op.JUMP: Machine._jump,
    Op.JOIN: Machine._fork,
    Op.RACE: Machine._fork,
    Op.END: Machine._end,
    Op.LOOP: Machine._loop,
    Op.WHILE: Machine._while,
    Op.NEXT: Machine._next,
    Op.BREAK: Machine._break,
}
