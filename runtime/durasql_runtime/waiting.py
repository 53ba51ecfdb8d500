"""What one instance waits for: timers, schedules and signals, the machine's own timers, and tries to come.

In: activations to wait for, letters, the database's clock. Out: what has come (`Due`), and until when there
is nothing to do. Nothing is written here; rows go out with the record that begins the wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from durasql_runtime.claims import Letter
from durasql_runtime.journal import Key, Row, State
from durasql_runtime.machine import Activation
from durasql_runtime.outcome import Done, Failed, Outcome
from durasql_runtime.perform.waits import WAITS, Armed, arm, rearm, received


@dataclass(slots=True)
class Due:
    """What has come: outcomes of waits, the letters they took, and steps that are to be tried again."""

    outcomes: list[tuple[Key, Outcome]] = field(default_factory=list)
    letters: list[int] = field(default_factory=list)
    again: list[Activation] = field(default_factory=list)

    @property
    def nothing(self) -> bool:
        """Whether nothing has come."""
        return not (self.outcomes or self.again)


class Waits:
    """The waits of one claimed instance. `pending` are the journal's waiting and started rows."""

    def __init__(
        self, clock: Callable[[], datetime], inbox: Iterable[Letter], pending: dict[Key, Row]
    ) -> None:
        self._now = clock
        self._inbox = list(inbox)
        self._taken: set[int] = set()
        self._pending = pending
        self._armed: dict[Key, Armed] = {}
        self._tries: dict[Key, Activation] = {}

    def __bool__(self) -> bool:
        return bool(self._armed)

    def __contains__(self, key: Key) -> bool:
        return key in self._armed

    @property
    def nodes(self) -> list[int]:
        """The nodes whose rows say until when to wait."""
        return [key[0] for key in self._armed]

    @property
    def signals(self) -> list[str]:
        """The names of the signals that are waited for."""
        return [armed.signal for armed in self._armed.values() if armed.signal is not None]

    def tries(self, key: Key) -> int:
        """How often a step was begun before, or failed and is tried again."""
        kept = self._pending.get(key)
        return kept.attempts if kept else 0

    def taken_from(self, earlier: Waits) -> None:
        """Letters taken before a reload stay taken, but for those that are back: that never committed."""
        self._taken = earlier._taken - {letter.id for letter in self._inbox}

    # -- beginning and ending a wait -------------------------------------------------------------------------

    def is_wait(self, activation: Activation) -> bool:
        """Whether there is something to wait for before this is performed, if it is performed at all."""
        if activation.timer is not None or activation.instruction.op in WAITS:
            return True
        kept = self._pending.get(activation.key)
        return kept is not None and kept.state is State.WAITING

    def begin(self, activation: Activation, config: str) -> Row | Outcome | None:
        """Wait for this. A row to write; or an outcome, when there is nothing to wait for; or nothing, when
        the journal has the row already.
        """
        op, key = activation.instruction.op, activation.key
        kept = self._pending.get(key)
        if kept is not None and kept.state is State.WAITING:
            return self._again(activation, kept, config)
        if activation.timer is not None:
            return self._start(activation)
        begun = arm(op, key, config, self._now())
        if isinstance(begun, Done | Failed):
            return begun
        self._armed[key], row = begun
        return row

    def back_off(self, activation: Activation, seconds: float, tries: int) -> Row:
        """A step failed and is tried again after a while."""
        key = activation.key
        row = Row(key[0], key[1], State.WAITING, delay=seconds, attempts=tries)
        self._pending[key] = row
        self._tries[key] = activation
        self._armed[key] = Armed(key, self._now() + timedelta(seconds=seconds), None, None)
        return row

    def end(self, key: Key) -> None:
        """Wait for this no longer."""
        self._armed.pop(key, None)
        self._tries.pop(key, None)

    def _again(self, activation: Activation, kept: Row, config: str) -> Outcome | None:
        key = activation.key
        if activation.timer is not None:
            self._armed[key] = Armed(key, kept.due, None, activation.timer.outcome)
        elif activation.instruction.op in WAITS:
            found = rearm(activation.instruction.op, kept, config)
            if isinstance(found, Failed):
                return found
            self._armed[key] = found
        else:
            self._tries[key] = activation
            self._armed[key] = Armed(key, kept.due, None, None)
        return None

    def _start(self, activation: Activation) -> Row:
        timer, key = activation.timer, activation.key
        assert timer is not None
        if timer.seconds is None:
            self._armed[key] = Armed(key, timer.due, None, timer.outcome)
            return Row(*key, State.WAITING, due=timer.due, attempts=timer.attempts)
        self._armed[key] = Armed(key, self._now() + timedelta(seconds=timer.seconds), None, timer.outcome)
        return Row(*key, State.WAITING, delay=timer.seconds, attempts=timer.attempts)

    # -- what comes ------------------------------------------------------------------------------------------

    def deliver(self, letters: Iterable[Letter]) -> None:
        """Signals have come for this instance."""
        known = {letter.id for letter in self._inbox} | self._taken
        self._inbox.extend(letter for letter in letters if letter.id not in known)
        self._inbox.sort(key=lambda letter: letter.id)

    def due(self) -> Due:
        """What has come by now; its letters and tries are taken out."""
        for letter in list(self._inbox):
            waiting = [armed for armed in self._armed.values() if armed.signal == letter.name]
            if waiting:
                self._inbox.remove(letter)
                self._taken.add(letter.id)
                return Due([(armed.key, received(letter.name, letter)) for armed in waiting], [letter.id])
        due = Due()
        now = self._now()
        for armed in [armed for armed in self._armed.values() if armed.due is not None and armed.due <= now]:
            if armed.elapsed is not None:
                due.outcomes.append((armed.key, armed.elapsed))
            else:
                due.again.append(self._tries[armed.key])
                self.end(armed.key)
        return due

    @property
    def is_over(self) -> bool:
        """Whether something has come already."""
        names = {letter.name for letter in self._inbox}
        now = self._now()
        return any(
            (armed.due is not None and armed.due <= now) or armed.signal in names
            for armed in self._armed.values()
        )

    @property
    def seconds(self) -> float | None:
        """Until the next deadline; None when there is none."""
        deadlines = [armed.due for armed in self._armed.values() if armed.due is not None]
        return max(0.0, (min(deadlines) - self._now()).total_seconds()) if deadlines else None
