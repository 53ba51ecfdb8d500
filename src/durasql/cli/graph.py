"""graph: a workflow as a picture. In: a text, or an instance's id. Out: SVG, or Mermaid or Graphviz text."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from durasql.chart.flowchart import chart_of
from durasql.chart.svg import Drawing, svg
from durasql.chart.text import FORMATS
from durasql.cli import render
from durasql.cli.front import is_instance
from durasql.cli.target import Target, database_options
from durasql.cli.texts import read
from durasql.pipeline import compile_graph, compile_source

if TYPE_CHECKING:
    from durasql.client import Client


@click.command("graph", short_help="Draw a workflow or an instance as a flowchart.")
@click.argument("what", required=False, metavar="FILE|ID")
@click.option("-e", "--expression", metavar="TEXT", help="The workflow itself, instead of a file.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["svg", *FORMATS]),
    default="mermaid",
    show_default=True,
    help="svg is a picture that needs no other program, the others are text for Mermaid and Graphviz.",
)
@database_options
def graph_command(what: str | None, expression: str | None, form: str, target: Target) -> None:
    """Draw a workflow, or an instance with every step in the colour of its status.

    \b
    durasql graph nightly.dsql --format svg > nightly.svg     a picture for a browser
    durasql graph 7f3a09c1 --format svg > run.svg             how far a run has come
    durasql graph nightly.dsql                                Markdown viewers draw it
    durasql graph nightly.dsql --format dot | dot -Tpdf > nightly.pdf
    """
    drawings = (
        [_run(what, target)] if what and not expression and is_instance(what) else _texts(what, expression)
    )
    sys.stdout.write(svg(drawings) if form == "svg" else _text(form, drawings))


def _text(form: str, drawings: list[Drawing]) -> str:
    several = len(drawings) > 1
    return FORMATS[form](
        [
            chart_of(item.program, item.title, f"w{number}_" if several else "", item.statuses)
            for number, item in enumerate(drawings)
        ]
    )


def _texts(what: str | None, expression: str | None) -> list[Drawing]:
    compiled = compile_source(read(what, expression))
    render.warnings(compiled.diagnostics)
    return [Drawing(item.program, item.start.label or "") for item in compiled.starts]


def _run(id: str, target: Target) -> Drawing:
    from durasql.client import connect

    with target.reached() as dsn, connect(dsn) as client:
        return drawing_of_run(client, id)


def drawing_of_run(client: Client, id: str) -> Drawing:
    """An instance with what became of each node. Raises NotFound."""
    from durasql.store.trace import trace

    found = client.perform(trace(id, compile_graph))
    nodes = client.nodes(id)
    title = " · ".join(part for part in (found.label, found.id, found.status) if part)
    statuses = {int(node.id, 16): node.status for node in nodes}
    notes = {int(node.id, 16): node.result for node in nodes if node.status == "failed" and node.result}
    return Drawing(found.program, title, statuses, notes)
