"""Everything a person sees. In: values. Out: text on stdout and messages on stderr; all of rich is here.

On a terminal there are colours, tables that fit and a tree that lives while the workflow runs. Into a pipe or
a file goes the same information without colour, progress or cut lines.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TextIO, TypeAlias

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from durasql.errors import CompileError, Diagnostic, DurasqlError, Severity

if TYPE_CHECKING:
    from durasql.doctor.finding import Finding

_ENDLESS: Final = 100_000
"""Columns of a console that is no terminal: nothing is wrapped or cut."""

_MARKS: Final = {"✓": "green", "✗": "red", "⏳": "yellow", "○": "dim", "⊘": "dim"}
_SECTION: Final = re.compile(r"(↻ body|[?] while|[?] condition|✓ then|✗ else|║ branch \d+):$")
_SEVERITY: Final = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}
_STATUS: Final = {
    "completed": "green",
    "failed": "red",
    "compensated": "red",
    "stuck": "bold red",
    "cancelled": "magenta",
    "running": "yellow",
    "paused": "cyan",
}


class _Console(Console):
    """rich would exit with 1 when the reader of a pipe is gone; that is for `entry` to judge."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console(stream: TextIO | None = None) -> Console:
    """A console on stdout, or on another stream, that is plain unless it is a terminal."""
    stream = stream or sys.stdout
    if stream.isatty():
        return _Console(file=stream, highlight=False)
    return _Console(file=stream, highlight=False, no_color=True, width=_ENDLESS, soft_wrap=True)


def is_terminal() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def line(text: str = "") -> None:
    """One line as it is, on stdout."""
    print(text)


def note(text: str) -> None:
    """A remark for the person in front of the screen: on stderr, out of the way of results."""
    console(sys.stderr).print(Text(text, style="dim"))


def findings(found: Sequence[Finding]) -> None:
    """A doctor's findings: how bad, which check, and below one another what, why and what to do."""
    shown = Table(box=None, pad_edge=False, show_header=False)
    shown.add_column(no_wrap=True)
    shown.add_column(style="dim", no_wrap=True)
    shown.add_column(overflow="fold")
    for finding in found:
        what, why, do = (_printable(text) for text in (finding.what, finding.why, finding.do))
        said = Text.assemble((what, "bold"), f"\n{why}\n", ("→ ", "green"), do)
        shown.add_row(Text(finding.severity, style=_SEVERITY[finding.severity]), finding.check, said)
    _print_table(shown)


def _printable(text: str) -> str:
    """Without what would steer the terminal: anybody who may run a worker chooses its name."""
    return "".join(character if character.isprintable() else "?" for character in text)


def as_json(value: Any) -> None:
    """A value as JSON on stdout; times as ISO 8601."""
    print(json.dumps(value, ensure_ascii=False, indent=2, default=_jsonable))


def _jsonable(value: Any) -> Any:
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def duration(seconds: float | None) -> str:
    """How long something took, in a unit that suits it; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else str(timedelta(seconds=round(seconds)))


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Rows under a header; a column `status` is coloured."""
    _print_table(table_of(columns, rows))


def table_of(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """What `table` prints."""
    shown = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*(_cell(column, value) for column, value in zip(columns, row, strict=True)))
    return shown


def _print_table(shown: Table) -> None:
    """A table; into a pipe without the blanks that fill its last column."""
    screen = console()
    if is_terminal():
        screen.print(shown)
        return
    with screen.capture() as captured:
        screen.print(shown)
    for text in captured.get().splitlines():
        print(text.rstrip())


def _cell(column: str, value: Any) -> Text:
    if value is None:
        return Text("")
    if isinstance(value, datetime):
        return Text(value.astimezone().strftime("%Y-%m-%d %H:%M:%S"))
    text = str(value)
    return Text(text, style=_STATUS.get(text, "") if column == "status" else "")


def facts(pairs: Mapping[str, Any]) -> None:
    """Name and value, one pair a line; values that are None are left out."""
    shown = Table(box=None, pad_edge=False, show_header=False)
    shown.add_column(style="bold")
    shown.add_column(overflow="fold")
    for name, value in pairs.items():
        if value is not None:
            shown.add_row(name, _cell(name, value))
    _print_table(shown)


