"""Stage 7: the worker. Claims due instances, runs them, takes over those of lost workers, drains on request.

    wake (LISTEN, a due timer, a free place) -> claim a batch -> one `Runner` each -> wait

Liveness is the session lock of the control connection plus a heartbeat; safety is the epoch alone. Whatever
recoverable happens to the connections, the worker signs on again under a new number and goes on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
from tenacity import AsyncRetrying, before_sleep_log, retry_if_exception_type, wait_random_exponential

from durasql.errors import DatabaseUnreachable, DurasqlError
from durasql_runtime.claims import Claim, Control, is_passing
from durasql_runtime.listen import Listener
from durasql_runtime.observe import SILENT, Observer, Vitals
from durasql_runtime.outcome import Failed
from durasql_runtime.perform.performers import Performers
from durasql_runtime.places import Offer, Places
from durasql_runtime.pool import LoginRefused, Pool, PoolLimits
from durasql_runtime.programs import Programs
from durasql_runtime.runner import Runner
from durasql_runtime.services import Services
from durasql_runtime.session import StepRefused
from durasql_runtime.settings import Settings, is_on
from durasql_runtime.wire import ConnectionLost

log = logging.getLogger("durasql.worker")

_POLL = 0.5
"""Seconds after which an idle worker looks without being woken: bounds what a lost notification costs."""
_SETTLE = 0.01
"""Seconds after a claim until the database is asked when the next instance is due."""
_LOCKED = 0.05
"""Seconds until the next attempt to claim an instance that somebody has locked."""
_STRAY_PATIENCE = 20.0
"""Seconds for ending one lost worker's session."""
_LONGEST_SETBACK = 30.0
"""Seconds until an instance that keeps being interrupted goes back, at most."""
_FORGED = re.compile("(?![0-9a-f]{8}$)")
_MOST_UNHEARD = 10_000
"""Instances remembered for a late signal; beyond, the database is asked for all that have one."""
_HEARTBEAT = 1.0
"""Seconds between heartbeats, which also look for lost workers."""


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """How a worker is to run. `only` limits it to one instance; `patient` makes it wait for a
    database that is away.
    """

    dsn: str
    name: str = ""
    concurrency: int = 100
    claim_batch: int = 50
    pool: PoolLimits = field(default_factory=PoolLimits)
    role_dsns: Mapping[str, str] = field(default_factory=dict)
    drain_seconds: float = 5.0
    only: str | None = None
    patient: bool = True
    observer: Observer = SILENT

    @property
    def shown_name(self) -> str:
        """The name that tables, logs and pg_stat_activity show."""
        return self.name or f"{socket.gethostname()}:{os.getpid()}"


