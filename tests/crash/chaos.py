"""Chaos: workers are killed, frozen for longer than any lease, and the server is stopped at once, for
minutes.

    python tests/crash/chaos.py [--minutes 2] [--workers 3] [--seed N]      (make chaos)

Thousands of small workflows are started all the while. Each step leaves an effect, so at the end every
workflow must be over with exactly the effects of its kind. Prints one line per event and a report; exits 1
when anything was lost, doubled or is stuck.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psycopg

from durasql.postgres import Server, binaries
from durasql.store.install import install

LEASE: Final = 2.0
OWNER: Final = "durasql_owner"
SETTINGS: Final = {
    "max_connections": "200",
    "fsync": "off",  # the machine stays up; an immediate stop still loses what was not written
    "full_page_writes": "off",
    "log_min_messages": "fatal",
}


def _leave(what: str) -> str:
    return f"'INSERT INTO effects VALUES (''{{sys_instance_id}}'', ''{what}'')'"


KINDS: Final = {
    "sequence": (f"{_leave('a')} ~> {_leave('b')} ~> {_leave('c')}", 3),
    "join": (f"{_leave('a')} ~> ({_leave('b')} & ({_leave('c')} ~> {_leave('d')}))", 4),
    "race": (
        f"df.race({_leave('a')} ~> {_leave('b')}, df.sleep(600) ~> {_leave('x')}) ~> {_leave('c')}",
        3,
    ),
    "loop": (
        f"df.loop({_leave('a')}, 'SELECT count(*) < 5 FROM effects WHERE id = ''{{sys_instance_id}}''')",
        5,
    ),
    "sleep": (f"{_leave('a')} ~> df.sleep(1) ~> {_leave('b')} ~> ({_leave('c')} & df.sleep(1))", 3),
    "signal": (
        f"{_leave('a')} ~> 'SELECT df.signal(''{{sys_instance_id}}'', ''go'')' ~> "
        f"df.wait_for_signal('go') ~> {_leave('b')}",
        2,
    ),
    "busy": (f"{_leave('a')} ~> 'SELECT pg_sleep(0.2)' ~> {_leave('b')}", 2),
}
"""Kind -> the workflow and how many effects it leaves."""


@dataclass
class Chaos:
    """One storm over one server."""

    directory: Path
    seed: int
    size: int
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    frozen: dict[int, float] = field(default_factory=dict)
    events: Counter[str] = field(default_factory=Counter)
    started: int = 0

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.server = Server(self.directory, binaries(), SETTINGS)
        self.dsn = self.server.dsn("chaos", OWNER)

    def prepare(self) -> None:
        """A server, an installation, a table for effects, workers."""
        self.server.start()
        with psycopg.connect(self.server.dsn("postgres", "postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {OWNER} LOGIN")
            connection.execute(f"CREATE DATABASE chaos OWNER {OWNER}")
        install(self.dsn)
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute("CREATE TABLE effects (id text, what text)")
            connection.execute("CREATE INDEX ON effects (id)")
            connection.execute(
                "UPDATE df.settings SET value = %s WHERE name = 'lease_seconds'", (str(LEASE),)
            )
        for _ in range(self.size):
            self.spawn()

    def spawn(self) -> None:
        """One more worker process."""
        log = (self.directory / "workers.log").open("ab")
        command = [sys.executable, "-m", "durasql", "worker", "--dsn", self.dsn, "--log-level", "warning"]
        self.workers.append(subprocess.Popen(command, stdout=log, stderr=log))
        log.close()

    def storm(self, seconds: float) -> None:
        """Start workflows and break things until the time is up."""
        end = time.monotonic() + seconds
        blow = time.monotonic() + 3
        while time.monotonic() < end:
            self.start_some()
            self.thaw()
            self.replace_the_dead()
            if time.monotonic() > blow:
                self.dice.choices([self.kill, self.freeze, self.stop_server], [5, 3, 1])[0]()
                blow = time.monotonic() + self.dice.uniform(0.3, 2.5)
            time.sleep(0.05)

    def start_some(self) -> None:
        """A handful of workflows in one transaction; none if the server is away, or does not answer
        whether.
        """
        picked = self.dice.choices(list(KINDS), k=self.dice.randint(1, 4))
        with suppress(psycopg.Error), psycopg.connect(self.dsn, connect_timeout=5) as connection:
            for kind in picked:
                connection.execute(f"SELECT df.start({KINDS[kind][0]}, %s)".encode(), (kind,))

    def kill(self) -> None:
        """SIGKILL, and a new worker later."""
        victim = self.dice.choice(self.workers)
        victim.kill()
        victim.wait()
        self.note("killed", victim.pid)

    def freeze(self) -> None:
        """SIGSTOP until after its lease."""
        victim = self.dice.choice(self.workers)
        if victim.pid not in self.frozen:
            victim.send_signal(signal.SIGSTOP)
            self.frozen[victim.pid] = time.monotonic() + LEASE + self.dice.uniform(0.5, 3)
            self.note("frozen", victim.pid)

    def thaw(self, *, everyone: bool = False) -> None:
        """SIGCONT for those whose time has come."""
        for pid, when in list(self.frozen.items()):
            if everyone or time.monotonic() > when:
                del self.frozen[pid]
                for worker in self.workers:
                    if worker.pid == pid and worker.poll() is None:
                        worker.send_signal(signal.SIGCONT)

    def stop_server(self) -> None:
        """pg_ctl stop -m immediate, and start."""
        self.note("server stopped", 0)
        self.server.stop("immediate")
        time.sleep(self.dice.uniform(0, 1))
        self.server.start()

    def replace_the_dead(self) -> None:
        """As many workers as before; one that ended by itself did wrong."""
        for worker in [worker for worker in self.workers if worker.poll() is not None]:
            self.workers.remove(worker)
            if worker.returncode != -signal.SIGKILL:
                self.note(f"gave up ({worker.returncode})", worker.pid)
            self.spawn()

    def note(self, event: str, pid: int) -> None:
        """Count and print."""
        self.events[event] += 1
        print(f"{time.strftime('%H:%M:%S')} {event}{f' {pid}' if pid else ''}", flush=True)

    def settle(self, patience: float = 90) -> int:
        """Let the workers finish in peace; how many instances do not."""
        self.thaw(everyone=True)
        end = time.monotonic() + patience
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            while time.monotonic() < end:
                self.replace_the_dead()
                row = connection.execute(
                    "SELECT count(*) FROM df.instances WHERE status IN ('pending', 'running')"
                ).fetchone()
                if row == (0,):
                    return 0
                time.sleep(0.2)
            for stuck in connection.execute(
                "SELECT id, label, status, worker, due, epoch, updated_at, now() FROM df.instances "
                "WHERE status IN ('pending', 'running') LIMIT 10"
            ).fetchall():
                print("stuck:", stuck)
        return int(row[0]) if row else 0

    def report(self, stuck: int) -> bool:
        """Compare effects with what each kind leaves; True when all is well."""
        values = ", ".join(f"('{kind}', {count})" for kind, (_, count) in KINDS.items())
        query = (
            "SELECT i.label, i.id, i.status, k.n, coalesce(e.n, 0), i.output FROM df.instances i "
            f"JOIN (VALUES {values}) k (label, n) USING (label) "
            "LEFT JOIN (SELECT id, count(*)::int AS n FROM effects GROUP BY id) e ON e.id = i.id "
            "WHERE i.status NOT IN ('pending', 'running')"
        )
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            rows = connection.execute(query.encode()).fetchall()
        failed = [row for row in rows if row[2] != "completed"]
        lost = [row for row in rows if row[4] < row[3]]
        doubled = [row for row in rows if row[4] > row[3]]
        for row in (*failed[:5], *lost[:5], *doubled[:5]):
            print("wrong:", row)
        print(
            f"events {dict(self.events)}; workflows {len(rows) + stuck}; failed {len(failed)}; "
            f"lost {len(lost)}; doubled {len(doubled)}; stuck {stuck}; seed {self.seed}"
        )
        gave_up = any(event.startswith("gave up") for event in self.events)
        return not (failed or lost or doubled or stuck or gave_up)

    def close(self) -> None:
        """End what is left."""
        for worker in self.workers:
            with suppress(ProcessLookupError):
                worker.send_signal(signal.SIGCONT)
            worker.kill()
            worker.wait()
        self.server.stop("immediate")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="durasql-chaos-"))
    chaos = Chaos(directory, options.seed, options.workers)
    well = False
    try:
        chaos.prepare()
        chaos.storm(options.minutes * 60)
        well = chaos.report(chaos.settle())
    finally:
        chaos.close()
        if well:
            shutil.rmtree(directory, ignore_errors=True)
        else:
            print(f"logs are in {directory}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
