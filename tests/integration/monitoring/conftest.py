"""Stories: instances whose journal a test writes by hand, as a worker would have.

An ordinary role starts workflows; the schema's owner writes the journal, which no role may write.
Views and functions are then read as that role again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

ROW = '{"rows":[{"v":1}],"row_count":1}'
NO_ROW = '{"rows":[],"row_count":0}'


@dataclass
class Story:
    """One instance; node numbers are those of the pre-order walk."""

    id: str
    owner: psycopg.Connection[Any]
    user: psycopg.Connection[Any]
    _seq: int = 0

    def claimed(self) -> Story:
        """A worker took it up."""
        self.owner.execute(
            "UPDATE df.instances SET status = 'running', epoch = epoch + 1, due = NULL WHERE id = %s",
            (self.id,),
        )
        return self

    def ended(self, status: str = "completed", output: str | None = None) -> Story:
        """It is over, as df._finish leaves it."""
        self.owner.execute(
            "UPDATE df.instances SET status = %(status)s, output = %(output)s, due = NULL, completed_at ="
            " CASE WHEN %(status)s = 'completed' THEN clock_timestamp() END WHERE id = %(id)s",
            {"status": status, "output": output, "id": self.id},
        )
        return self

    def row(
        self,
        node: int,
        state: str = "done",
        value: str | None = None,
        gen: str = "",
        refs: list[int] | None = None,
    ) -> Story:
        """A journal row, replacing the node's former one."""
        self._seq += 1
        if value is None and refs is None and state in ("done", "broken"):
            value = ROW
        self.owner.execute(
            "INSERT INTO df.journal (instance_id, node, gen, seq, state, value, refs)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (instance_id, node)"
            " DO UPDATE SET gen = excluded.gen, seq = excluded.seq, state = excluded.state,"
            " value = excluded.value, refs = excluded.refs",
            (self.id, node, gen, self._seq, state, value, refs),
        )
        return self

    def failed(self, node: int, message: str = "boom", gen: str = "", refs: list[int] | None = None) -> Story:
        """A failed node; with `refs` it only passes on another node's failure."""
        value = None if refs else f'{{"message":"{message}"}}'
        return self.row(node, "failed", value, gen, refs)

    def nodes(self) -> list[dict[str, Any]]:
        """df.instance_nodes as its owner sees it, by node number."""
        with self.user.cursor(row_factory=psycopg.rows.dict_row) as cursor:
            return cursor.execute(
                "SELECT * FROM df.instance_nodes(%s) ORDER BY node_id", (self.id,)
            ).fetchall()

    def told(self) -> list[str]:
        """One word per node: `stored`, or `stored>inferred@ancestor` where they differ."""
        return [_told(node) for node in self.nodes()]

    def stamps(self) -> list[str | None]:
        """Scope and generation of every node, with the instance's id left out."""
        found = self.user.execute(
            "SELECT status_details->>'execution_id' FROM df.nodes WHERE instance_id = %s ORDER BY id",
            (self.id,),
        )
        return [stamp and stamp.removeprefix(self.id) for (stamp,) in found]


def _told(node: dict[str, Any]) -> str:
    ancestor = node["inferred_status_from_ancestor_id"]
    at = f"@{int(ancestor, 16)}" if ancestor else ""
    changed = f">{node['inferred_status']}" if node["inferred_status"] != node["status"] else ""
    return f"{node['status']}{changed}{at}"


@dataclass
class Stories:
    """Starts workflows in one database as one role."""

    database: Any
    role: str
    owner: psycopg.Connection[Any]
    user: psycopg.Connection[Any]
    started: list[str] = field(default_factory=list)

    def start(self, expression: str, label: str | None = None) -> Story:
        """`expression` is SQL that composes the workflow, e.g. `'SELECT 1' ~> 'SELECT 2'`."""
        made = self.user.execute(f"SELECT df.start({expression}, %s)", (label,)).fetchone()
        assert made is not None
        self.started.append(made[0])
        return Story(made[0], self.owner, self.user)

    def one(self, query: str, *parameters: Any) -> Any:
        """The first column of the first row, asked as the role."""
        found = self.user.execute(query, parameters).fetchone()
        return found and found[0]

    def all(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.user.execute(query, parameters).fetchall()


@pytest.fixture
def stories(database: Any) -> Iterator[Stories]:
    role = database.role()
    with database.connect() as owner, database.connect(role) as user:
        yield Stories(database, role, owner, user)
