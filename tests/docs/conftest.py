"""`stage`: what the blocks of one page run on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.docs.stage import ROLES, Stage, working


@pytest.fixture
def stage(database: Any, tmp_path: Path) -> Iterator[Stage]:
    with psycopg.connect(database.superuser_dsn, autocommit=True) as connection:
        for role in ROLES:
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone():
                connection.execute(f"CREATE ROLE {role} LOGIN".encode())
        connection.execute("GRANT CREATE ON SCHEMA public TO app")
    database.grant_usage("app", include_http=True)
    database.grant_usage("reports")
    made = Stage(database, tmp_path)
    with working(database.owner_dsn):
        yield made
        made.close()
