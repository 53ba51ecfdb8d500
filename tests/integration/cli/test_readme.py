"""What the README shows is what happens: its program, its tree, its Python and its psql."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")


def block(language: str, containing: str) -> str:
    """The first fenced block of a language that contains a text."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return str(next(text for text in blocks if containing in text))


def tree(text: str) -> list[str]:
    """The lines of a tree, from its first node to the empty line behind it."""
    lines = text.split("\n\n")[1].splitlines()
    return [line.rstrip() for line in lines]


def test_the_programs_tree_is_the_real_one(database: Any, durasql: Any, tmp_path: Path) -> None:
    file = tmp_path / "approval.dsql"
    file.write_text(block("sql", "-- approval.dsql"))
    database.psql("CREATE TABLE orders (id integer GENERATED ALWAYS AS IDENTITY, state text)")
    done = durasql("run", "--dsn", database.owner_dsn, "--tree", str(file))
    assert (done.code, done.err) == (0, "")
    assert tree(done.out) == tree(block("console", "durasql run"))


def test_psql_and_python(database: Any, worker_process: Any) -> None:
    database.psql(
        "CREATE TABLE orders (id int); CREATE TABLE counts (n int); INSERT INTO orders VALUES (1), (2)"
    )
    worker_process()
    id = database.psql(block("sql", "df.list_instances")).splitlines()[0]
    assert database.psql(f"SELECT df.await_instance('{id}'); SELECT n FROM counts").split() == [
        "completed",
        "2",
    ]
    code = block("python", "connect").replace("postgresql://app@db/app", database.owner_dsn)
    names: dict[str, Any] = {}
    exec(
        compile(
            code.replace("    client.result(id) ", "    result = client.result(id) "), "README.md", "exec"
        ),
        names,
    )
    assert names["result"] == {"rows": [{"answer": 21}], "row_count": 1}
