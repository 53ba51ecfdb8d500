"""graph: a workflow as a flowchart. In: a text, or an instance's id. Out: Mermaid or Graphviz text."""

from __future__ import annotations

import sys

import click

from durasql.chart.flowchart import Chart, chart_of
from durasql.chart.text import FORMATS
from durasql.cli import render
from durasql.cli.front import is_instance
from durasql.cli.target import Target, database_options
from durasql.cli.texts import read
from durasql.pipeline import compile_graph, compile_source


@click.command("graph", short_help="Draw a workflow or an instance as a flowchart.")
@click.argument("what", required=False, metavar="FILE|ID")
@click.option("-e", "--expression", metavar="TEXT", help="The workflow itself, instead of a file.")
@click.option(
    "--format", "form", type=click.Choice(list(FORMATS)), default="mermaid", help="Default: mermaid."
)
@database_options
def graph_command(what: str | None, expression: str | None, form: str, target: Target) -> None:
    """Draw a workflow, or an instance with its steps coloured by status, as text for Mermaid or Graphviz.

    \b
    durasql graph nightly.dsql                           Markdown viewers draw it
    durasql graph 7f3a09c1 --format dot | dot -Tsvg > run.svg
    """
    charts = (
        [_run(what, target)] if what and not expression and is_instance(what) else _texts(what, expression)
    )
    sys.stdout.write(FORMATS[form](charts))


def _texts(what: str | None, expression: str | None) -> list[Chart]:
    compiled = compile_source(read(what, expression))
    render.warnings(compiled.diagnostics)
    return [
        chart_of(item.program, item.start.label, f"w{number}_" if len(compiled.starts) > 1 else "")
        for number, item in enumerate(compiled.starts)
    ]


def _run(id: str, target: Target) -> Chart:
    from durasql.client import connect
    from durasql.store.trace import trace

    with target.reached() as dsn, connect(dsn) as client:
        found = client.perform(trace(id, compile_graph))
        nodes = client.nodes(id)
    return chart_of(found.program, found.label, statuses={int(node.id, 16): node.status for node in nodes})
