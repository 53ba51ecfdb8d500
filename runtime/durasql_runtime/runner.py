"""Stage 8-9 for one instance: let the machine decide, have the leaves performed, write what follows.

A runner owns its instance's machine from claim to finish, parking or loss. Records of one instance are
written one after the other (`_lock`), so a row is never written on the strength of another that might
still be rolled back. The steady state, a sequence of SQL steps, stays on one session: a step's record
travels with the next step's SQL.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from durasql.bytecode.opcodes import Op
from durasql.bytecode.program import Program
from durasql.errors import LeaseLost
from durasql_runtime.claims import Claim, Letter
from durasql_runtime.journal import Attempt, Key, Row, State
from durasql_runtime.machine import COUNTING, WHOLE, Activation, Facts, Machine, Transition
from durasql_runtime.observe import SILENT, RunWatch
from durasql_runtime.outcome import Failed, Outcome
from durasql_runtime.pace import Pace
from durasql_runtime.perform.responses import refused_response
from durasql_runtime.perform.step import Step
from durasql_runtime.record import Batch
from durasql_runtime.services import Services
from durasql_runtime.session import SessionTainted, StepRefused
from durasql_runtime.setbacks import CONFLICTS, CommitRefused, HandOver, StepLost, failure_of
from durasql_runtime.waiting import Waits
from durasql_runtime.wire import ConnectionLost
from durasql_runtime.writing import Writer

log = logging.getLogger("durasql.run")

_LOSSES_BEFORE_GIVING_UP = 5
"""A step whose connection breaks this often takes the blame: it may be what breaks it."""
_CONFLICTS_BEFORE_GIVING_UP = 20
_CONFLICTS_OF_A_STEP = 5
"""How often a step is run again at once after such a conflict: it did not happen."""
_REQUESTS = frozenset({Op.HTTP, Op.HTTP_MULTIPART})


class Runner:
    """One claimed instance."""

    def __init__(self, claim: Claim, program: Program, services: Services) -> None:
        self.claim = claim
        self._program = program
        self._services = services
        self._born = asyncio.get_running_loop().time()
        self._plain = False
        self._losses: dict[Key, int] = {}
        self._watch: RunWatch = SILENT
        self._begin()

    def _begin(self) -> None:
        """Set the machine to what the journal says."""
        claim, settings = self.claim, self._services.settings
        facts = Facts(
            claim.id,
            claim.label,
            claim.variables,
            settings.loop_max_iterations,
            claim.policy.forgiving,
            claim.policy.deadline,
        )
        self._machine, pending = Machine.replay(self._program, claim.history, facts, claim.undos)
        self._waits = Waits(self._now, claim.inbox, pending)
        self._writer = Writer(claim, self._program, self._services)
        self._pace = Pace(self._services.settings)
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
                conflicts += error.failure.sqlstate in CONFLICTS
                if error.failure.sqlstate not in CONFLICTS or conflicts >= _CONFLICTS_BEFORE_GIVING_UP:
                    refused = {error.key: error.failure}
            except SessionTainted:
                self._plain = True
            except StepLost as error:
                losses = self._losses[error.key] = self._losses.get(error.key, 0) + 1
                if losses >= _LOSSES_BEFORE_GIVING_UP:
                    message = f"SQL execution failed: the connection was lost: {error}"
                    refused = {error.key: Failed(message, reason="connection")}
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
        earlier = self._waits
        self._begin()
        self._waits.taken_from(earlier)

    def _log_loss(self, error: LeaseLost) -> None:
        log.info("lost the claim", extra={"instance": self.claim.id, "reason": str(error)})

    async def _live(self, refused: dict[Key, Failed]) -> None:
        await self._resume(refused)
        while not self._over:
            if len(self._todo) == 1 and not self._tasks and not self._waits:
                await self._drive(self._todo.pop())
                continue
            self._spawn()
            await self._something()
            await self._fire()

    async def _resume(self, refused: dict[Key, Failed]) -> None:
        """Take up the machine's ready leaves: re-arm waits, note what is to be performed."""
        if self._machine.finished is not None:
            await self._write(self._opening(Batch(finish=self._machine.finished)))
            return
        begun = replace(self._machine.opening, started=list(self._machine.ready.values()))
        outcomes = [(key, failure) for key, failure in refused.items() if key in self._machine.ready]
        await self._apply(outcomes, begun=begun)
        await self._fire()

    def _opening(self, batch: Batch) -> Batch:
        opening = self._machine.opening
        return replace(batch, rows=opening.rows, attempts=opening.attempts, undos=opening.undos)

    def _spawn(self) -> None:
        for activation in self._todo:
            task = asyncio.create_task(self._drive(activation))
            self._tasks[activation.key] = task
            task.add_done_callback(lambda _: self._event.set())
        self._todo.clear()

    async def _something(self) -> None:
        """Wait until a strand ends, a letter comes or a deadline passes."""
        timeout = self._waits.seconds
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
        self._waits.deliver(letters)
        self._event.set()

    def _now(self) -> datetime:
        """The database's clock, reckoned from the claim; never ahead of it."""
        elapsed = asyncio.get_running_loop().time() - self._born
        return self.claim.now + timedelta(seconds=elapsed)

    async def _fire(self) -> None:
        """Complete the waits whose deadline has passed, and those whose signal is in the inbox."""
        async with self._lock:
            while not self._over:
                due = self._waits.due()
                if due.nothing:
                    return
                self._todo.extend(due.again)
                if due.outcomes:
                    await self._apply(due.outcomes, signals=due.letters)
                for (node, _), outcome in due.outcomes:
                    if node >= 0:
                        self._watch.waited(self._program.nodes[node].type, node, outcome)

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
            raise StepLost(activation.key, str(error)) from error
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
        elif self._todo or self._waits:
            self._todo.insert(0, following)
            return None
        return following

    async def _advance(self, step: Step, activation: Activation) -> Activation | None:
        await self._pace.keep(activation.key)
        began = time.monotonic()
        outcome = await self._observed(step, activation)
        # Without the time that an SQL step waited for a session.
        self._writer.took(activation.key, time.monotonic() - max(began, step.began))
        async with self._lock:
            if self._over or activation.key not in self._machine.ready:
                return None
            failed = self._failed_try(activation, outcome) if isinstance(outcome, Failed) else None
            if failed is not None and failed.delay is not None:
                await self._back_off(step, activation, failed, failed.delay)
                return None
            return await self._apply([(activation.key, outcome)], step=step, failed=failed)

    def _judged(self, activation: Activation, outcome: Outcome) -> Outcome:
        """A response below 500 is a failure where a guard around the step says so."""
        if isinstance(outcome, Failed) or activation.instruction.op not in _REQUESTS:
            return outcome
        node = activation.instruction.node
        return refused_response(outcome, partial(self._machine.names_status, node)) or outcome

    def _failed_try(self, activation: Activation, failure: Failed) -> Attempt | None:
        """What the run's own policy makes of a failure: a row, with a pause if another try follows."""
        key, policy = activation.key, self.claim.policy.retries(self._services.settings)
        if policy.max_attempts <= 1 or self._machine.is_retried(key[0]):
            return None
        tries, delay = self._waits.tries(key) + 1, None
        if tries < policy.max_attempts and policy.errors.retried(failure):
            delay = policy.delay(tries, failure.retry_after, f"{self.claim.id}.{key[0]}.{key[1]}.{tries}")
        return Attempt(*key, tries, failure.to_json(), policy.max_attempts, delay)

    async def _back_off(self, step: Step, activation: Activation, failed: Attempt, seconds: float) -> None:
        """Try a step again after a while. It stays ready meanwhile."""
        row = self._waits.back_off(activation, seconds, failed.number)
        batch = Batch(rows=[row], attempts=[failed])
        if not self._busy():
            self._park(batch)
        await self._write(batch, step, activation.key)

    async def _observed(self, step: Step, activation: Activation) -> Outcome:
        before = max(self._waits.tries(activation.key), self._losses.get(activation.key, 0))
        watch = self._watch.step(activation, before + 1)
        outcome = None
        try:
            outcome = self._judged(activation, await self._perform(step, activation))
            return outcome
        finally:
            watch.ended(outcome)

    async def _perform(self, step: Step, activation: Activation) -> Outcome:
        scope = self._machine.scope(activation.names)
        config = self._program.nodes[activation.instruction.node].query or ""
        if activation.instruction.op in _REQUESTS:
            activation = replace(activation, lasting_gen=self._machine.lasting_gen(activation.key))
        for conflict in range(_CONFLICTS_OF_A_STEP + 1):
            before = step.carried
            try:
                return await self._services.performers.perform(
                    step, activation, config, scope, self.claim, self._attempt
                )
            except StepRefused as error:
                if before is not None and error.statement is None:
                    raise CommitRefused(before.key, failure_of(error)) from error
                failure = failure_of(error)
            if failure.sqlstate not in CONFLICTS or conflict == _CONFLICTS_OF_A_STEP:
                break
            await step.renew()
            await asyncio.sleep(random.uniform(0.5, 1.5) * 0.005 * 2**conflict)
        return failure

    async def _attempt(self, key: Key) -> None:
        """Note that an at-least-once step begins: it may have taken effect whatever happens next."""
        row = Row(key[0], key[1], State.STARTED, attempts=self._waits.tries(key) + 1)
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
        failed: Attempt | None = None,
    ) -> Activation | None:
        """Feed outcomes to the machine and write all that follows; the leaf with which this strand
        goes on.
        """
        batch = Batch(signals=list(signals), attempts=[] if failed is None else [failed])
        runnable: list[Activation] = []
        if begun is not None:
            self._absorb(begun, batch, runnable)
        key = None
        for key, outcome in outcomes:
            transition = self._machine.complete(key, outcome)
            if transition is not None:
                self._waits.end(key)
                self._absorb(transition, batch, runnable)
        runnable = [leaf for leaf in runnable if leaf.key in self._machine.ready]
        following = runnable.pop(0) if step is not None and runnable else None
        self._todo.extend(runnable)
        if not batch.finish and not self._busy():
            self._park(batch)
        if self._can_carry(step, following, batch):
            assert step is not None and key is not None
            self._writer.carry(batch, step, key)
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
            and not (batch.finish or batch.park or self._todo or self._waits)
            and len(self._machine.ready) == 1
        )

    def _absorb(self, transition: Transition, batch: Batch, runnable: list[Activation]) -> None:
        """Add a transition to the batch; waits are armed, or completed at once when there is
        nothing to wait for.
        """
        batch.rows.extend(transition.rows)
        batch.attempts.extend(transition.attempts)
        batch.undos.extend(transition.undos)
        self._pace.turn(transition)
        for key in transition.cancelled:
            self._stop(key)
            if key == WHOLE or self._program.nodes[key[0]].type not in COUNTING:
                batch.drop(key)
        for activation in transition.started:
            if activation.key not in self._machine.ready:
                continue  # what came of its neighbour has cut it off
            if not self._waits.is_wait(activation):
                runnable.append(activation)
                continue
            begun = self._waits.begin(
                activation, self._program.nodes[activation.instruction.node].query or ""
            )
            if isinstance(begun, Row):
                batch.rows.append(begun)
            elif begun is not None:
                further = self._machine.complete(activation.key, begun)
                if further is not None:
                    self._absorb(further, batch, runnable)
        if transition.finish is not None:
            batch.finish = transition.finish

    def _stop(self, key: Key) -> None:
        """An execution lost its race: stop it, on the server too."""
        self._waits.end(key)
        self._todo = [leaf for leaf in self._todo if leaf.key != key]
        task = self._tasks.get(key)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def _busy(self) -> bool:
        """Whether anything but waits is in progress."""
        return any(key not in self._waits for key in self._machine.ready)

    def _park(self, batch: Batch) -> None:
        """Only waits are left: the instance goes back to the table with this very record."""
        if self._machine.finished is None and not self._waits.is_over:
            batch.park = True
            batch.waits = self._waits.nodes
            batch.names = self._waits.signals

    async def _write(self, batch: Batch, step: Step | None = None, key: Key | None = None) -> None:
        """Commit a batch: in the step's open transaction, or alone."""
        await self._writer.write(batch, step, key)
        if batch.finish is not None or batch.park:
            self._over = True
            self._event.set()
        if batch.finish is not None:
            self._watch.finished(batch.finish.outcome, batch.finish.status)
