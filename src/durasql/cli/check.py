"""check: mistakes found before anything runs. In: texts, and a DSN if a server shall plan. Out: findings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import click

from durasql.check.run import findings
from durasql.cli import render
from durasql.cli.texts import read
from durasql.codes import diagnose
from durasql.errors import CompileError, Diagnostic, Severity
from durasql.pipeline import parse_source
from durasql.source import Source
from durasql.syntax import ast

_NEXT_TIMES: Final = 3


@click.command("check", short_help="Find mistakes in workflows before they run.")
@click.argument("files", nargs=-1, metavar="FILE...")
@click.option("-e", "--expression", metavar="TEXT", help="The workflow itself, instead of files.")
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "sarif"]), default="text", help="Default: text."
)
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@click.option("-v", "--verbose", is_flag=True, help="Also show when each schedule fires next.")
@click.option("--dsn", metavar="DSN", help="Let this database plan every statement too; nothing is executed.")
@click.option("--role", metavar="ROLE", help="With --dsn: plan with the rights of this role.")
def check_command(
    files: tuple[str, ...],
    expression: str | None,
    form: str,
    strict: bool,
    verbose: bool,
    dsn: str | None,
    role: str | None,
) -> int:
    """Check workflows without a database: names, breaks, schedules, SQL syntax, precedence traps, …

    With --dsn also what only a server knows: tables, columns, functions, types, privileges. Exits with 2 if
    any workflow could not run.

    \b
    durasql check *.dsql
    durasql check -e "'SELECT 1' ~> 'SELECT $a'"
    durasql check --dsn postgresql://app@db/app nightly.dsql
    """
    if role is not None and dsn is None:
        raise click.UsageError("--role needs --dsn")
    sources = (
        [read(file, None) for file in files] if files and expression is None else [read(None, expression)]
    )
    found = [diagnostic for source in sources for diagnostic in _findings(source, dsn, role, verbose=verbose)]
    _FORMS[form](sources, found)
    fatal = (Severity.ERROR, Severity.WARNING) if strict else (Severity.ERROR,)
    return 2 if any(diagnostic.severity in fatal for diagnostic in found) else 0


def _findings(source: Source, dsn: str | None, role: str | None, *, verbose: bool) -> tuple[Diagnostic, ...]:
    try:
        workflow = parse_source(source)
    except CompileError as error:
        return error.diagnostics
    more = list(_next_times(workflow, source)) if verbose else []
    if dsn is None:
        return findings(workflow, source, planned=more)
    from durasql.store.plan import plan

    planned = plan(workflow, source, dsn, role)
    return findings(workflow, source, planned.shapes, (*planned.diagnostics, *more))


def _next_times(workflow: ast.Workflow, source: Source) -> Iterator[Diagnostic]:
    """I205."""
    from durasql_runtime.schedule import next_tick

    for start in workflow.starts:
        for node in ast.walk(start.graph):
            if not isinstance(node, ast.WaitSchedule):
                continue
            times = [datetime.now(UTC)]
            for _ in range(_NEXT_TIMES):
                times.append(next_tick(node.cron_expr, node.timezone, times[-1]))
            shown = ", ".join(f"{moment:%a %Y-%m-%d %H:%M}" for moment in times[1:])
            map_ = node.text_map("cron_expr")
            yield diagnose("I205", f"next: {shown} UTC", source, map_.body if map_ else node.span)


def _print_text(sources: Sequence[Source], found: Sequence[Diagnostic]) -> None:
    render.diagnostics(found, sys.stdout)
    render.note(_summary(len(sources), found))


def _print_json(_: Sequence[Source], found: Sequence[Diagnostic]) -> None:
    from durasql.diagnostics import as_json

    render.as_json([as_json(diagnostic) for diagnostic in found])


def _print_sarif(_: Sequence[Source], found: Sequence[Diagnostic]) -> None:
    from durasql.sarif import as_sarif

    render.as_json(as_sarif(found))


_FORMS: Final[dict[str, Callable[[Sequence[Source], Sequence[Diagnostic]], None]]] = {
    "text": _print_text,
    "json": _print_json,
    "sarif": _print_sarif,
}


def _summary(texts: int, found: Sequence[Diagnostic]) -> str:
    counts = [
        f"{count} {severity}{'s' if count != 1 else ''}"
        for severity in Severity
        if (count := sum(diagnostic.severity is severity for diagnostic in found))
    ]
    return f"{texts} checked: {', '.join(counts) or 'nothing to complain about'}"
