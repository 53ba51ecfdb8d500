"""Which performer does what: SQL in the role's own session, HTTP from the worker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from durasql.bytecode.opcodes import Op
from durasql_runtime.claims import Claim
from durasql_runtime.journal import Key
from durasql_runtime.machine import Activation
from durasql_runtime.outcome import Outcome
from durasql_runtime.perform.sql import SqlPerformer
from durasql_runtime.perform.step import Step
from durasql_runtime.settings import Settings
from durasql_runtime.substitute import Scope, substitute_raw, whole_value

if TYPE_CHECKING:
    from durasql_runtime.perform.http import HttpPerformer
    from durasql_runtime.perform.http.sources import Connect

Attempt: TypeAlias = Callable[[Key], Awaitable[None]]


class Performers:
    """Performs leaves. One for all instances of a worker."""

    def __init__(self, connect: Connect, settings: Settings) -> None:
        self._connect = connect
        self._sql = SqlPerformer(settings)

    @cached_property
    def _http(self) -> HttpPerformer:
        """Opened by the first HTTP step: most runs have none, and the client library is slow to load."""
        from durasql_runtime.perform.http.sources import open_http

        return open_http(self._connect)

    async def perform(
        self, step: Step, activation: Activation, config: str, scope: Scope, claim: Claim, attempt: Attempt
    ) -> Outcome:
        """Perform one leaf; what is carried on `step` is committed first or on the way."""
        step.pc = activation.strand.pc
        if activation.instruction.op is Op.SQL:
            return await self._sql.perform(step, activation.key, config, scope, attempt)
        await step.flush()
        await attempt(activation.key)
        from durasql_runtime.perform.http import HttpCall

        return await self._http.perform(
            HttpCall(
                node_type="HTTP" if activation.instruction.op is Op.HTTP else "HTTP_MULTIPART",
                query=config,
                role=claim.role or "",
                instance_id=claim.id,
                node=activation.key[0],
                gen=activation.lasting_gen,
                substitution=lambda text: substitute_raw(text, scope),
                whole_value=lambda text: whole_value(text, scope),
            )
        )

    async def aclose(self) -> None:
        """Close pooled HTTP connections."""
        if "_http" in self.__dict__:
            await self._http.aclose()
