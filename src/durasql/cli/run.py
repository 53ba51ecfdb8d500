"""run and start: a text becomes instances; run also executes them to their end and shows it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from durasql.cli import render
from durasql.cli.instances import report
from durasql.cli.target import Target, database_options
from durasql.cli.texts import text_options
from durasql.errors import RunTimedOut
from durasql.pipeline import Compiled, compile_source
from durasql.source import Source
from durasql.syntax.ast import SetVar

if TYPE_CHECKING:
    from durasql.client import AsyncClient, Instance
    from durasql.store.instances import Policy

F = TypeVar("F", bound=Callable[..., Any])

_FIRST_LOOK: Final = 0.01
_REDRAW: Final = 0.1
"""Seconds between two looks at the instance; the first ones follow faster, for short workflows."""


_POLICY: Final = ("max_attempts", "backoff", "max_backoff", "on_failure", "key", "on_conflict")
"""Options that go to df.start under their own name. `--timeout` is how long run waits, so the instance's own
is called otherwise."""


class _Variable(click.ParamType[tuple[str, str]]):
    """NAME=VALUE."""

    name = "name=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, content = str(value).partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        return name, content


def _start_options(command: F) -> F:
    """The options that run and start share: the text, --label, --var, the policy, --json and the database."""

    @text_options
    @click.option("--label", metavar="LABEL", help="A name for the instance; labels need not be unique.")
    @click.option("--var", "variables", multiple=True, type=_Variable(), help="Set {NAME} for this run.")
    @click.option("--max-attempts", type=int, metavar="N", help="Try each failing step up to N times.")
    @click.option("--backoff", metavar="TIME", help="Pause before the second try, such as '2 s'; it doubles.")
    @click.option("--max-backoff", metavar="TIME", help="Longest pause between tries, such as '5 min'.")
    @click.option(
        "--on-failure",
        type=click.Choice(["fail", "continue"]),
        help="Whether the run ends with a step that failed, or goes on behind it.",
    )
    @click.option(
        "--instance-timeout",
        metavar="TIME",
        help="The run fails if it is not over after TIME, such as '1 h'.",
    )
    @click.option("--key", metavar="KEY", help="Only one instance with this key is active at a time.")
    @click.option(
        "--on-conflict",
        type=click.Choice(["return", "reject", "replace"]),
        help="When one is: take that one (the default), fail, or cancel it and start anew.",
    )
    @click.option("--json", "json_", is_flag=True, help="Print JSON.")
    @database_options
    @wraps(command)
    def with_options(*args: Any, **options: Any) -> Any:
        policy = {name: options.pop(name) for name in _POLICY}
        policy["timeout"] = options.pop("instance_timeout")
        return command(*args, policy=policy, **options)

    return with_options  # type: ignore[return-value]


@click.command("start", short_help="Start workflows and return at once.")
@_start_options
def start_command(
    source: Source,
    label: str | None,
    variables: tuple[tuple[str, str], ...],
    policy: Policy,
    json_: bool,
    target: Target,
) -> None:
    """Start a workflow and print the id of its instance. A worker executes it.

    \b
    durasql start nightly.dsql --label nightly --var day=2026-01-31
    durasql start nightly.dsql --max-attempts 3 --key nightly --on-conflict reject
    durasql start - < nightly.dsql
    """
    compiled = compile_source(source)
    render.warnings(compiled.diagnostics)
    with target.reached() as dsn:
        ids = _start_all(dsn, compiled, label, dict(variables), policy)
    if json_:
        return render.as_json([{"id": id} for id in ids])
    for id in ids:
        render.line(id)
    return None


def _start_all(
    dsn: str, compiled: Compiled, label: str | None, variables: dict[str, str], policy: Policy
) -> list[str]:
    """Execute the text's statements in one transaction, so that a refused one leaves nothing behind."""
    from durasql.client import connect, policy_of
    from durasql.store import instances

    graphs = iter(compiled.starts)
    ids = []
    with connect(dsn) as client, client.connection.transaction():
        for statement in compiled.workflow.statements:
            if isinstance(statement, SetVar):
                client.perform(instances.set_variable(statement.name, statement.value))
                continue
            start = instances.start(
                next(graphs).graph,
                label or statement.label,
                statement.database,
                variables,
                statement.transaction_mode or "caller",
                policy_of(statement, policy),
            )
            ids.append(client.perform(start))
    return ids


@click.command("run", short_help="Run workflows to their end and print the result.")
@_start_options
@click.option(
    "--timeout", type=float, metavar="SECONDS", help="Stop waiting after this time and exit with 4."
)
@click.option("--tree", is_flag=True, help="Print the finished tree too when the output is no terminal.")
def run_command(
    source: Source,
    label: str | None,
    variables: tuple[tuple[str, str], ...],
    policy: Policy,
    json_: bool,
    target: Target,
    timeout: float | None,
    tree: bool,
) -> int:
    """Start a workflow, execute it here to its end, and print its result.

    Exits with 0 completed, 1 failed, 3 cancelled, 4 timed out. An interrupted run is not lost: any worker
    goes on with it, exactly where it was.

    \b
    durasql run hello.dsql
    durasql run -e "'SELECT {n}::int * 2'" --var n=21
    """
    compiled = compile_source(source)
    render.warnings(compiled.diagnostics)
    with target.reached() as dsn:
        ids = _start_all(dsn, compiled, label, dict(variables), policy)
        codes = [asyncio.run(_Run(dsn, id, timeout, json_, tree).to_the_end()) for id in ids]
    return max(codes, default=0)


class _Run:
    """One instance that this process executes and shows."""

    def __init__(self, dsn: str, id: str, timeout: float | None, json_: bool, tree: bool) -> None:
        self._dsn, self._id, self._timeout, self._json, self._tree = dsn, id, timeout, json_, tree
        self._interrupted = asyncio.Event()

    async def to_the_end(self) -> int:
        """Execute and show the instance; its exit code."""
        from durasql.client import connect_async
        from durasql_runtime.worker import Worker, WorkerConfig

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupted.set)
        worker = Worker(WorkerConfig(self._dsn, only=self._id, patient=False))
        async with await connect_async(self._dsn) as client:
            working = asyncio.create_task(worker.run())
            try:
                async with asyncio.timeout(self._timeout):
                    instance = await self._watch(client, working)
            except TimeoutError:
                raise RunTimedOut(
                    f"instance {self._id} is not over after {self._timeout:g} seconds",
                    hint=f"It goes on with the next worker: durasql worker, or durasql cancel {self._id}",
                ) from None
            finally:
                worker.stop()
                await asyncio.gather(working, return_exceptions=True)
        return report(instance, self._json)

    async def _watch(self, client: AsyncClient, working: asyncio.Task[None]) -> Instance:
        """Follow the instance until it is over; raises what ended the worker before that."""
        with render.live_tree() as live:
            pause = _FIRST_LOOK
            while True:
                instance = await client.instance(self._id)
                if live is not None:
                    live.show(await client.explain(self._id))
                if instance.over:
                    break
                await self._pause(working, pause)
                pause = min(2 * pause, _REDRAW)
        if live is None and self._tree:
            render.print_tree(await client.explain(self._id))
        if live is not None or self._tree:
            render.line()
        return instance

    async def _pause(self, working: asyncio.Task[None], seconds: float) -> None:
        """Wait a moment; raises if the worker is gone or the user wants to."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._interrupted.wait(), seconds)
        if self._interrupted.is_set():
            render.note(f"instance {self._id} goes on with the next worker: durasql worker")
            raise KeyboardInterrupt
        if working.done():
            working.result()
