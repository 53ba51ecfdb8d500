"""Stage 9: batches become records, and records are committed: with their step, or alone.

In: what one outcome decided. Out: nothing; raises `CommitRefused` when the step's own transaction cannot
commit, and `LeaseLost` when the claim is gone.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from functools import partial
from typing import Final

from durasql.bytecode.program import Program
from durasql_runtime.claims import Claim
from durasql_runtime.journal import Key
from durasql_runtime.perform.step import Step
from durasql_runtime.record import Batch, Record, Recorder
from durasql_runtime.services import Services
from durasql_runtime.session import StepRefused
from durasql_runtime.setbacks import CommitRefused, failure_of

log = logging.getLogger("durasql.run")

_LOCKED: Final = "55P03"


class Writer:
    """Writes for one claim of an instance, and says so in the log."""

    def __init__(self, claim: Claim, program: Program, services: Services) -> None:
        self._claim = claim
        self._program = program
        self._services = services
        identity = services.control.identity
        self._recorder = Recorder(
            str(identity.id).encode(),
            identity.token.encode(),
            claim.id,
            claim.epoch,
            max((0, *(row.seq for row in claim.history), *(undo.seq for undo in claim.undos))),
        )

    def took(self, key: Key, seconds: float) -> None:
        """Note how long a step took, for its row."""
        self._recorder.took[key] = seconds

    def carry(self, batch: Batch, step: Step, key: Key) -> None:
        """Let the record of a step travel with the next one; the log hears of it once it is committed."""
        step.carry(replace(self._recorder.build(batch), committed=partial(self._log, batch)), key)

    async def write(self, batch: Batch, step: Step | None, key: Key | None) -> None:
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
            if row.node < 0:
                continue
            info = self._program.nodes[row.node]
            place = {"instance": self._claim.id, "node": row.node, "gen": row.gen, "state": row.state.value}
            log.info(
                "%s %s %s", self._claim.id, info.type, row.state.value, extra={**place, "type": info.type}
            )
        if batch.finish is not None or batch.park:
            state = batch.finish.status if batch.finish is not None else "parked"
            log.info("%s %s", self._claim.id, state, extra={"instance": self._claim.id, "state": state})
