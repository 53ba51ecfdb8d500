"""bench: how fast durasql is on a server of the user's own."""

from __future__ import annotations

from dataclasses import asdict

import click

from durasql.cli import render
from durasql.cli.target import Target, database_options


@click.command("bench", short_help="Measure how fast workflows run on this server.")
@click.option(
    "--seconds",
    default=2.0,
    show_default=True,
    type=click.FloatRange(0.1, 60),
    help="Length of each of the six runs.",
)
@click.option(
    "--processes",
    default=1,
    show_default=True,
    type=click.IntRange(0, 64),
    help="Worker processes for the time of the bench; 0 if workers run already.",
)
@click.option("--json", "json_", is_flag=True, help="Print JSON.")
@database_options
def bench_command(seconds: float, processes: int, json_: bool, target: Target) -> None:
    """Run small workflows as the role of the DSN, beside the plain commits that this server can do.

    Ratios mean something, figures belong to one machine at one time. Workers that serve the role take part.
    What was started is removed at the end; the load is real while it lasts.

    \b
    durasql bench --dsn postgresql://app@db/app
    durasql bench --processes 2 --seconds 10 --json
    """
    from durasql.cli.measuring import SHAPES, Bench, workers

    with target.reached() as dsn, Bench.at(dsn) as bench, workers(dsn, processes):
        bench.require_worker()
        latency = bench.latency()
        figures = [bench.figure(shape, seconds) for shape in SHAPES]
        settings = bench.settings()
    if json_:
        found = [{**asdict(figure), "ratio": figure.ratio} for figure in figures]
        head = {"from": target.origin, "settings": settings, "processes": processes, "seconds": seconds}
        render.as_json({**head, "figures": found, "latency_ms": asdict(latency)})
        return
    render.table(
        ("workflow", "steps/s", "plain commits/s", "ratio"),
        [(f.shape, f"{f.rate:,.0f}", f"{f.commits:,.0f}", f"{f.ratio:.2f}") for f in figures],
    )
    render.line(f"start to result of one step: {latency.p50:.1f} ms (p50), {latency.p99:.1f} ms (p99)")
