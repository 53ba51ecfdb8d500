"""top: what a database is doing. In: the database. Out: a screen that lives, a page, or JSON."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from durasql.cli import render
from durasql.cli.target import Target, database_options

if TYPE_CHECKING:
    from durasql.store.top import Top


@click.command("top", short_help="Watch workers, backlog, waits and failures.")
@click.option("--interval", default=2.0, show_default=True, metavar="SECONDS", help="Time between two looks.")
@click.option("--lines", default=5, show_default=True, help="How many waits and failures to show.")
@click.option("--once", is_flag=True, help="Look once; without a terminal that is the default.")
@click.option("--json", "json_", is_flag=True, help="Print one look as JSON.")
@database_options
def top_command(interval: float, lines: int, once: bool, json_: bool, target: Target) -> None:
    """Show workers, what runs, what is due and for how long, what has waited longest, the latest failures.

    The owner of schema df sees all roles, everybody else their own instances. Ctrl-C ends it.

    \b
    durasql top
    durasql top --json | jq .lag_seconds
    """
    from durasql.client import connect
    from durasql.store.top import top

    with target.reached() as dsn, connect(dsn) as client:
        if json_:
            return render.as_json(asdict(client.perform(top(lines))))
        if once or not render.is_terminal():
            return render.sections(*_page(client.perform(top(lines))))
        with render.live_sections() as screen:
            while True:
                screen.show(*_page(client.perform(top(lines))))
                time.sleep(max(0.1, interval))


def _page(top: Top) -> tuple[str, list[render.Section]]:
    """The first line, and a table for each part."""
    first = (
        f"{datetime.now(UTC):%H:%M:%S} UTC · {top.running} running · {top.due} due"
        f"{f', the first for {render.duration(top.lag_seconds)}' if top.due else ''}"
        f" · {top.waiting} waiting · {top.per_second:.1f} ended per second"
    )
    return first, [_workers(top), _longest(top), _failures(top)]


def _workers(top: Top) -> render.Section:
    rows: list[tuple[Any, ...]] = [
        (w.name, w.role, w.running, _state(w.idle, w.draining), f"{w.heard_seconds:.1f} s ago", w.version)
        for w in top.workers or ()
    ]
    title = "workers" if top.workers is not None else "workers: not for this role to see"
    return title, ("name", "role", "running", "state", "heard of", "version"), rows


def _state(idle: bool, draining: bool) -> str:
    return "draining" if draining else "idle" if idle else "busy"


def _longest(top: Top) -> render.Section:
    rows = [(w.id, w.label, w.role, w.kind, w.waits_for, _at(w.since), _at(w.until)) for w in top.longest]
    return "waiting longest", ("id", "label", "role", "for a", "which", "since", "until"), rows


def _failures(top: Top) -> render.Section:
    rows = [(f.id, f.label, f.role, _at(f.created_at), _cut(f.error)) for f in top.failures]
    return "failed last", ("id", "label", "role", "started", "error"), rows


def _at(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def _cut(text: str | None, width: int = 100) -> str:
    shown = " ".join((text or "").split())
    return shown if len(shown) <= width else shown[: width - 1] + "…"
