"""Perform SQL steps. In: a statement template and its scope. Out: the result as JSON, with the step's
transaction still open, so that its record commits with it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from psycopg.pq.abc import PGresult

from durasql.statement import StatementKind as Statement
from durasql.statement import classify, runs_outside
from durasql_runtime.catalog import TYPE_QUERY, Catalog, type_parameter
from durasql_runtime.journal import Key
from durasql_runtime.outcome import Done, Failed, Outcome
from durasql_runtime.perform.step import Step
from durasql_runtime.pool import LoginRefused
from durasql_runtime.results import ResultTooLarge, StepResult, step_result, type_oids
from durasql_runtime.session import StepRefused
from durasql_runtime.settings import Settings
from durasql_runtime.substitute import Scope, SubstituteError, substitute_sql

_HAS_RECEIPTS: Final = (
    "SELECT pg_catalog.to_regprocedure('df._leave_receipt(text,integer,text,text)') IS NOT NULL "
    "AND pg_catalog.has_schema_privilege(pg_catalog.to_regnamespace('df'), 'USAGE')"
)
_NOTHING: Final = Done('{"rows":[],"row_count":0}')
"""What an empty text comes to."""


class SqlPerformer:
    """Runs one statement template at a time; remembers the types of each database."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._catalogs: dict[str, Catalog] = {}

    async def perform(
        self, step: Step, key: Key, template: str, scope: Scope, attempt: Callable[[Key], Awaitable[None]]
    ) -> Outcome:
        """The step's value, its transaction open; or why it failed, everything undone. Raises
        `StepRefused`.
        """
        try:
            text = substitute_sql(template, scope)
        except SubstituteError as error:
            await step.flush()
            return Failed(error.message, sql=template, reason="invalid")
        statement = classify(text)
        if statement.refusal is not None:
            await step.flush()
            return Failed(f"SQL execution failed: {statement.refusal}", sql=text, reason="invalid")
        try:
            return await self._run(step, key, statement, attempt)
        except LoginRefused as error:
            return Failed(str(error), sql=text, reason="blocked")
        except ResultTooLarge as error:
            await step.undo()
            message = f"SQL execution failed: {error.message}"
            return Failed(message, hint=error.hint, sql=text, reason="invalid")

    async def _run(
        self, step: Step, key: Key, statement: Statement, attempt: Callable[[Key], Awaitable[None]]
    ) -> Done:
        if step.database and statement.transactional:
            return await self._elsewhere(step, key, statement, attempt)
        if statement.transactional:
            try:
                return await self._inside(step, statement)
            except StepRefused as error:
                if error.statement is None or not runs_outside(statement, error.error.sqlstate):
                    raise
        await step.flush()
        await attempt(key)
        chunks: Sequence[PGresult] = ()
        for part in statement.statements:
            chunks = await step.run_outside(part, self._settings.max_result_bytes)
        return _done(step_result(chunks, self._catalog(step), self._settings.max_result_bytes))

    async def _elsewhere(
        self, step: Step, key: Key, statement: Statement, attempt: Callable[[Key], Awaitable[None]]
    ) -> Done:
        """A step in another database: exactly once where df is installed there too, else at least once."""
        node, gen = str(key[0]).encode(), key[1].encode()
        identity = (step.instance_id.encode(), node, gen)
        await attempt(key)
        session = await step.session()
        keeps_receipts = await session.query(_HAS_RECEIPTS, ()) == b"t"
        if keeps_receipts:
            receipt = await session.query("SELECT df._receipt($1, $2, $3)", identity)
            if receipt is not None:
                return Done(receipt.decode())
        done = await self._inside(step, statement)
        await session.commit_elsewhere((*identity, done.value.encode()) if keeps_receipts else None)
        step.close()
        return done

    async def _inside(self, step: Step, statement: Statement) -> Done:
        chunks = await step.run(statement.statements, self._settings.max_result_bytes)
        if not chunks:
            return _NOTHING
        catalog = self._catalog(step)
        unknown = catalog.unknown(type_oids(chunks[0]))
        if unknown:
            session = await step.session()
            answer = await session.extra(TYPE_QUERY, [type_parameter(unknown)])
            catalog = catalog.learned(unknown, answer)
        return _done(step_result(chunks, catalog, self._settings.max_result_bytes))

    def _catalog(self, step: Step) -> Catalog:
        return self._catalogs.setdefault(step.database, Catalog())


def _done(result: StepResult) -> Done:
    """Column descriptions are kept only where the rows do not tell them."""
    empty = result.columns and result.value.startswith('{"rows":[],')
    return Done(result.value, result.columns if empty else None)
