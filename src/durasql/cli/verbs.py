"""pause, resume, retry, fork: what an operator does with instances, one by one or all of a kind.

Each instance is a transaction of its own, and each one that was meant gets a line that says what became of
it. `--dry-run` does the same and rolls it back, so that it refuses exactly what would be refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import click

from durasql.cli import render
from durasql.cli.target import Target, database_options
from durasql.errors import NotFound, PermissionDenied, SchemaMissing, StoreError
from durasql.store import instances, verbs
from durasql.store.verbs import Chosen

if TYPE_CHECKING:
    from durasql.client import Client

F = TypeVar("F", bound=Callable[..., Any])
Act: TypeAlias = Callable[["Client", str], str]
"""Does one thing to one instance and says what, in a word or two."""

STATUSES: Final = (
    "pending", "running", "paused", "completed", "failed", "cancelled", "compensated", "stuck",
)  # fmt: skip
REFUSED: Final = 1
"""Exit code when anything that was asked for was not done."""


@dataclass(frozen=True, slots=True)
class Line:
    """What became of one instance."""

    id: str
    label: str | None
    was: str | None
    done: bool
    outcome: str
    hint: str | None = None


class _Rehearsed(Exception):
    """Ends the transaction of a dry run."""


def _choosing(verb: str, statuses: Sequence[str]) -> Callable[[F], F]:
    """The options of all verbs: ids, or a label and statuses (default: those that the verb is for)."""

    def decorate(command: F) -> F:
        @click.argument("ids", nargs=-1, metavar="[ID]...")
        @click.option("--label", metavar="LABEL", help=f"{verb.capitalize()} all instances with this label.")
        @click.option(
            "--status",
            "chosen",
            multiple=True,
            type=click.Choice(STATUSES),
            metavar="STATUS",
            help=f"{verb.capitalize()} all instances that are so; can be repeated."
            + (f" With --label the default is {' and '.join(statuses)}." if statuses else ""),
        )
        @click.option("--dry-run", is_flag=True, help="Only say what would be done: try it and roll it back.")
        @click.option("--json", "json_", is_flag=True, help="Print JSON.")
        @database_options
        @wraps(command)
        def with_options(*args: Any, **options: Any) -> Any:
            return command(*args, **options)

        return with_options  # type: ignore[return-value]

    return decorate


@click.command("pause", short_help="Let instances rest.")
@_choosing("pause", ("pending", "running"))
@click.option("--reason", default="Paused by user", show_default=True, help="Shown while they rest.")
def pause_command(reason: str, **options: Any) -> int:
    """Let instances rest until they are resumed. A step that is being executed is rolled back and runs again.

    \b
    durasql pause 7f3a09c1 --reason 'the shop is being moved'
    durasql pause --label nightly --dry-run
    """

    def act(client: Client, id: str) -> str:
        client.perform(verbs.pause(id, reason))
        return "paused"

    return _apply(act, ("pending", "running"), **options)


@click.command("resume", short_help="Let paused instances go on.")
@_choosing("resume", ("paused",))
def resume_command(**options: Any) -> int:
    """Let paused instances go on where they were. What fell due in the meantime happens now.

    \b
    durasql resume 7f3a09c1
    durasql resume --status paused
    """

    def act(client: Client, id: str) -> str:
        client.perform(verbs.resume(id))
        return "resumed"

    return _apply(act, ("paused",), **options)


@click.command("retry", short_help="Resume failed instances where they failed.")
@_choosing("retry", ("failed", "stuck"))
def retry_command(**options: Any) -> int:
    """Resume failed instances at the step that failed, and stuck ones at their undo. All before that is kept.

    \b
    durasql retry 7f3a09c1
    durasql retry --label nightly --dry-run
    durasql retry --status stuck
    """

    def act(client: Client, id: str) -> str:
        steps = client.perform(verbs.retry(id))
        return f"resumed at {steps}" if steps else "resumed"

    return _apply(act, ("failed", "stuck"), **options)


@click.command("fork", short_help="Start copies of instances from one of their steps on.")
@_choosing("fork", ())
@click.option(
    "--node",
    required=True,
    metavar="NODE",
    help="The step that the copy begins with, as `durasql nodes` shows it; 00000000 for everything.",
)
def fork_command(node: str, **options: Any) -> int:
    """Start a copy of an instance that goes on from one of its steps, with everything before that as it was.

    The copy has the variables of the original, but not its key. The original stays as it is.

    \b
    durasql fork 7f3a09c1 --node 00000004
    durasql fork --label nightly --status compensated --node 00000000 --dry-run
    """

    def act(client: Client, id: str) -> str:
        return f"forked as {client.perform(verbs.fork(id, node))}"

    return _apply(act, (), **options)


def _apply(
    act: Act,
    meant: Sequence[str],
    *,
    ids: tuple[str, ...],
    label: str | None,
    chosen: tuple[str, ...],
    dry_run: bool,
    json_: bool,
    target: Target,
) -> int:
    """Do it to every instance that was meant, and print a line for each."""
    from durasql.client import connect

    if bool(ids) == bool(label or chosen):
        raise click.UsageError("give the ids of instances, or choose them with --label or --status; not both")
    if not ids and not (chosen or meant):
        raise click.UsageError("which of them? give --status, too")
    with target.reached() as dsn, connect(dsn) as client:
        if ids:
            found = [_looked_up(client, id) for id in dict.fromkeys(ids)]
        else:
            found = list(client.perform(verbs.chosen(label, chosen or meant)))
        lines = [_act_on(client, act, one, dry_run) for one in found]
    _show(lines, dry_run, json_)
    return 0 if all(line.done for line in lines) else REFUSED


def _looked_up(client: Client, id: str) -> Chosen | Line:
    try:
        instance = client.perform(instances.instance(id))
    except NotFound as error:
        return Line(id, None, None, False, error.message, error.hint)
    return Chosen(instance.id, instance.label, instance.status)


def _act_on(client: Client, act: Act, one: Chosen | Line, dry_run: bool) -> Line:
    """One instance in a transaction of its own; what the server refuses concerns this instance only."""
    if isinstance(one, Line):
        return one
    said = ""
    try:
        with client.connection.transaction():
            said = act(client, one.id)
            if dry_run:
                raise _Rehearsed
    except _Rehearsed:
        said = f"would be {said}" if not said.startswith("forked") else "would be forked"
    except StoreError as error:
        if type(error) not in (StoreError, NotFound, PermissionDenied) or isinstance(error, SchemaMissing):
            raise
        return Line(one.id, one.label, one.status, False, error.message, error.hint)
    return Line(one.id, one.label, one.status, True, said)


def _show(lines: Sequence[Line], dry_run: bool, json_: bool) -> None:
    if json_:
        return render.as_json([asdict(line) for line in lines])
    if lines:
        render.table(
            ("id", "label", "was", "outcome"),
            [(line.id, line.label, line.was, line.outcome) for line in lines],
        )
    refused = [line for line in lines if not line.done]
    for hint in dict.fromkeys(line.hint for line in refused if line.hint):
        render.note(f"hint: {hint}")
    done = len(lines) - len(refused)
    if len(lines) != 1 or dry_run:
        render.note(
            f"{done} of {len(lines)} instances{' would be' if dry_run else ''} done"
            if lines
            else "no instance is so; nothing was done"
        )
    return None
