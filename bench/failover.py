"""How long the instances of a killed worker take to run elsewhere.

    python bench/failover.py [--rounds 20]

Two workers; one holds an instance whose step takes long, and is killed with SIGKILL. Measured from the kill
until the other worker's session executes the step. Prints each time, the median and the worst.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from durasql.postgres import Server, binaries
from durasql.store.install import install

OWNER = "durasql_owner"


class Stand:
    """A server and two workers."""

    def __init__(self, directory: Path) -> None:
        self.server = Server(directory, binaries(), {"fsync": "off"})
        self.server.start()
        with psycopg.connect(self.server.dsn("postgres", "postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {OWNER} LOGIN")
            connection.execute(f"CREATE DATABASE failover OWNER {OWNER}")
        self.dsn = self.server.dsn("failover", OWNER)
        install(self.dsn)
        self.watch = psycopg.connect(self.dsn, autocommit=True)
        self.workers: dict[int, subprocess.Popen[bytes]] = {}

    def spawn(self) -> None:
        """One more worker; returns when it has signed on."""
        command = [sys.executable, "-m", "durasql", "worker", "--dsn", self.dsn, "--log-level", "error"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.workers[process.pid] = process
        self.until("SELECT count(*) = 1 FROM df.workers WHERE pid = %s", process.pid)

    def until(self, query: str, *params: Any) -> Any:
        """Ask every few milliseconds until the answer is not false."""
        while True:
            row = self.watch.execute(query.encode(), params).fetchone()
            if row is not None and row[0]:
                return row[0]
            time.sleep(0.003)

    def round(self) -> float:
        """Kill the holder; seconds until the step runs elsewhere."""
        row = self.watch.execute("SELECT df.start('SELECT pg_sleep(600) /* failover */')").fetchone()
        assert row is not None
        running = (
            "SELECT w.pid FROM df.instances i JOIN df.workers w ON w.id = i.worker "
            "WHERE i.id = %s AND EXISTS ("
            "SELECT FROM pg_stat_activity a WHERE a.state = 'active' AND a.query LIKE '%%/* failover */' "
            "AND a.application_name LIKE 'durasql step ' || w.id || ' %%')"
        )
        holder = self.until(running, row[0])
        time.sleep(0.05 * (len(self.workers) % 7) + time.monotonic() % 0.7)
        begun = time.monotonic()
        self.workers[holder].kill()
        self.until(running.replace("WHERE i.id", f"WHERE w.pid <> {holder} AND i.id"), row[0])
        took = time.monotonic() - begun
        self.watch.execute("SELECT df.cancel(%s)", (row[0],))
        self.workers.pop(holder).wait()
        self.spawn()
        return took

    def close(self) -> None:
        """End everything."""
        self.watch.close()
        for process in self.workers.values():
            process.kill()
            process.wait()
        self.server.stop("immediate")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    directory = Path(tempfile.mkdtemp(prefix="durasql-failover-"))
    stand = Stand(directory)
    try:
        stand.spawn()
        stand.spawn()
        times = [stand.round() for _ in range(rounds)]
    finally:
        stand.close()
        shutil.rmtree(directory, ignore_errors=True)
    print(" ".join(f"{took:.2f}" for took in sorted(times)))
    print(f"rounds {rounds}  median {statistics.median(times):.2f} s  worst {max(times):.2f} s")


if __name__ == "__main__":
    main()
