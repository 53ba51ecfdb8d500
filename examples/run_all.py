"""Run every example on a temporary embedded server and show what happens: `make run`.

Each is run as a user would run it, `durasql run FILE`, by an ordinary role, and its result is compared with
the one that the file promises. Exits with the worst exit code.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from durasql.client import connect
from durasql.embedded import Embedded
from durasql.errors import DurasqlError

HERE = Path(__file__).parent
SERVICES = {"embeddings": ("embedding_server.py", 8321), "enrichment": ("enrichment_server.py", 8322)}
_RESULT = re.compile(r"^-- Result: (.*\n(?:-- .*\n?)*)", re.MULTILINE)


def introduction(text: str) -> str:
    """The comment that a file begins with."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        lines.append(line)
    return "\n".join(lines)


def promised(text: str) -> Any:
    """The result that a file says it has, in its last comment."""
    found = _RESULT.search(text)
    assert found is not None, "an example ends with a comment `-- Result: …`"
    return json.loads(re.sub(r"^-- ", "", found.group(1), flags=re.MULTILINE))


def latest(dsn: str) -> Any:
    """The result of the instance that ended last."""
    with connect(dsn) as client:
        return client.result(client.list(limit=1).instances[0].id)


def run(path: Path, dsn: str) -> int:
    """Run one example; its output goes to ours."""
    print(f"\n{'─' * 100}\n$ durasql run {os.path.relpath(path)}\n")
    print(introduction(path.read_text(encoding="utf-8")) + "\n", flush=True)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "durasql", "run", "--tree", "--timeout", "60", "--dsn", dsn, str(path)],
        check=False,
    )
    print(f"\nexit code {done.returncode}, {time.monotonic() - began:.1f} s", flush=True)
    if done.returncode == 0 and latest(dsn) != promised(path.read_text(encoding="utf-8")):
        print("this is not the result that the file promises", file=sys.stderr)
        return 1
    return done.returncode


@contextmanager
def surroundings(path: Path, dsn: str) -> Iterator[None]:
    """What an example needs besides the database: the service that it calls, and leave to reach it."""
    if path.stem not in SERVICES:
        yield
        return
    script, port = SERVICES[path.stem]
    allow = [sys.executable, "-m", "durasql", "http", "allow", "127.0.0.1", "--port", str(port), "--private"]
    subprocess.run([*allow, "--dsn", dsn], check=True)
    service = subprocess.Popen(
        [sys.executable, HERE / script],
        env={**os.environ, "DURASQL_DSN": dsn},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert service.stdout is not None
        service.stdout.readline()  # it says so when it listens
        yield
    finally:
        service.terminate()
        service.communicate()


def main() -> int:
    paths = sorted(HERE.glob("*.dsql"), key=lambda path: (path.stem != "hello", path.stem))
    began = time.monotonic()
    folder = tempfile.mkdtemp(prefix="durasql-run-")
    try:
        with Embedded(Path(folder)).running() as dsn:
            print(f"An embedded PostgreSQL is running in {folder}")
            codes = {}
            for path in paths:
                with surroundings(path, dsn):
                    codes[path.name] = run(path, dsn)
    except DurasqlError as error:
        print(f"durasql: {error.message}\n  hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    failed = [name for name, code in codes.items() if code]
    print(
        f"\n{len(codes) - len(failed)} of {len(codes)} examples completed in {time.monotonic() - began:.1f} s"
    )
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return max(codes.values(), default=0)


if __name__ == "__main__":
    sys.exit(main())
