"""Driving the pure machine in tests: programs from graphs, the journal's rules in memory, runs by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from durasql.bytecode.program import Program
from durasql.lower import lower
from durasql.syntax import ast
from durasql.syntax.envelope import decode, encode
from durasql_runtime.journal import Key, Row, State, UndoRow
from durasql_runtime.machine import COUNTING, WHOLE, Facts, Finish, Machine, Transition
from durasql_runtime.outcome import Done, Outcome


def program_of(graph: ast.Node) -> Program:
    """Lowered from its envelope, as a worker does."""
    return lower(decode(encode(graph)))


class Table:
    """df.journal's own rules, and those of df.undos, in memory: one row per node; a row keeps its loop's
    names within a generation.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.rows: dict[int, Row] = {}
        self.undos: dict[Key, UndoRow] = {}
        self.seq = 0

    def write(self, transition: Transition) -> None:
        timers = [leaf for leaf in transition.started if leaf.timer is not None]
        waiting = [
            Row(*leaf.key, State.WAITING, attempts=leaf.timer.attempts) for leaf in timers if leaf.timer
        ]
        for row in (*transition.rows, *waiting):
            self.seq += 1
            old = self.rows.get(row.node)
            kept = old.names if old and old.gen == row.gen and row.names is None else row.names
            self.rows[row.node] = replace(row, names=kept, seq=self.seq)
        for key in transition.cancelled:
            row = self.rows.get(key[0])
            kept = key != WHOLE and self.program.nodes[key[0]].type in COUNTING
            if row is not None and row.state is State.WAITING and row.key == key and not kept:
                del self.rows[key[0]]
        for undo in transition.undos:
            self.seq += 1
            earlier = self.undos.get(undo.key)
            seq, settled = (earlier.seq, self.seq) if earlier else (self.seq, None)
            self.undos[undo.key] = replace(undo, seq=seq, settled=settled)

    def replayed(self, facts: Facts | None = None) -> Machine:
        """The machine that another worker would make of this."""
        machine, _ = Machine.replay(
            self.program, list(self.rows.values()), facts or Facts(), list(self.undos.values())
        )
        assert machine.opening.rows == [], "all that follows from the journal is in it"
        return machine


def visible(machine: Machine) -> object:
    """All that a worker can see of a machine's state. What is over is never replayed: how it is called then
    does not count.
    """
    over = machine.finished.outcome if machine.finished else None
    return {key: dict(leaf.names) for key, leaf in machine.ready.items()}, over


class Run:
    """Drives a machine by the queries of its leaves."""

    def __init__(self, graph: ast.Node, **facts: Any) -> None:
        self.program = program_of(graph)
        self.facts = Facts(**facts)
        self.machine = Machine(self.program, self.facts)
        self.table = Table(self.program)
        self.last: Transition = self.machine.start()
        self.table.write(self.last)

    @property
    def ready(self) -> list[str]:
        leaves = [key for key, leaf in self.machine.ready.items() if leaf.timer is None]
        return sorted(self.program.nodes[node].query or "" for node, _ in leaves)

    @property
    def timers(self) -> list[str]:
        """The types of the nodes that wait for a time of their own."""
        keys = [key for key, leaf in self.machine.ready.items() if leaf.timer is not None]
        return sorted("WHOLE" if node < 0 else self.program.nodes[node].type for node, _ in keys)

    def fire(self, kind: str) -> Run:
        """The timer of the node of this type fires."""
        for key, leaf in self.machine.ready.items():
            if leaf.timer is not None and kind == (
                "WHOLE" if key[0] < 0 else self.program.nodes[key[0]].type
            ):
                return self._complete(key, leaf.timer.outcome)
        raise AssertionError(f"no timer of {kind} runs, only {self.timers}")

    def finish(self, query: str, outcome: Outcome | str = "1") -> Run:
        key = next(key for key in self.machine.ready if self.program.nodes[key[0]].query == query)
        if isinstance(outcome, str):
            outcome = Done(f'{{"rows":[{{"x":{outcome}}}],"row_count":1}}')
        return self._complete(key, outcome)

    def _complete(self, key: Key, outcome: Outcome) -> Run:
        transition = self.machine.complete(key, outcome)
        assert transition is not None
        self.last = transition
        self.table.write(transition)
        # Another worker could take over here: it would see just the same.
        reborn = self.table.replayed(self.facts)
        assert visible(reborn) == visible(self.machine)
        return self

    @property
    def result(self) -> Outcome:
        assert isinstance(self.machine.finished, Finish)
        return self.machine.finished.outcome

    @property
    def status(self) -> str:
        assert isinstance(self.machine.finished, Finish)
        return self.machine.finished.status


def sql(query: str, name: str | None = None) -> ast.Sql:
    return ast.Sql(query, name=name)
