"""The command line as its users meet it: arguments in, exit code and both streams out."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from durasql.cli import entry
from durasql.cli.target import PG_VARIABLES


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Done]


@pytest.fixture(autouse=True)
def no_database_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own database is none of the tests' business."""
    for name in (*PG_VARIABLES, "DURASQL_DSN", "DURASQL_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def durasql(capfd: pytest.CaptureFixture[str]) -> Command:
    """`durasql("list", "--json")` runs the command in this process."""

    def run(*arguments: str) -> Done:
        capfd.readouterr()
        code = entry.run(list(arguments))
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        assert not re.search("\x1b", out + err), "no colour into a pipe"
        return Done(code, out, err)

    return run


@pytest.fixture
def process() -> Callable[..., subprocess.Popen[str]]:
    """`process("run", …)` starts the command in a process of its own."""

    def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "durasql", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    return start
