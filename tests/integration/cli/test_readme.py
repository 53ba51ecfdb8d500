"""What the README shows is what happens: its program, its psql and its Python. (Its picture: tests/docs.)"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
APPROVAL = ROOT / "examples" / "approval.dsql"


def block(language: str, containing: str) -> str:
    """The first fenced block of a language that contains a text."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return str(next(text for text in blocks if containing in text))


def plain(text: str) -> str:
    """A text without the layout and the parentheses that `durasql fmt` adds around a long step."""
    return re.sub(r"[\s()]|^~>", "", text)


def test_the_program_is_the_examples() -> None:
    assert plain(block("sql", "'escalated'")) in plain(APPROVAL.read_text(encoding="utf-8"))


def test_psql_and_python(database: Any, durasql: Any, worker_process: Any) -> None:
    assert durasql("run", "--dsn", database.owner_dsn, str(APPROVAL)).code == 0  # it makes the table
    worker_process()
    printed = database.psql(block("sql", "BEGIN;"))
    assert 'completed|{"rows": [{"state": "approve", "decided_by": "Ada"}]' in printed
    code = block("python", "connect").replace("postgresql://app@db/app", database.owner_dsn)
    names: dict[str, Any] = {}
    exec(
        compile(
            code.replace("    client.result(id) ", "    result = client.result(id) "), "README.md", "exec"
        ),
        names,
    )
    assert names["result"] == {"rows": [{"answer": 21}], "row_count": 1}
