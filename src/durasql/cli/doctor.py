"""doctor: what is wrong with an installation, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict

import click

from durasql.cli import render
from durasql.cli.serve import RoleDsn
from durasql.cli.target import Target, database_options
from durasql.errors import DatabaseUnreachable


@click.command("doctor", short_help="Find out what is wrong, and what to do.")
@click.option("--role-dsn", "role_dsns", multiple=True, type=RoleDsn(), help="As the worker's option.")
@click.option("--sessions", default=24, show_default=True, help="As the worker's option.")
@click.option("--sessions-per-role", default=8, show_default=True, help="As the worker's option.")
@click.option("--json", "json_", is_flag=True, help="Print JSON.")
@database_options
def doctor_command(
    role_dsns: tuple[tuple[str, str], ...], sessions: int, sessions_per_role: int, json_: bool, target: Target
) -> int:
    """Look for what keeps workflows from running, or will some day; change nothing.

    Run it where workers run, with their DSN. It finds poolers, clock skew, missing rights, an old schema,
    settings that hurt, dead workers, overdue instances, and roles that no worker serves or can log in as.
    Exits with 1 if it finds an error, with 5 if the database cannot be reached.

    \b
    durasql doctor --dsn postgresql://ops@db/app
    durasql doctor --json | jq -r '.findings[].what'
    """
    from durasql.doctor.examine import examine
    from durasql.doctor.patient import Request

    with target.reached() as dsn:
        report = examine(Request(dsn, dict(role_dsns), sessions, sessions_per_role))
    if json_:
        found = [asdict(finding) for finding in report.findings]
        head = {"from": target.origin, "database": report.database, "ok": report.sound}
        render.as_json({**head, "checks": report.made, "findings": found})
    else:
        if report.findings:
            render.findings(report.findings)
        count = len(report.findings)
        checks = "1 check" if report.made == 1 else f"{report.made} checks"
        render.line(f"{checks}, {count or 'no'} finding{'' if count == 1 else 's'}")
    if not report.reached:
        return DatabaseUnreachable.exit_code
    return 0 if report.sound else 1
