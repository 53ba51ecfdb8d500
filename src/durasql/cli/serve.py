"""worker and dev: processes that execute what was started, until they are told to stop."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from durasql.cli import logs, render
from durasql.cli.observation import ListenAddress, Observation, healthcheck, observed
from durasql.cli.processes import Processes, run
from durasql.cli.target import Target, database_options

if TYPE_CHECKING:
    from durasql.telemetry.address import Address
    from durasql_runtime.worker import Worker, WorkerConfig

_log_json = click.option("--log-json", is_flag=True, help="Log a JSON object per line.")


class RoleDsn(click.ParamType[tuple[str, str]]):
    """ROLE=DSN."""

    name = "role=dsn"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        role, equals, dsn = str(value).partition("=")
        if not equals or not role:
            self.fail(f"{value!r} is not ROLE=DSN", param, ctx)
        return role, dsn


@click.command("worker", short_help="Execute instances until stopped.")
@click.option("--name", default="", metavar="NAME", help="Shown in logs and df.workers; default: host:pid.")
@click.option("--concurrency", default=100, show_default=True, help="Instances in memory at a time.")
@click.option("--sessions", default=24, show_default=True, help="Database sessions for steps, in all.")
@click.option("--sessions-per-role", default=8, show_default=True, help="Database sessions of one role.")
@click.option("--role-dsn", "role_dsns", multiple=True, type=RoleDsn(), help="How to log in as a role.")
@click.option(
    "--drain", default=5.0, show_default=True, metavar="SECONDS", help="Time for steps when stopped."
)
@click.option(
    "--processes", default="1", type=Processes(), show_default=True, help="Worker processes, or auto."
)
@click.option(
    "--metrics",
    type=ListenAddress(),
    envvar="DURASQL_METRICS",
    help="Serve /metrics, /healthz and /readyz there; without an address on 127.0.0.1.",
)
@click.option("--otel", is_flag=True, help="Send spans and metrics, as the variables OTEL_* say.")
@click.option("--healthcheck", "check", is_flag=True, help="Ask the worker at --metrics how it is, and exit.")
@click.option("--log-level", default="info", type=click.Choice(["debug", "info", "warning", "error"]))
@_log_json
@database_options
def worker_command(
    name: str,
    concurrency: int,
    sessions: int,
    sessions_per_role: int,
    role_dsns: tuple[tuple[str, str], ...],
    drain: float,
    processes: int,
    metrics: Address | None,
    otel: bool,
    check: bool,
    log_level: str,
    log_json: bool,
    target: Target,
) -> int:
    """Execute instances: those of the role it logs in as, or of every role after df.grant_worker(role).

    Run as many as you like, anywhere. SIGTERM drains; a killed worker's instances move on within seconds.

    \b
    durasql worker --dsn postgresql://app@db/app
    durasql worker --role-dsn 'reports=postgresql://reports@db/app' --concurrency 500
    durasql worker --processes auto
    durasql worker --metrics 9187           needs: pip install 'durasql[metrics]'
    """
    if check:
        return healthcheck(metrics)
    from durasql_runtime.pool import PoolLimits
    from durasql_runtime.worker import WorkerConfig

    logs.begin(log_level, as_json=log_json)
    with target.reached() as dsn:
        if processes > 1:
            return run(processes, sys.argv[1:], metrics)
        config = WorkerConfig(
            dsn,
            name=name,
            concurrency=concurrency,
            pool=PoolLimits(per_role=sessions_per_role, total=sessions),
            role_dsns=dict(role_dsns),
            drain_seconds=drain,
        )
        with observed(config.shown_name, metrics, otel) as observation:
            _serve(
                replace(config, observer=observation.observer),
                lambda: render.note(f"worker {config.shown_name} is ready"),
                observation,
            )
    return 0


@click.command("dev", short_help="The embedded server with a worker, until stopped.")
@click.option("--log-level", default="info", type=click.Choice(["debug", "info", "warning", "error"]))
@click.option(
    "--data-dir", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), help="Where its data is."
)
@_log_json
def dev_command(log_level: str, log_json: bool, data_dir: Path | None) -> None:
    """Run the embedded PostgreSQL and a worker in the foreground. Ctrl-C stops both; the data stays.

    \b
    durasql dev
    durasql psql                    in another terminal
    """
    from durasql.embedded import Embedded
    from durasql_runtime.worker import WorkerConfig

    logs.begin(log_level, as_json=log_json)
    server = Embedded(data_dir)
    with server.running() as dsn:
        render.line(f"PostgreSQL is running, its data is in {server.directory}")
        render.line(f"  DSN        {dsn}")
        render.line(f"  superuser  {server.superuser_dsn}")
        render.line("Ctrl-C stops it.")
        _serve(WorkerConfig(dsn), lambda: render.note("a worker is ready"))


def _serve(config: WorkerConfig, ready: Callable[[], None], observation: Observation | None = None) -> None:
    """Run a worker until a signal."""
    from durasql_runtime.worker import Worker

    async def serve() -> None:
        worker = Worker(config)
        if observation is not None:
            observation.attach(worker)
        _stop_on_signals(worker)
        working = asyncio.create_task(worker.run())
        starting = asyncio.create_task(worker.started.wait())
        await asyncio.wait([working, starting], return_when=asyncio.FIRST_COMPLETED)
        if worker.started.is_set():
            ready()
        starting.cancel()
        await working

    with asyncio.Runner(loop_factory=_fast_loop()) as runner:
        runner.run(serve())


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    with suppress(ImportError):
        from uvloop import new_event_loop

        return new_event_loop
    return None


def _stop_on_signals(worker: Worker) -> None:
    """The first signal drains, the second ends the process: its instances are taken over by others."""
    loop = asyncio.get_running_loop()
    again = False

    def stop() -> None:
        nonlocal again
        if again:
            raise KeyboardInterrupt
        again = True
        worker.stop()  # before anything is said: whoever read our output may be gone
        render.note("stopping: steps in progress may end, the rest is handed over; once more to stop at once")

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
