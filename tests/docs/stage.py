"""A page's stage: a database with a worker, psql sessions, a folder. In: a block. Out: what it prints.

Roles are the ones that the pages speak of: `app` and `reports` start workflows, `owner` owns schema df. Where
a page writes postgresql://ROLE@db/app, ROLE logs in to the page's own database.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.docs.blocks import ROOT, Block

from durasql.client import Client, connect
from durasql.diagnostics import render
from durasql.errors import CompileError, Diagnostic, Severity
from durasql.pipeline import check_source
from durasql.source import Source
from durasql_runtime.worker import Worker, WorkerConfig

ROLES = ("app", "reports", "ops")
_END = "__end_of_block__"
_PATIENCE = 60
_LATEST = "7f3a09c1"


class Echo(BaseHTTPRequestHandler):
    """Tells in JSON what it was asked; /status/503 answers with that status."""

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        asked = {"method": self.command, "path": self.path, "body": body}
        reply = json.dumps(asked).encode()
        status = re.fullmatch(r"/status/(\d+)", self.path)
        self.send_response(int(status.group(1)) if status else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


class Surprise(Exception):
    """A block failed that should not, or did not that should."""


class Psql:
    """One psql, as a user has it open: variables of \\gset stay from block to block."""

    def __init__(self, program: Path, dsn: str) -> None:
        command = [str(program), "-XqnP", "footer=off", "-v", "SHOW_CONTEXT=never", dsn]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def run(self, text: str) -> str:
        """What psql prints for a script."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{text}\n\\echo {_END}\n")
        self._process.stdin.flush()
        lines: list[str] = []
        for line in self._process.stdout:
            if line.rstrip("\n") == _END:
                return "".join(lines)
            lines.append(line)
        raise Surprise("psql ended: " + "".join(lines))

    def close(self) -> None:
        self._process.communicate()


