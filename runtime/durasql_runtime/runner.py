"""Stage 8-9 for one instance: let the machine decide, have the leaves performed, write what follows.

A runner owns its instance's machine from claim to finish, parking or loss. Records of one instance are
written one after the other (`_lock`), so a row is never written on the strength of another that might
still be rolled back. The steady state, a sequence of SQL steps, stays on one session: a step's record
travels with the next step's SQL.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from durasql.bytecode.opcodes import Op
from durasql.bytecode.program import Program
from durasql.errors import LeaseLost
from durasql_runtime.claims import Claim, Control, Letter
from durasql_runtime.journal import Key, Row, State
from durasql_runtime.machine import Activation, Facts, Finish, Machine, Transition
from durasql_runtime.observe import SILENT, Observer, RunWatch
from durasql_runtime.outcome import Done, Failed, Outcome
from durasql_runtime.pace import Pace
from durasql_runtime.perform.performers import Performers
from durasql_runtime.perform.step import Step
from durasql_runtime.perform.waits import WAITS, Armed, arm, rearm, received
from durasql_runtime.pool import Pool
from durasql_runtime.record import Batch, Record, Recorder
from durasql_runtime.session import SessionTainted, StepRefused
from durasql_runtime.settings import Settings
from durasql_runtime.wire import ConnectionLost

log = logging.getLogger("durasql.run")

_LOSSES_BEFORE_GIVING_UP = 5
"""A step whose connection breaks this often takes the blame: it may be what breaks it."""
_LOCKED = "55P03"
_CONFLICTS_BEFORE_GIVING_UP = 20
_CONFLICTS = frozenset({"40001", "40P01"})
"""A COMMIT refused for these succeeds when it is tried again, such as when two runs signal each other."""


class CommitRefused(Exception):
    """The step ran but could not commit; the machine must forget that it was done."""

    def __init__(self, key: Key, failure: Failed) -> None:
        super().__init__(failure.message)
        self.key = key
        self.failure = failure


class HandOver(Exception):
    """The worker drains: the instance goes back."""


@dataclass(slots=True)
class Services:
    """What a worker lends its runners."""

    control: Control
    pool: Pool
    performers: Performers
    settings: Settings
    draining: bool = False
    observer: Observer = SILENT


class Runner:
    """One claimed instance."""

    def __init__(self, claim: Claim, program: Program, services: Services) -> None:
        self.claim = claim
        self._program = program
        self._services = services
        self._born = asyncio.get_running_loop().time()
        self._inbox: list[Letter] = list(claim.inbox)
        self._taken: set[int] = set()
        self._plain = False
        self._losses: dict[Key, int] = {}
        self._watch: RunWatch = SILENT
        self._begin(claim.history)

    def _begin(self, history: tuple[Row, ...]) -> None:
        """Set the machine to what the journal says."""
        facts = Facts(
            self.claim.id, self.claim.label, self.claim.variables, self._services.settings.loop_max_iterations
        )
        self._machine, self._pending = Machine.replay(self._program, history, facts)
        self._recorder = Recorder(
            str(self._services.control.identity.id).encode(),
            self._services.control.identity.token.encode(),
            self.claim.id,
            self.claim.epoch,
            max((row.seq for row in history), default=0),
        )
        self._pace = Pace(self._services.settings)
        self._armed: dict[Key, Armed] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._todo: list[Activation] = []
        self._lock = asyncio.Lock()
        self._event = asyncio.Event()
        self._over = False

    # -- the life of a run
    # ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until the instance is over, parked, lost or handed over. Never raises for a failing
        workflow.
        """
        self._watch = self._services.observer.run(self.claim, self._program)
        try:
            await self._run()
        finally:
            self._watch.ended()

    async def _run(self) -> None:
        refused: dict[Key, Failed] = {}
        conflicts = 0
        while True:
            try:
                await self._live(refused)
                return
            except LeaseLost as error:
                self._log_loss(error)
                return
            except HandOver:
                await self._services.control.release([self.claim.id])
                return
            except CommitRefused as error:
                conflicts += error.failure.sqlstate in _CONFLICTS
                if error.failure.sqlstate not in _CONFLICTS or conflicts >= _CONFLICTS_BEFORE_GIVING_UP:
                    refused = {error.key: error.failure}
            except SessionTainted:
                self._plain = True
            except _StepLost as error:
                losses = self._losses[error.key] = self._losses.get(error.key, 0) + 1
                if losses >= _LOSSES_BEFORE_GIVING_UP:
                    refused = {error.key: Failed(f"SQL execution failed: the connection was lost: {error}")}
            finally:
                await self._cancel_tasks()
            try:
                await self._reload()
            except LeaseLost as error:
                self._log_loss(error)
                return

    async def _reload(self) -> None:
        """Forget what memory says: the journal knows what was committed. Raises `LeaseLost`."""
        self.claim = await self._services.control.renew(self.claim)
        self._born = asyncio.get_running_loop().time()
        self._inbox = list(self.claim.inbox)
        # A letter that is back was taken in a transaction that never committed.
        self._taken -= {letter.id for letter in self._inbox}
        self._begin(self.claim.history)

    def _log_loss(self, error: LeaseLost) -> None:
        log.info("lost the claim", extra={"instance": self.claim.id, "reason": str(error)})

    async def _live(self, refused: dict[Key, Failed]) -> None:
        await self._resume(refused)
        while not self._over:
            if len(self._todo) == 1 and not self._tasks and not self._armed:
                await self._drive(self._todo.pop())
                continue
            self._spawn()
            await self._something()
            await self._fire()

    async def _resume(self, refused: dict[Key, Failed]) -> None:
        """Take up the machine's ready leaves: re-arm waits, note what is to be performed."""
        if self._machine.finished is not None:
            await self._write(Batch(rows=self._machine.opening, finish=self._machine.finished.outcome))
            return
        begun = Transition(rows=self._machine.opening, started=list(self._machine.ready.values()))
        outcomes = [(key, failure) for key, failure in refused.items() if key in self._machine.ready]
        await self._apply(outcomes, begun=begun)
        await self._fire()

    def _spawn(self) -> None:
        for activation in self._todo:
            task = asyncio.create_task(self._drive(activation))
            self._tasks[activation.key] = task
            task.add_done_callback(lambda _: self._event.set())
        self._todo.clear()

    async def _something(self) -> None:
        """Wait until a strand ends, a letter comes or a deadline passes."""
        timeout = self._until_next_deadline()
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            pass
        self._event.clear()
        for key, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[key]
                if not task.cancelled():
                    task.result()

    async def _cancel_tasks(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()

    # -- waits
    # --------------------------------------------------------------------------------------------------

    def deliver(self, letters: Iterable[Letter]) -> None:
        """Signals have come for this instance."""
        known = {letter.id for letter in self._inbox} | self._taken
        self._inbox.extend(letter for letter in letters if letter.id not in known)
        self._inbox.sort(key=lambda letter: letter.id)
        self._event.set()

    @property
    def now(self) -> datetime:
        """The database's clock, reckoned from the claim; never ahead of it."""
        elapsed = asyncio.get_running_loop().time() - self._born
        return self.claim.now + timedelta(seconds=elapsed)

    def _until_next_deadline(self) -> float | None:
        deadlines = [armed.due for armed in self._armed.values() if armed.due is not None]
        return max(0.0, (min(deadlines) - self.now).total_seconds()) if deadlines else None

    async def _fire(self) -> None:
        """Complete the waits whose deadline has passed, and those whose signal is in the inbox."""
        async with self._lock:
            while not self._over:
                outcomes, taken = self._due_outcomes()
                if not outcomes:
                    return
                await self._apply(outcomes, signals=taken)
                for key, outcome in outcomes:
                    self._watch.waited(self._program.nodes[key[0]].type, key[0], outcome)

    def _due_outcomes(self) -> tuple[list[tuple[Key, Outcome]], list[int]]:
        for letter in list(self._inbox):
            waiting = [armed for armed in self._armed.values() if armed.signal == letter.name]
            if waiting:
                self._inbox.remove(letter)
                self._taken.add(letter.id)
                return [(armed.key, received(letter.name, letter)) for armed in waiting], [letter.id]
        now = self.now
        due = [armed for armed in self._armed.values() if armed.due is not None and armed.due <= now]
        return [(armed.key, armed.elapsed) for armed in due], []

    # -- strands
    # ------------------------------------------------------------------------------------------------

    async def _drive(self, activation: Activation) -> None:
        """Perform a leaf, and go on with what follows it in the same strand for as long as something does."""
        following: Activation | None = activation
        step = Step(self._services.pool, self.claim, plain=self._plain)
        try:
            while following is not None:
                activation = following
                following = self._keep(activation, await self._advance(step, activation))
        except ConnectionLost as error:
            raise _StepLost(activation.key, str(error)) from error
        finally:
            step.close()

    def _keep(self, done: Activation, following: Activation | None) -> Activation | None:
        """The leaf with which the strand goes on by itself.

        A strand's task is found by the leaf it is at, so that it can be stopped. A strand without a task, in
        the run's own, makes way as soon as it is not the only one.
        """
        task = self._tasks.get(done.key)
        if following is None:
            return None
        if task is not None:
            self._tasks[following.key] = self._tasks.pop(done.key)
        elif self._todo or self._armed:
            self._todo.insert(0, following)
            return None
        return following

    async def _advance(self, step: Step, activation: Activation) -> Activation | None:
        await self._pace.keep(activation.key)
        outcome = await self._observed(step, activation)
        async with self._lock:
            if self._over or activation.key not in self._machine.ready:
                return None
            return await self._apply([(activation.key, outcome)], step=step)

    async def _observed(self, step: Step, activation: Activation) -> Outcome:
        earlier = self._pending.get(activation.key)
        before = max(earlier.attempts if earlier else 0, self._losses.get(activation.key, 0))
        watch = self._watch.step(activation, before + 1)
        outcome = None
        try:
            outcome = await self._perform(step, activation)
            return outcome
        finally:
            watch.ended(outcome)

    async def _perform(self, step: Step, activation: Activation) -> Outcome:
        scope = self._machine.scope(activation.names)
        config = self._program.nodes[activation.instruction.node].query or ""
        before = step.carried
        try:
            return await self._services.performers.perform(
                step, activation, config, scope, self.claim, self._attempt
            )
        except StepRefused as error:
            if before is not None and error.statement is None:
                raise CommitRefused(before.key, failure_of(error)) from error
            return failure_of(error)

    async def _attempt(self, key: Key) -> None:
        """Note that an at-least-once step begins: it may have taken effect whatever happens next."""
        earlier = self._pending.get(key)
        attempts = earlier.attempts + 1 if earlier else 1
        row = Row(key[0], key[1], State.STARTED, attempts=attempts)
        async with self._lock:
            await self._write(Batch(rows=[row]))

    # -- deciding and writing
    # -----------------------------------------------------------------------------------

    async def _apply(
        self,
        outcomes: Iterable[tuple[Key, Outcome]],
        *,
        step: Step | None = None,
        signals: Iterable[int] = (),
        begun: Transition | None = None,
    ) -> Activation | None:
        """Feed outcomes to the machine and write all that follows; the leaf with which this strand
        goes on.
        """
        batch = Batch(signals=list(signals))
        runnable: list[Activation] = []
        if begun is not None:
            self._absorb(begun, batch, runnable)
        key = None
        for key, outcome in outcomes:
            transition = self._machine.complete(key, outcome)
            if transition is not None:
                self._armed.pop(key, None)
                self._absorb(transition, batch, runnable)
        runnable = [leaf for leaf in runnable if leaf.key in self._machine.ready]
        following = runnable.pop(0) if step is not None and runnable else None
        self._todo.extend(runnable)
        if not batch.finish and not self._busy():
            self._park(batch)
        if self._can_carry(step, following, batch):
            assert step is not None and key is not None
            step.carry(self._recorder.build(batch), key)
        elif not batch.empty:
            await self._write(batch, step, key)
        if self._services.draining and not self._over and not (step and step.carried):
            raise HandOver
        if self._todo:
            self._event.set()
        return following

    def _can_carry(self, step: Step | None, following: Activation | None, batch: Batch) -> bool:
        """Whether the record may travel with the next step: nobody else depends on its being
        committed first.
        """
        return (
            step is not None
            and step.is_open
            and not step.overstays
            and following is not None
            and following.instruction.op is Op.SQL
            and not self._pace.holds(following.key)
            and not self._services.draining
            and not (batch.finish or batch.park or self._todo or self._armed)
            and len(self._machine.ready) == 1
        )

    def _absorb(self, transition: Transition, batch: Batch, runnable: list[Activation]) -> None:
        """Add a transition to the batch; waits are armed, or completed at once when there is
        nothing to wait for.
        """
        batch.rows.extend(transition.rows)
        self._pace.turn(transition)
        for key in transition.cancelled:
            self._stop(key)
            batch.drop(key)
        for activation in transition.started:
            if activation.instruction.op not in WAITS:
                runnable.append(activation)
                continue
            outcome = self._arm(activation, batch)
            if outcome is not None:
                further = self._machine.complete(activation.key, outcome)
                if further is not None:
                    self._absorb(further, batch, runnable)
        if isinstance(transition.finish, Finish):
            batch.finish = transition.finish.outcome

    def _arm(self, activation: Activation, batch: Batch) -> Outcome | None:
        op, key = activation.instruction.op, activation.key
        config = self._program.nodes[key[0]].query or ""
        kept = self._pending.get(key)
        if kept is not None and kept.state is State.WAITING:
            again = rearm(op, kept, config)
            if isinstance(again, Failed):
                return again
            self._armed[key] = again
            return None
        begun = arm(op, key, config, self.now)
        if isinstance(begun, Done | Failed):
            return begun
        armed, row = begun
        self._armed[key] = armed
        batch.rows.append(row)
        return None

    def _stop(self, key: Key) -> None:
        """An execution lost its race: stop it, on the server too."""
        self._armed.pop(key, None)
        self._todo = [leaf for leaf in self._todo if leaf.key != key]
        task = self._tasks.get(key)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def _busy(self) -> bool:
        """Whether anything but waits is in progress."""
        return any(key not in self._armed for key in self._machine.ready)

    def _park(self, batch: Batch) -> None:
        """Only waits are left: the instance goes back to the table with this very record."""
        if self._machine.finished is None and not self._wait_is_over():
            batch.park = True
            batch.waits = [key[0] for key in self._armed]
            batch.names = [armed.signal for armed in self._armed.values() if armed.signal is not None]

    def _wait_is_over(self) -> bool:
        names = {letter.name for letter in self._inbox}
        now = self.now
        return any(
            (armed.due is not None and armed.due <= now) or armed.signal in names
            for armed in self._armed.values()
        )

    async def _write(self, batch: Batch, step: Step | None = None, key: Key | None = None) -> None:
        """Commit a batch: in the step's open transaction, or alone."""
        record = self._recorder.build(batch)
        if step is not None and step.is_open:
            try:
                await step.commit(record)
            except StepRefused as error:
                assert key is not None
                raise CommitRefused(key, failure_of(error)) from error
        elif step is None or not await step.record_failure(record):
            await self._record_alone(record)
        if batch.finish is not None or batch.park:
            self._over = True
            self._event.set()
        if batch.finish is not None:
            self._watch.finished(batch.finish)
        self._log(batch)

    async def _record_alone(self, record: Record) -> None:
        """On a session that all roles share. Nobody waits there for a row that its role has locked."""
        pause = 0.05
        while True:
            try:
                async with self._services.pool.control() as session:
                    return await session.record_alone(record)
            except StepRefused as error:
                if error.error.sqlstate != _LOCKED:
                    raise
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2.0)

    def _log(self, batch: Batch) -> None:
        if not log.isEnabledFor(logging.INFO):
            return
        for row in batch.rows:
            info = self._program.nodes[row.node]
            place = {"instance": self.claim.id, "node": row.node, "gen": row.gen, "state": row.state.value}
            log.info(
                "%s %s %s", self.claim.id, info.type, row.state.value, extra={**place, "type": info.type}
            )


class _StepLost(Exception):
    """A connection broke under a step; it is not known whether the step committed, the journal is."""

    def __init__(self, key: Key, reason: str) -> None:
        super().__init__(reason)
        self.key = key


def failure_of(error: StepRefused) -> Failed:
    """PostgreSQL's refusal in the words of the language."""
    server = error.error
    return Failed(
        f"SQL execution failed: error returned from database: {server.message}",
        sqlstate=server.sqlstate,
        detail=server.detail,
        hint=server.hint,
        position=server.position,
        sql=error.statement,
    )
