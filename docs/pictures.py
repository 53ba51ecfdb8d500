"""The pictures of docs/: what a terminal shows, and workflows as flowcharts. In: a database with schema df.

    python docs/pictures.py             record them on a temporary server
    python docs/pictures.py --dsn DSN   the same on that database

Out: SVG files in docs/pictures/. What they show is real: the workflow is run, answered, and drawn with the
functions that draw on a terminal. Only the id of the instance is replaced, so that a picture changes when
what it shows does. tests/docs/test_pictures.py fails when one is not what this would record.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from rich.console import Console, RenderableType
from rich.text import Text

from durasql.chart.svg import svg
from durasql.cli.graph import drawing_of_run
from durasql.cli.render import table_of, tree
from durasql.client import Client, connect
from durasql.diagnostics import render as rendered
from durasql.errors import CompileError
from durasql.pipeline import check_source
from durasql.source import Source

T = TypeVar("T")

DOCS: Final = Path(__file__).parent
EXAMPLES: Final = DOCS.parent / "examples"
ID: Final = "7f3a09c1"
_WIDTH: Final = 92
_MISTAKE: Final = (
    "'SELECT id, email FROM users WHERE id = 1' |=> 'user'\n~> 'INSERT INTO mails VALUES ($usr.email)'\n"
)
_ORDER: Final = """\
'SELECT 2 AS wanted' |=> 'order'
~> (('UPDATE stock SET n = n - $order.wanted WHERE item = ''chair''' |=> 'chairs')
    & ('UPDATE stock SET n = n - $order.wanted WHERE item = ''table''' |=> 'tables'))
~> 'SELECT ''on its way'' AS note'
"""


def pictures(dsn: str) -> dict[str, str]:
    """Every picture by its file name."""
    with connect(dsn) as client:
        id = _approved(client, dsn)
        failed = _failed(client, dsn)
        return {
            "run.svg": _terminal(_run(client, id), id),
            "approval.svg": svg([drawing_of_run(client, id)]).replace(id, ID),
            "order.svg": svg([drawing_of_run(client, failed)]).replace(failed, ID),
            "check.svg": _terminal(_check(), ID),
        }


def _approved(client: Client, dsn: str) -> str:
    """An order that waits for its approval until a colleague gives it."""
    path = EXAMPLES / "approval.dsql"
    command = [sys.executable, "-m", "durasql", "run", "--dsn", dsn, str(path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as running:
        id = _first(lambda: next((item.id for item in client.list(status="running").instances), None))
        _first(lambda: any(node.type == "SLEEP" and node.status == "running" for node in client.nodes(id)))
        client.signal(id, "approve", {"by": "Ada"})
        assert running.wait(60) == 0
    return id


def _failed(client: Client, dsn: str) -> str:
    """The order of docs/looking.md, for which the stock does not suffice."""
    client.connection.execute("CREATE TABLE stock (item text PRIMARY KEY, n integer CHECK (n >= 0))")
    client.connection.execute("INSERT INTO stock VALUES ('chair', 3), ('table', 1)")
    command = [sys.executable, "-m", "durasql", "run", "--dsn", dsn, "--label", "order 17", "-e", _ORDER]
    subprocess.run(command, capture_output=True, check=False)
    return client.list(label="order 17").instances[0].id


def _first(look: Callable[[], T | None]) -> T:
    """What `look` finds, as soon as it finds something."""
    while True:
        found = look()
        if found:
            return found


def _run(client: Client, id: str) -> list[RenderableType]:
    row = client.result(id)["rows"][0]
    command = Text("$ durasql run approval.dsql", style="bold")
    return [command, tree(client.explain(id)), "", table_of(list(row), [list(row.values())])]


def _check() -> list[RenderableType]:
    source = Source(_MISTAKE, "welcome.dsql")
    try:
        found = check_source(source).diagnostics
    except CompileError as error:
        found = error.diagnostics
    lines: list[RenderableType] = [Text("$ durasql check welcome.dsql", style="bold")]
    for finding in found:
        head, _, rest = rendered(finding).partition("\n")
        lines += [Text(head, style="bold red"), Text(rest)]
    return lines


def _terminal(lines: list[RenderableType], id: str) -> str:
    """What is printed, as the picture of a terminal that loads nothing from anywhere."""
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True, highlight=False)
    for line in lines:
        console.print(line)
    picture = console.export_svg(title="durasql", unique_id="durasql").replace(id, ID)
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    return "\n".join(line.rstrip() for line in picture.splitlines()) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Record the pictures of docs/.")
    parser.add_argument("--dsn", help="a database with schema df; default: a temporary embedded server")
    dsn = parser.parse_args().dsn
    if dsn:
        return write(pictures(dsn))
    from durasql.embedded import Embedded

    folder = Path(tempfile.mkdtemp(prefix="durasql-pictures-"))
    try:
        with Embedded(folder).running() as own:
            write(pictures(own))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write(made: dict[str, str]) -> None:
    (DOCS / "pictures").mkdir(exist_ok=True)
    for name, text in made.items():
        (DOCS / "pictures" / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