def result(value: Any) -> None:
    """A workflow's result: a table of its rows on a terminal, else one line of JSON."""
    rows = value.get("rows") if isinstance(value, dict) else None
    if is_terminal() and isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
        columns = list(rows[0])
        table(columns, [[_shown(row.get(column)) for column in columns] for row in rows])
        return
    print(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _shown(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def problem(message: str, hint: str | None = None) -> None:
    """One mistake, in one message on stderr."""
    screen = console(sys.stderr)
    screen.print(Text.assemble(("durasql: ", "bold"), (message, "red")))
    if hint:
        screen.print(Text.assemble(("  hint: ", "bold"), hint))


def failure(details: Mapping[str, Any]) -> None:
    """What is known of the step that failed: its statement with the place, and the server's own
    words; on stderr.
    """
    screen = console(sys.stderr)
    for line in _statement(details):
        screen.print(Text(line))
    for key in ("sqlstate", "detail", "hint"):
        if details.get(key):
            screen.print(Text.assemble((f"  {key}: ", "bold"), str(details[key])))


def _statement(details: Mapping[str, Any]) -> Iterator[str]:
    """The statement as it was sent; where PostgreSQL named a position, its line with a caret."""
    from durasql.diagnostics import excerpt
    from durasql.source import Source, Span

    statement = details.get("sql")
    if not statement:
        return
    start = int(details.get("position") or 0) - 1
    yield from excerpt(
        Source(statement, f"step {details['node']}"), Span(start, start + 1) if start >= 0 else None
    )


def error(failure: DurasqlError) -> None:
    """An error of durasql's tree; one in a text is shown with its place and a caret."""
    if isinstance(failure, CompileError):
        diagnostics(failure.diagnostics)
    else:
        problem(failure.message, failure.hint)


def diagnostics(found: Sequence[Diagnostic], stream: TextIO | None = None) -> None:
    """Findings in a text, each with its line and caret; on stderr unless they are the command's result."""
    from durasql.diagnostics import render

    screen = console(stream or sys.stderr)
    for diagnostic in found:
        head, _, rest = render(diagnostic).partition("\n")
        screen.print(Text(head, style=_SEVERITY[diagnostic.severity]))
        if rest:
            screen.print(Text(rest))


def tree(text: str) -> Text:
    """df.explain's text with one line for each node and its marks in colour."""
    shown = Text("\n".join(_one_line_per_node(text)))
    for mark, style in _MARKS.items():
        shown.highlight_words([mark], style)
    return shown


def warnings(found: Sequence[Diagnostic]) -> None:
    """The findings worth a word when a text is run: notes are for `durasql check`."""
    diagnostics([diagnostic for diagnostic in found if diagnostic.severity is not Severity.INFO])


def _one_line_per_node(text: str) -> Iterator[str]:
    """df.explain keeps the line breaks of a step's SQL, which tear the tree; here they become blanks.

    Only where nodes end with a mark, in the view of an instance, can it be told where a step's text ends.
    """
    header, gap, body = text.rpartition("\n\n")
    yield from (part.rstrip() for part in (header + gap).splitlines())
    node = ""
    for part in body.splitlines():
        node = f"{node} {part.strip()}" if node else part.rstrip()
        if not header.startswith("Instance:") or node.endswith(tuple(_MARKS)) or _SECTION.search(node):
            connector, sql, rest = node.partition("SQL: ")
            yield connector + sql + " ".join(rest.split())
            node = ""
    if node:
        yield node


def print_tree(text: str) -> None:
    console().print(tree(text))


class LiveTree:
    """A tree that is redrawn in place when it changes."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._shown = ""

    def show(self, text: str) -> None:
        """Draw df.explain's text unless it is on the screen already."""
        if text != self._shown:
            self._live.update(tree(text), refresh=True)
            self._shown = text


@contextmanager
def live_tree() -> Iterator[LiveTree | None]:
    """A tree to draw on while the block runs; None where stdout is no terminal."""
    if not is_terminal():
        yield None
        return
    with Live(console=console(), auto_refresh=False) as live:
        yield LiveTree(live)


Section: TypeAlias = tuple[str, Sequence[str], Sequence[Sequence[Any]]]
"""A title, columns and rows."""


def sections(first: str, parts: Sequence[Section]) -> None:
    """A line, and titled tables below each other; of an empty one the title only."""
    line(first)
    for title, columns, rows in parts:
        line(f"\n{title}")
        if rows:
            table(columns, rows)


class LiveSections:
    """Sections that are drawn anew in place."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, first: str, parts: Sequence[Section]) -> None:
        """Draw these."""
        shown: list[RenderableType] = [Text(first, style="bold")]
        for title, columns, rows in parts:
            shown += [Text(f"\n{title}", style="dim"), *([table_of(columns, rows)] if rows else [])]
        self._live.update(Group(*shown), refresh=True)


@contextmanager
def live_sections() -> Iterator[LiveSections]:
    """A screen of its own for sections, while the block runs."""
    with Live(console=console(), auto_refresh=False, screen=True) as live:
        yield LiveSections(live)