class Stage:
    """Where the blocks of one page run, one after the other."""

    def __init__(self, database: Any, folder: Path) -> None:
        self.database = database
        self.folder = folder
        self._sessions: dict[str, Psql] = {}
        self._client: Client | None = None
        self._site: ThreadingHTTPServer | None = None

    def run(self, block: Block) -> str:
        """Run a block and return what it prints. Raises `Surprise`."""
        if "file" in block.marks:
            (self.folder / block.marks["file"]).write_text(block.text, encoding="utf-8")
            return ""
        runner = getattr(self, f"_{block.language}")
        return str(runner(block))

    def close(self) -> None:
        for session in self._sessions.values():
            session.close()
        if self._client is not None:
            self._client.close()
        if self._site is not None:
            self._site.shutdown()
            self._site.server_close()

    def _role(self, block: Block) -> str:
        named = block.marks.get("as", "app")
        return {"owner": self.database.owner, "superuser": "postgres"}.get(named, named)

    def _sql(self, block: Block) -> str:
        role = self._role(block)
        if role not in self._sessions:
            program = self.database.cluster.bin_dir / "psql"
            self._sessions[role] = Psql(program, self.database.dsn(role))
        printed = self._hidden(self._sessions[role].run(self._here(block.text)))
        _expect(block, re.search(r"^ERROR:", printed, re.MULTILINE) is not None, printed)
        return printed

    def _dsql(self, block: Block) -> str:
        found = _findings(block)
        shown = "\n\n".join(render(finding) for finding in found)
        if "check" in block.marks:
            return shown
        if any(finding.severity is not Severity.INFO for finding in found) and "warns" not in block.marks:
            raise Surprise(shown)
        return self._run_workflow(block)

    def _run_workflow(self, block: Block) -> str:
        if self._client is None:
            self._client = connect(self.database.dsn("app"))
        path = self.folder / "page.dsql"
        path.write_text(self._here(block.text), encoding="utf-8")
        instance = self._client.start(path)
        status = self._client.await_instance(instance, _PATIENCE)
        _expect(block, status != "completed", self._client.error(instance) or status)
        if status != "completed":
            return self._hidden(f"{status}: {self._client.error(instance)}")
        return json.dumps(self._client.result(instance), ensure_ascii=False)

    def _console(self, block: Block) -> str:
        printed = []
        for command in re.findall(r"^\$ (.*(?:\\\n.*)*)", block.text, re.MULTILINE):
            done = self._shell(command, block)
            printed.append(f"$ {command}\n{self._hidden(done.stdout)}")
        return "".join(printed)

    def _sh(self, block: Block) -> str:
        if "serves" in block.marks:
            return self._served(block.text, block)
        done = self._shell(block.text, block)
        _expect(block, done.returncode != 0, done.stdout)
        return self._hidden(done.stdout)

    def _python(self, block: Block) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(self._here(block.text), block.place, "exec"), {})
        return printed.getvalue()

    def _served(self, script: str, block: Block) -> str:
        """Run a script until it says that it is ready, then end it as a supervisor would."""
        with subprocess.Popen(
            ["sh", "-eu", "-c", f"exec {self._here(script).strip()}"],
            cwd=self.folder,
            env=self._environment(block),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as running:
            assert running.stdout is not None
            printed = ""
            for line in running.stdout:
                printed += line
                if "ready" in line:
                    running.terminate()
            _expect(block, running.wait(_PATIENCE) != 0 or "ready" not in printed, printed)
        return self._hidden(printed)

    def _shell(self, script: str, block: Block) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-eu", "-c", self._here(script)],
            cwd=self.folder,
            env=self._environment(block),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )

    def _environment(self, block: Block) -> dict[str, str]:
        """What a user's shell has: durasql and psql, and where the page's database is."""
        dsn = self.database.dsn(self._role(block))
        bin_dirs = [str(Path(sys.executable).parent), str(self.database.cluster.bin_dir)]
        # A width of its own, so that tables look the same everywhere.
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PG", "DURASQL"))},
            "PATH": os.pathsep.join([*bin_dirs, os.environ["PATH"]]),
            "DURASQL_DSN": dsn,
            "DSN": dsn,
            "COLUMNS": "120",
        }

    def _here(self, text: str) -> str:
        """A text with the addresses of this page's database, and the examples of the repository."""
        text = re.sub(
            r"postgresql://(\w+)@db/app",
            lambda match: self._url(match.group(1)),
            text,
        )
        if _LATEST in text:
            text = text.replace(_LATEST, self._latest())
        if "service.internal" in text:
            text = re.sub(r"service\.internal(', port => |:)8080", rf"127.0.0.1\g<1>{self._service()}", text)
        return re.sub(r"\bexamples/(?=\w+\.dsql)", f"{ROOT / 'examples'}/", text)

    def _latest(self) -> str:
        """The id of the instance that was started last."""
        with self.database.connect("postgres") as connection:
            row = connection.execute(
                "SELECT id FROM df.instances ORDER BY created_at DESC LIMIT 1"
            ).fetchone()
        return str(row[0]) if row else _LATEST

    def _service(self) -> int:
        """The port of the HTTP server, which runs from its first use to the end of the page."""
        if self._site is None:
            self._site = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
            threading.Thread(target=self._site.serve_forever, daemon=True).start()
        return self._site.server_address[1]

    def _url(self, role: str) -> str:
        name = {"owner": self.database.owner}.get(role, role)
        cluster = self.database.cluster
        return f"postgresql://{name}@127.0.0.1:{cluster.port}/{self.database.name}"

    def _hidden(self, text: str) -> str:
        """What commands print, with the addresses that the pages use."""
        text = text.replace(f"{ROOT / 'examples'}/", "examples/")
        if self._site is not None:
            text = text.replace(f"127.0.0.1:{self._site.server_address[1]}", "service.internal:8080")
        return text.replace(self.database.name, "app").replace(self.database.owner, "owner")


@contextmanager
def working(dsn: str) -> Iterator[None]:
    """A worker in a thread of its own, for as long as the block runs."""
    ready = threading.Event()
    stops: list[Callable[[], object]] = []

    async def serve() -> None:
        worker = Worker(WorkerConfig(dsn, name="docs", drain_seconds=0.2))
        stops.append(partial(asyncio.get_running_loop().call_soon_threadsafe, worker.stop))
        working = asyncio.create_task(worker.run())
        await asyncio.wait(
            [working, asyncio.create_task(worker.started.wait())], return_when=asyncio.FIRST_COMPLETED
        )
        ready.set()
        await working

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait(_PATIENCE)
    try:
        yield
    finally:
        stops[0]()
        thread.join(_PATIENCE)


def _findings(block: Block) -> tuple[Diagnostic, ...]:
    """What `durasql check` finds in a workflow."""
    source = Source(block.text, block.marks.get("check") or "example.dsql")
    try:
        return check_source(source).diagnostics
    except CompileError as error:
        return error.diagnostics


def _expect(block: Block, failed: bool, printed: str) -> None:
    if failed != ("fails" in block.marks):
        raise Surprise(printed)
