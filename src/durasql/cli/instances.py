"""list, status, result, nodes, await, signal, cancel: what one does with instances that exist."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

import click

from durasql.cli import render
from durasql.cli.target import Target, database_options
from durasql.errors import RunCancelled, RunFailed, RunTimedOut
from durasql.store.instances import Instance

EXIT: Final = {
    "completed": 0,
    "failed": RunFailed.exit_code,
    "compensated": RunFailed.exit_code,
    "stuck": RunFailed.exit_code,
    "cancelled": RunCancelled.exit_code,
}
"""Final status -> exit code."""

_json_option = click.option("--json", "json_", is_flag=True, help="Print JSON.")


@click.command("list", short_help="List instances, newest first.")
@click.option(
    "--status",
    metavar="STATUS",
    help="Only pending, running, paused, completed, failed, cancelled, compensated or stuck ones.",
)
@click.option("--label", metavar="LABEL", help="Only instances with this label.")
@click.option("--limit", default=20, show_default=True, help="How many.")
@click.option("--after", metavar="CURSOR", help="Go on where the page with this next_cursor ended.")
@_json_option
@database_options
def list_command(
    status: str | None, label: str | None, limit: int, after: str | None, json_: bool, target: Target
) -> None:
    """List your instances, newest first.

    \b
    durasql list --status failed
    durasql list --label nightly --json
    """
    from durasql.client import connect

    with target.reached() as dsn, connect(dsn) as client:
        page = client.list(status=status, label=label, limit=limit, after=after)
    if json_:
        return render.as_json(asdict(page))
    columns = ("id", "label", "status", "created", "output")
    rows = [(i.id, i.label, i.status, i.created_at, _cut(i.output)) for i in page.instances]
    render.table(columns, rows)
    if page.next_cursor:
        render.note(f"more: durasql list --after {page.next_cursor}")
    return None


def _cut(output: str | None, width: int = 60) -> str | None:
    """The first line of an output, short enough for a table; --json has all of it."""
    if output is None:
        return None
    first = output.split("\n", 1)[0]
    return first if len(first) <= width else first[: width - 1] + "…"


@click.command("status", short_help="Show where an instance stands.")
@click.argument("id")
@_json_option
@database_options
def status_command(id: str, json_: bool, target: Target) -> None:
    """Show one instance.

    \b
    durasql status 7f3a09c1
    """
    instance = _instance(id, target)
    if json_:
        return render.as_json(instance.as_dict())
    render.facts(
        {
            "id": instance.id,
            "label": instance.label,
            "status": instance.status,
            "role": instance.role,
            "database": instance.database,
            "program": instance.program[:12],
            "created": instance.created_at,
            "updated": instance.updated_at,
            "completed": instance.completed_at,
            "key": instance.key,
            "copy of": instance.origin,
            "paused": instance.pause_reason,
            "error": instance.error,
        }
    )
    if instance.result is not None:
        render.result(instance.result)
    return None


@click.command("result", short_help="Print the result of a finished instance.")
@click.argument("id")
@_json_option
@database_options
def result_command(id: str, json_: bool, target: Target) -> int:
    """Print an instance's result; exits like `durasql run`, with 4 while it is not over.

    \b
    durasql result 7f3a09c1 --json | jq '.result.rows'
    """
    return report(_instance(id, target), json_)


def report(instance: Instance, json_: bool) -> int:
    """Print how an instance ended and return the exit code for it."""
    if not instance.over:
        verb = "resume" if instance.status == "paused" else "await"
        raise RunTimedOut(
            f"instance {instance.id} is still {instance.status}", hint=f"durasql {verb} {instance.id}"
        )
    if json_:
        render.as_json(instance.as_dict())
    elif instance.status == "completed":
        render.result(instance.result)
    else:
        render.problem(f"instance {instance.id} {instance.status}: {instance.error}")
        if instance.failure is not None:
            render.failure(instance.failure)
    return EXIT[instance.status]


def _instance(id: str, target: Target) -> Instance:
    from durasql.client import connect

    with target.reached() as dsn, connect(dsn) as client:
        return client.instance(id)


@click.command("nodes", short_help="List every step of an instance and its state.")
@click.argument("id")
@_json_option
@database_options
def nodes_command(id: str, json_: bool, target: Target) -> None:
    """List the nodes of an instance's graph, in order.

    \b
    durasql nodes 7f3a09c1
    """
    from durasql.client import connect

    with target.reached() as dsn, connect(dsn) as client:
        nodes = client.nodes(id)
    if json_:
        return render.as_json([asdict(node) for node in nodes])
    columns = ("id", "type", "name", "status", "note", "took", "query", "result")
    render.table(
        columns,
        [
            (
                n.id,
                n.type,
                n.name,
                n.status,
                n.note,
                render.duration(n.took),
                _cut(n.query),
                _cut(n.result, 40),
            )
            for n in nodes
        ],
    )
    return None


@click.command("attempts", short_help="List the failed tries of an instance.")
@click.argument("id")
@_json_option
@database_options
def attempts_command(id: str, json_: bool, target: Target) -> None:
    """List tries that failed and were, or are to be, followed by another, oldest first.

    Of each node only those of the latest generation are kept; `durasql nodes` says when the next is due.

    \b
    durasql attempts 7f3a09c1
    """
    from durasql.client import connect

    with target.reached() as dsn, connect(dsn) as client:
        found = client.attempts(id)
    if json_:
        return render.as_json([asdict(attempt) for attempt in found])
    columns = ("node", "type", "gen", "try", "failed", "next", "code", "message")
    rows = []
    for a in found:
        code = a.sqlstate or a.http_status
        rows.append(
            (a.node, a.type, a.generation, a.number, a.failed_at, a.next_at, code, _cut(a.message, 80))
        )
    return render.table(columns, rows)


@click.command("await", short_help="Wait until an instance is over.")
@click.argument("id")
@click.option("--timeout", default=0, metavar="SECONDS", help="Give up after this time and exit with 4.")
@_json_option
@database_options
def await_command(id: str, timeout: int, json_: bool, target: Target) -> int:
    """Wait until an instance is over, then print its result and exit like `durasql run`.

    \b
    durasql await 7f3a09c1 --timeout 60
    """
    from durasql.client import connect

    forever = 365 * 24 * 3600
    with target.reached() as dsn, connect(dsn) as client:
        client.await_instance(id, timeout or forever)
        return report(client.instance(id), json_)


@click.command("signal", short_help="Send a signal to an instance.")
@click.argument("id")
@click.argument("name")
@click.argument("data", default="{}")
@_json_option
@database_options
def signal_command(id: str, name: str, data: str, json_: bool, target: Target) -> None:
    """Send signal NAME to an instance. DATA is JSON, or a text. It is kept until a wait takes it.

    \b
    durasql signal 7f3a09c1 approve '{"by": "Ada"}'
    """
    from durasql.client import connect
    from durasql.store import instances

    with target.reached() as dsn, connect(dsn) as client:
        client.perform(instances.signal(id, name, data))
    _done(json_, f"signal {name} sent to {id}", {"id": id, "signal": name, "data": data})


@click.command("cancel", short_help="Cancel instances.")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--reason", default="Cancelled by user", show_default=True, help="Kept with the instance.")
@_json_option
@database_options
def cancel_command(ids: tuple[str, ...], reason: str, json_: bool, target: Target) -> None:
    """Cancel instances, the SQL they are executing included.

    \b
    durasql cancel 7f3a09c1 --reason 'wrong day'
    """
    from durasql.client import connect

    with target.reached() as dsn, connect(dsn) as client:
        for id in ids:
            client.cancel(id, reason)
            _done(json_, f"{id} cancelled", {"id": id, "status": client.status(id), "reason": reason})


def _done(json_: bool, text: str, value: dict[str, Any]) -> None:
    """Confirm what was done."""
    if json_:
        render.as_json(value)
    else:
        render.line(text)
