"""trace: a run as executed instructions. In: an instance's id. Out: a line for each instruction."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

import click

from durasql.cli import render
from durasql.cli.target import Target, database_options
from durasql.store.trace import Entry, Trace

_COLUMNS: Final = ("at", "pc", "op", "gen", "status", "took", "tries", "binds", "guarantee", "value")


@click.command("trace", short_help="Show a run as executed instructions.")
@click.argument("id")
@click.option("--json", "json_", is_flag=True, help="Print JSON, values in full.")
@database_options
def trace_command(id: str, json_: bool, target: Target) -> None:
    """Show what an instance executed, in order, with times since its start, attempts, values and guarantees.

    Of a loop the latest generation is shown; `gen` counts generations. `durasql compile` shows the program.

    \b
    durasql trace 7f3a09c1
    """
    from durasql.client import connect
    from durasql.pipeline import compile_graph
    from durasql.store.trace import trace

    with target.reached() as dsn, connect(dsn) as client:
        found = client.perform(trace(id, compile_graph))
    if json_:
        return render.as_json(_as_dict(found))
    program = found.program
    render.line(
        f"instance {found.id} · {found.status} · program {program.format} · {program.hash[:12]}… · "
        f"{len(found.entries)} executed"
    )
    render.table(_COLUMNS, [_row(found, entry) for entry in found.entries])
    return None


def _as_dict(found: Trace) -> dict[str, Any]:
    shown = {"id": found.id, "status": found.status, "label": found.label, "database": found.database}
    program = {"hash": found.program.hash, "format": found.program.format}
    entries = [asdict(entry) for entry in found.entries]
    return {**shown, "created_at": found.created_at, "program": program, "entries": entries}


def _row(found: Trace, entry: Entry) -> tuple[Any, ...]:
    return (
        f"+{(entry.at - found.created_at).total_seconds():.3f}s",
        f"{entry.pc:04d}",
        entry.op,
        entry.generation,
        _status(entry),
        render.duration(entry.took),
        entry.attempts if entry.attempts > 1 else "",
        f"=> {entry.bind}" if entry.bind else "",
        _guarantee(found, entry),
        _cut(entry.value),
    )


def _status(entry: Entry) -> str:
    if entry.state == "waiting" and entry.due is not None:
        return f"waiting until {entry.due.astimezone():%H:%M:%S}"
    return entry.state


def _guarantee(found: Trace, entry: Entry) -> str:
    """A step in another database is exactly once only where schema df is installed there too."""
    if found.database and entry.op == "SQL" and entry.guarantee == "exactly once":
        return "exactly once with df there"
    return entry.guarantee


def _cut(value: str | None, width: int = 80) -> str:
    text = " ".join((value or "").split())
    return text if len(text) <= width else text[: width - 1] + "…"
