"""Stages 7 to 9 as others see them: what a worker tells whoever measures or traces it.

In: calls at the few places where something begins or ends. Out: nothing here; Prometheus and OpenTelemetry
are in `durasql.telemetry`, so that the runtime knows neither. An observer is called on the worker's event
loop: it returns at once and raises nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durasql.bytecode.program import Program
    from durasql_runtime.claims import Claim
    from durasql_runtime.machine import Activation
    from durasql_runtime.outcome import Outcome


class StepWatch(Protocol):
    """One attempt of one step, from the moment it is performed."""

    def ended(self, outcome: Outcome | None) -> None:
        """Performed; None when it was interrupted: it lost a race, was cancelled, or its connection broke.

        The commit may come later: a step whose commit is refused is seen again, as its next attempt.
        """


class RunWatch(Protocol):
    """One instance in this worker's hands, from claim to finish, parking or loss."""

    def step(self, activation: Activation, attempt: int) -> StepWatch:
        """A step is about to be performed; `attempt` counts from 1."""

    def waited(self, op: str, node: int, outcome: Outcome) -> None:
        """A timer, schedule or signal has come, or can never come."""

    def finished(self, outcome: Outcome, status: str) -> None:
        """The instance is over, and that is committed: completed, failed, compensated or stuck."""

    def ended(self) -> None:
        """The instance is out of this worker's hands, over or not."""


class Observer(Protocol):
    """Told by a worker what it does."""

    def claimed(self, count: int) -> None:
        """This many instances were claimed at once."""

    def run(self, claim: Claim, program: Program | None) -> RunWatch:
        """A claimed instance begins, or goes on, to run; without a program it is one that may not."""


class Silent:
    """Observer, run and step in one, that takes no notice."""

    def claimed(self, count: int) -> None: ...

    def run(self, claim: Claim, program: Program | None) -> Silent:
        return self

    def step(self, activation: Activation, attempt: int) -> Silent:
        return self

    def waited(self, op: str, node: int, outcome: Outcome) -> None: ...

    def finished(self, outcome: Outcome, status: str) -> None: ...

    def ended(self, outcome: Outcome | None = None) -> None: ...


SILENT: Final = Silent()
"""The observer of a worker that nobody observes."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """A worker at this moment; read from any thread.

    `lag_seconds`: for how long the first of the due instances that it may serve has waited; measured with
    each heartbeat. `signed_on`: whether it has a worker number, that is, a database.
    """

    signed_on: bool
    draining: bool
    running: int
    sessions_busy: int
    sessions_idle: int
    lag_seconds: float


class Several:
    """One observer that tells several."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def claimed(self, count: int) -> None:
        for observer in self._observers:
            observer.claimed(count)

    def run(self, claim: Claim, program: Program | None) -> RunWatch:
        return _SeveralRuns([observer.run(claim, program) for observer in self._observers])


class _SeveralRuns:
    def __init__(self, runs: Sequence[RunWatch]) -> None:
        self._runs = runs

    def step(self, activation: Activation, attempt: int) -> StepWatch:
        return _SeveralSteps([run.step(activation, attempt) for run in self._runs])

    def waited(self, op: str, node: int, outcome: Outcome) -> None:
        for run in self._runs:
            run.waited(op, node, outcome)

    def finished(self, outcome: Outcome, status: str) -> None:
        for run in self._runs:
            run.finished(outcome, status)

    def ended(self) -> None:
        for run in self._runs:
            run.ended()


class _SeveralSteps:
    def __init__(self, steps: Sequence[StepWatch]) -> None:
        self._steps = steps

    def ended(self, outcome: Outcome | None) -> None:
        for step in self._steps:
            step.ended(outcome)