class Worker:
    """One worker process (or task). `run` returns when it is stopped or when `until` says so."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()
        self._runs: dict[str, tuple[Runner | None, asyncio.Task[None]]] = {}
        self._services: Services | None = None
        self._unheard: set[str] = set()
        self._setbacks: dict[str, int] = {}
        self._pausing: set[str] = set()
        self._suspects: set[str] = set()
        self._checking: asyncio.Task[None] | None = None
        self._places = Places(config.concurrency, config.claim_batch)
        self._chores: set[asyncio.Task[None]] = set()
        self._declared_idle = False
        self._saturated = False
        self._news = True
        self._looked = False
        self._others_from = 0.0
        self._lag = 0.0
        self._pruned = asyncio.get_running_loop().time()
        self.started = asyncio.Event()

    def stop(self) -> None:
        """Drain: claim nothing more, finish the steps in progress, hand over."""
        self._stopping.set()
        self._wake.set()
        if self._services is not None:
            self._services.draining = True

    @property
    def vitals(self) -> Vitals:
        """How it is doing, without asking the database."""
        services = self._services
        busy, idle = services.pool.census if services is not None else (0, 0)
        return Vitals(services is not None, self._stopping.is_set(), len(self._runs), busy, idle, self._lag)

    async def run(self, until: Callable[[], bool] | None = None) -> None:
        """Work until stopped. Raises `DurasqlError` for what no waiting can cure, or at once unless
        `patient`.
        """
        while not self._stopping.is_set():
            control = await self._sign_on_unless_stopped()
            if control is None:
                return
            try:
                await self._serve(control, until)
                return
            except ConnectionLost as error:
                log.warning("lost the database: %s", error)
            except psycopg.Error as error:
                if is_passing(error):
                    log.warning("lost the database: %s", str(error).strip())
                elif error.sqlstate == "DF002":
                    log.warning("this worker was taken for dead; signing on again")
                else:
                    raise
            finally:
                await self._abandon()

    async def _sign_on_unless_stopped(self) -> Control | None:
        """Whoever stops a worker that waits for its database need not wait, too."""
        signing = asyncio.create_task(self._sign_on())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({signing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if signing.done():
                return signing.result()
            log.info("stopped before there was a database")
            return None
        finally:
            signing.cancel()
            stopping.cancel()
            await asyncio.gather(signing, stopping, return_exceptions=True)

    async def _sign_on(self) -> Control | None:
        """Connect with backoff and jitter; None when stopped meanwhile."""
        attempts = AsyncRetrying(
            wait=wait_random_exponential(multiplier=0.1, max=5),
            retry=retry_if_exception_type(DatabaseUnreachable),
            stop=lambda _: self._stopping.is_set() or not self._config.patient,
            before_sleep=before_sleep_log(log, logging.WARNING),
            reraise=True,
        )
        try:
            async for attempt in attempts:
                with attempt:
                    return await Control.sign_on(self._config.dsn, self._config.shown_name)
        except DatabaseUnreachable:
            if not self._stopping.is_set():
                raise
        return None

    async def _serve(self, control: Control, until: Callable[[], bool] | None) -> None:
        """One life under one worker number."""
        services = await self._open(control)
        await control.wake(None, ever=True)
        listener = Listener(self._config.dsn, self._config.shown_name, self._heard)
        working = asyncio.create_task(self._work(control, until))
        tasks = [working, asyncio.create_task(listener.run()), asyncio.create_task(self._beat(control))]
        try:
            # Not a TaskGroup: whoever fails first says by what, as itself and not as a group.
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await services.pool.close()
        await services.performers.aclose()
        await control.sign_off()

    async def _work(self, control: Control, until: Callable[[], bool] | None) -> None:
        self._news, self._saturated, self._declared_idle = True, False, False
        self.started.set()
        await self._claim_loop(control, Programs(control), until)
        await self._drain()

    async def _open(self, control: Control) -> Services:
        config = self._config
        settings = Settings()
        settings.update(await control.settings(Settings.names()))
        # df._strays knows the sessions of lost workers by this name.
        name = f"step {control.identity.id} {config.shown_name}"
        pool = Pool(config.dsn, config.role_dsns, config.pool, name, settings)

        async def connection() -> psycopg.AsyncConnection[Any]:
            return control.connection

        performers = Performers(connection, settings)
        services = Services(
            control, pool, performers, settings, self._stopping.is_set(), self._config.observer
        )
        self._services = services
        return services

    async def _claim_loop(
        self, control: Control, programs: Programs, until: Callable[[], bool] | None
    ) -> None:
        while not self._stopping.is_set() and not (until and until()):
            self._wake.clear()
            if not (self._news and await self._look(control, programs)):
                await self._hear_late_signals(control)
                await self._rest(control)

    async def _look(self, control: Control, programs: Programs) -> bool:
        """Claim what there is and places allow; True when it is worth looking again at once."""
        self._news, self._looked = False, True
        offer = self._places.offer(backlog=self._saturated)
        claims = await self._claim(control, offer)
        if claims:
            self._config.observer.claimed(len(claims))
        for claim in claims:
            self._launch(control, programs, claim)
        self._saturated = offer.leaves_some(len(claims))
        if offer.taken_by(len(claims)):
            await self._declare(control, idle=False)
            await asyncio.sleep(0)
            self._news = True
        elif not self._saturated and not await self._declare(control, idle=True):
            self._news = True
        return self._news

    async def _claim(self, control: Control, offer: Offer) -> list[Claim]:
        """Searching behind a crowd's backlog for the instances of others steps over all of it, so that is
        done for a tenth of the time at most.
        """
        begun = asyncio.get_running_loop().time()
        if offer.limit <= 0 or (offer.but and begun < self._others_from):
            return []
        claims = await control.claim(offer.limit, self._config.only, list(offer.but) or None)
        if offer.but:
            ended = asyncio.get_running_loop().time()
            self._others_from = ended + 10 * (ended - begun)
        return claims

    async def _declare(self, control: Control, *, idle: bool) -> bool:
        """Tell starters whether to notify; True when that was known already, so nothing was missed
        meanwhile.
        """
        known = self._declared_idle is idle
        if not known:
            await control.heartbeat(idle=idle, running=len(self._runs))
            self._declared_idle = idle
        return known

    async def _rest(self, control: Control) -> None:
        """Wait for a notification, a free place, or the next deadline."""
        due = None
        if not self._saturated:
            # The run that has just begun comes first: it may be the only one, and over before long.
            if await self._woken(_SETTLE):
                return
            due = await control.next_due()
        if due is None:
            timeout = _POLL
        elif due > 0:
            timeout = min(due, _POLL)
        else:
            # What was overdue already and was not claimed is locked or another's: asking at once is no use.
            timeout = _LOCKED if self._looked else 0.0
        self._looked = False
        if not await self._woken(timeout):
            self._news = True

    async def _woken(self, seconds: float) -> bool:
        """Wait until somebody wakes the claim loop, so long at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        return self._wake.is_set()

    def _call(self) -> None:
        """There may be something to claim."""
        self._news = True
        self._wake.set()

    # -- runs
    # -------------------------------------------------------------------------------------------------

    def _launch(self, control: Control, programs: Programs, claim: Claim) -> None:
        task = asyncio.create_task(self._run_one(control, programs, claim))
        self._runs[claim.id] = (None, task)
        self._places.take(claim.owner)
        task.add_done_callback(lambda done: self._ended(claim, done))

    async def _run_one(self, control: Control, programs: Programs, claim: Claim) -> None:
        try:
            refusal = await self._refusal(control, claim)
            if refusal is None:
                runner = await self._runner(programs, claim)
                await runner.run()
        except DurasqlError as error:
            refusal = f"the program cannot be run: {error.message}"
        except (psycopg.OperationalError, psycopg.InterfaceError, ConnectionLost):
            raise
        except Exception as error:
            log.exception("run %s hit a bug", claim.id, extra={"instance": claim.id})
            refusal = f"internal error: {error!r}"
        if refusal is not None:
            await control.refuse(claim, refusal)
            watch = self._config.observer.run(claim, None)
            watch.finished(Failed(refusal), "failed")
            watch.ended()

    async def _runner(self, programs: Programs, claim: Claim) -> Runner:
        assert self._services is not None
        runner = Runner(claim, await programs.of(claim), self._services)
        task = asyncio.current_task()
        assert task is not None
        self._runs[claim.id] = (runner, task)
        if claim.id in self._unheard:
            # A signal that was heard of while the claim was under way.
            await self._check_runs(self._services.control, [claim.id])
        return runner

    async def _refusal(self, control: Control, claim: Claim) -> str | None:
        """Why an instance may not run at all."""
        if claim.defect is not None:
            return claim.defect
        if claim.role is None:
            return f"Instance {claim.id}: submitted_by role no longer exists in pg_roles"
        if claim.superuser and not is_on(await control.setting("enable_superuser_instances")):
            return (
                f'pg_durable blocked instance {claim.id}: submitted_by role "{claim.role}" is a superuser, '
                "but pg_durable.enable_superuser_instances is off"
            )
        return None

    def _ended(self, claim: Claim, task: asyncio.Task[None]) -> None:
        if (run := self._runs.get(claim.id)) is not None and run[1] is task:
            # Otherwise it was put back and claimed again before this task came to its end.
            del self._runs[claim.id]
        self._places.give_back(claim.owner)
        if self._saturated and self._places.worth_a_claim:
            self._call()
        elif not self._runs:
            self._wake.set()  # to learn when what it may have parked is due
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("run %s was interrupted: %s", claim.id, error, extra={"instance": claim.id})
            setbacks = self._setbacks[claim.id] = self._setbacks.get(claim.id, 0) + 1
            if self._services is not None:
                self._aside(self._give_back(self._services.control, claim, setbacks))
        else:
            self._setbacks.pop(claim.id, None)

    def _aside(self, chore: Coroutine[Any, Any, None]) -> None:
        """Do something small without waiting for it."""
        task = asyncio.create_task(chore)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    async def _give_back(self, control: Control, claim: Claim, setbacks: int) -> None:
        """What was interrupted may be again, and at once; so the oftener it was, the later it goes back."""
        self._pausing.add(claim.id)
        try:
            await asyncio.sleep(min(0.05 * 2 ** min(setbacks - 1, 10), _LONGEST_SETBACK))
        finally:
            self._pausing.discard(claim.id)
        with suppress(psycopg.Error):
            await control.release([claim.id])

    async def _drain(self) -> None:
        """Let the steps in progress end, for a while; whatever is still running then is handed over
        as it is.
        """
        tasks = [task for _, task in self._runs.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=self._config.drain_seconds)
        await self._cancel_runs()

    async def _cancel_runs(self) -> None:
        tasks = [task for _, task in self._runs.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _abandon(self) -> None:
        """The worker number is gone: nothing in memory may go on under the next one."""
        await self._cancel_runs()
        self._runs.clear()
        self._setbacks.clear()
        if self._services is not None:
            with suppress(psycopg.Error):
                await self._services.control.connection.close()
                await self._services.pool.close()
                await self._services.performers.aclose()
        self._services = None

    # -- notifications and heartbeat
    # ----------------------------------------------------------------------------

    def _heard(self, payload: str) -> None:
        """A notification: 'w' work, 's:<id>' a signal, 'c:<id>' a cancellation, '' some may have been missed.

        Anybody may send one, so the database is asked what there is to it.
        """
        kind, _, instance_id = payload.partition(":")
        if kind == "s" and ((run := self._runs.get(instance_id)) is None or run[0] is None):
            if len(self._unheard) < _MOST_UNHEARD and not _FORGED.match(instance_id):
                self._unheard.add(instance_id)
        elif not payload:
            self._suspects.update(self._runs)
        elif instance_id in self._runs:
            self._suspects.add(instance_id)
        self._check_suspects()
        self._call()

    def _check_suspects(self) -> None:
        """One question at a time, however many notifications come: the heartbeat shares the connection."""
        if (
            self._suspects
            and self._services is not None
            and (self._checking is None or self._checking.done())
        ):
            ids, self._suspects = list(self._suspects), set()
            self._checking = asyncio.create_task(self._check_runs(self._services.control, ids))
            self._checking.add_done_callback(lambda _: self._check_suspects())

    async def _check_runs(self, control: Control, instance_ids: list[str] | None) -> None:
        """Stop those of these runs (None: all) whose claim is gone, and give the others their letters."""
        ids = list(self._runs) if instance_ids is None else instance_ids
        runs = {id_: self._runs[id_] for id_ in ids if id_ in self._runs}
        try:
            held = await control.held(ids)
        except psycopg.Error:
            return
        for id_, (runner, task) in runs.items():
            if self._runs.get(id_, (None, None))[1] is not task:
                continue
            if id_ not in held:
                task.cancel()
            elif runner is not None:
                runner.deliver(held[id_][1])

    async def _hear_late_signals(self, control: Control) -> None:
        """A signal may have committed just after its instance was parked without it."""
        if self._unheard:
            ids, self._unheard = list(self._unheard), set()
            if await control.wake(ids if len(ids) < _MOST_UNHEARD else None):
                self._call()

    async def _beat(self, control: Control) -> None:
        rounds = 0
        while True:
            await control.heartbeat(idle=self._declared_idle, running=len(self._runs))
            if self._config.observer is not SILENT:
                self._lag = max(0.0, -(await control.next_due() or 0.0))
            freed = await control.reap()
            if freed:
                self._call()
            if self._services is not None and (freed or rounds % 10 == 0):
                self._aside(self._end_strays(control, self._services.pool))
            rounds += 1
            if rounds % 2 == 0 and self._services is not None:
                self._services.settings.update(await control.settings(Settings.names()))
            if rounds % 5 == 0:
                await self._let_go_of_the_rest(control)
            if rounds % 20 == 0 and self._services is not None:
                await control.wake(None)
                await self._check_runs(control, None)
                self._services.pool.close_idle()
                await self._prune(control, self._services.settings.reconcile_interval)
            await asyncio.sleep(_HEARTBEAT)

    async def _let_go_of_the_rest(self, control: Control) -> None:
        """What this worker holds and does not run: somebody had it locked when it was to be given back."""
        held = await control.held()
        await control.release([id_ for id_ in held if id_ not in self._runs and id_ not in self._pausing])

    async def _prune(self, control: Control, interval: float) -> None:
        """A batch of retention, every `reconcile_interval`; while there is more to remove, every time."""
        now = asyncio.get_running_loop().time()
        if interval and now - self._pruned >= interval and not await control.prune():
            self._pruned = now

    async def _end_strays(self, control: Control, pool: Pool) -> None:
        """End the sessions that lost workers left behind: their locks stand in the way of successors."""
        with suppress(psycopg.Error):
            await asyncio.gather(*(self._end_stray(pool, *stray) for stray in await control.strays()))

    async def _end_stray(self, pool: Pool, pid: int, role: str) -> None:
        """One of them. Each for itself: a role may be out of reach, and anybody can give a session such a
        name.
        """
        try:
            async with asyncio.timeout(_STRAY_PATIENCE):
                await pool.end_process(role, pid)
        except (psycopg.Error, LoginRefused, StepRefused, ConnectionLost, TimeoutError) as error:
            log.warning("cannot end a lost worker's session: %s", str(error).strip())
