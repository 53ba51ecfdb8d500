"""`python -m bench.scale`: what grows with the number of instances, and what must not.

    sleeping    resident memory of a worker beside 10 and beside 100,000 sleeping instances
    waking      10,000 of them fall due at once: how long that takes, and new work started meanwhile
    draining    a backlog of 100 and one of 100,000 in the same run, also while an old snapshot is held
    retention   removing finished instances: the first batch and the last
    looping     what 1,000 and 100,000 iterations leave in the database
    load        size of the tables under a load that goes on, with retention

Every part stops by itself. Prints a table and writes it as JSON beside those of `python -m bench`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import click
import psycopg

from bench import ours
from bench.cluster import APP, Cluster, running
from bench.report import Figure, show, write
from durasql.client import graph_of

_PATIENCE = 1800
"""Seconds after which a part that does not end is given up."""
_UNDONE = "SELECT FROM df.instances WHERE status IN ('pending', 'running')"
_MOST_ROWS = "SELECT max(n) FROM (SELECT count(*) AS n FROM df.journal GROUP BY instance_id) AS rows"
_SIZES = """
SELECT c.relname, pg_total_relation_size(c.oid), s.n_dead_tup, s.autovacuum_count
FROM pg_class c JOIN pg_stat_user_tables s ON s.relid = c.oid
WHERE c.oid IN ('df.instances'::regclass, 'df.journal'::regclass) ORDER BY c.relname
"""


class Stand:
    """A server under test and sessions on it: the superuser's to look, the application's to start."""

    def __init__(self, cluster: Cluster, many: int, seconds: int) -> None:
        self.cluster = cluster
        self.many = many
        self.seconds = seconds
        self.admin = psycopg.connect(cluster.dsn("durasql"), autocommit=True)
        self.app = psycopg.connect(cluster.dsn("durasql", APP), autocommit=True)

    def start(self, text: str, count: int) -> list[str]:
        """Start `count` instances in one transaction; their ids."""
        query = "SELECT array_agg(df.start(%s)) FROM generate_series(1, %s)"
        row = self.app.execute(query, (graph_of(text), count), prepare=True).fetchone()
        assert row is not None
        return list(row[0])

    def one(self, query: str, *params: Any) -> Any:
        """The first value of a query."""
        row = self.admin.execute(query.encode(), params).fetchone()
        return None if row is None else row[0]

    def until(self, query: str, *params: Any, pause: float = 0.01) -> None:
        """Ask until the answer is true."""
        deadline = time.monotonic() + _PATIENCE
        while not self.one(query, *params):
            if time.monotonic() > deadline:
                raise TimeoutError(f"still not: {query}")
            time.sleep(pause)

    def until_done(self, pause: float = 0.01) -> None:
        """Wait until no instance is left to be run."""
        self.until(f"SELECT NOT EXISTS ({_UNDONE})", pause=pause)

    def undone(self) -> int:
        """How many instances are not over."""
        return int(self.one(f"SELECT count(*) FROM ({_UNDONE}) AS undone"))

    def processor(self) -> float:
        """Seconds of processor time of the server so far: the neighbours have no part in it."""
        postmaster = self.cluster.server.pid()
        total = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                fields = stat.read_text().rsplit(")", 1)[1].split()
                if int(fields[1]) == postmaster:
                    total += sum(map(int, fields[11:13]))
                elif int(stat.parent.name) == postmaster:
                    total += sum(map(int, fields[11:15]))
        return total / os.sysconf("SC_CLK_TCK")

    def sizes(self) -> dict[str, tuple[int, int, int]]:
        """Bytes with indexes, dead rows, autovacuums so far; by table."""
        self.admin.execute("SELECT pg_stat_clear_snapshot()")
        return {name: (size, dead, runs) for name, size, dead, runs in self.admin.execute(_SIZES.encode())}


def sleeping(stand: Stand) -> Iterator[Figure]:
    """The same worker beside ten and beside many that sleep, and a fresh one beside as many."""
    with ours.worker(stand.cluster) as pids:
        # As warm as it gets: what follows is compared with a worker that has worked before.
        stand.start("'SELECT 1' ~> df.sleep(0)", 1000)
        stand.until_done()
        few = _sleepers(stand, pids[0], 10)
        much = _sleepers(stand, pids[0], stand.many - 10)
    with ours.worker(stand.cluster) as pids:
        fresh = _resident(pids[0])
    yield Figure("sleeping", "memory beside 10", few, "MB")
    yield Figure("sleeping", f"beside {stand.many:,}", much, "MB", much / few, "10", "<= 1.1")
    yield Figure("sleeping", f"new worker beside {stand.many:,}", fresh, "MB", fresh / few, "10", "<= 1.1")


def _sleepers(stand: Stand, pid: int, count: int) -> float:
    before = stand.one("SELECT count(*) FROM df.waiting")
    stand.start("df.sleep(864000)", count)
    stand.until("SELECT count(*) >= %s FROM df.journal WHERE state = 'waiting'", before + count, pause=0.5)
    return _resident(pid)


def _resident(pid: int) -> float:
    """Resident memory in MB."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def waking(stand: Stand) -> Iterator[Figure]:
    """Many timers fire together; new one-step workflows are started meanwhile, one after the other."""
    count = stand.many // 10
    with ours.worker(stand.cluster):
        alone = [_probe(stand) for _ in range(50)]
        sleepers = stand.undone()
        with stand.admin.transaction():
            stand.admin.execute(
                "CREATE TEMP TABLE woken ON COMMIT DROP AS SELECT instance_id AS id FROM df.journal "
                "WHERE state = 'waiting' LIMIT %s",
                (count,),
            )
            stand.admin.execute(
                "UPDATE df.journal j SET due = now() FROM woken w "
                "WHERE j.instance_id = w.id AND j.state = 'waiting'"
            )
            stand.admin.execute("UPDATE df.instances i SET due = now() FROM woken w WHERE i.id = w.id")
        begun = time.monotonic()
        waits = [_probe(stand)]
        while stand.undone() > sleepers - count:
            waits.append(_probe(stand))
        took = time.monotonic() - begun
    yield Figure("waking", f"{count:,} due together", took, "s", target="seconds")
    yield Figure("waking", "of them", count / took, "wakes/s")
    half, idle = median(waits), median(alone)
    yield Figure("waking", "new work meanwhile, p50", half, "ms", half / idle, "idle")
    yield Figure("waking", f"worst of {len(waits)}", max(waits), "ms")


def _probe(stand: Stand) -> float:
    """Milliseconds from df.start of one step to its result."""
    begun = time.perf_counter()
    row = stand.app.execute("SELECT df.start('SELECT 1')", prepare=True).fetchone()
    stand.app.execute("SELECT df.await_instance(%s)", row, prepare=True)
    return (time.perf_counter() - begun) * 1000


def draining(stand: Stand) -> Iterator[Figure]:
    """Backlogs that become visible at once, from the commit of their starts to the last completion."""
    ours.forget(stand.cluster)
    with ours.worker(stand.cluster) as pids:
        _drained(stand, pids, 100)
        small = _drained(stand, pids, 100, 20)
        large = _drained(stand, pids, stand.many)
        with _old_snapshot(stand):
            held = _drained(stand, pids, stand.many // 5)
            small_held = _drained(stand, pids, 100, 20)
    for name, drain in (
        ("backlog of 100", small),
        (f"of {stand.many:,}", large),
        (f"of {stand.many // 5:,}, old snapshot held", held),
        ("of 100 after that", small_held),
    ):
        ratio = drain.rate / small.rate
        yield Figure("draining", name, drain.rate, "workflows/s", ratio, "100", ">= 0.9")
        ratio = drain.processor / small.processor
        yield Figure("draining", "processor time", drain.processor, "ms/workflow", ratio, "100", "<= 1.2")


@dataclass(frozen=True)
class Drain:
    """Workflows per second, and milliseconds of server and worker for each."""

    rate: float
    processor: float


def _drained(stand: Stand, pids: list[int], count: int, times: int = 1) -> Drain:
    taken = processor = 0.0
    for _ in range(times):
        ids = stand.start("SELECT 1", count)
        before = stand.processor() + ours.cpu_seconds(pids)
        begun = time.monotonic()
        # Few by their ids: what asking costs must not depend on what else is in the table.
        if count <= 1000:
            stand.until(f"SELECT NOT EXISTS ({_UNDONE} AND id = ANY (%s))", ids, pause=0.002)
        else:
            stand.until_done(pause=0.5)
        taken += time.monotonic() - begun
        processor += stand.processor() + ours.cpu_seconds(pids) - before
    return Drain(count * times / taken, processor * 1000 / (count * times))


@contextmanager
def _old_snapshot(stand: Stand) -> Iterator[None]:
    """A report that runs for hours: no row that dies meanwhile can be removed, nor its index entries."""
    with psycopg.connect(stand.cluster.dsn("durasql")) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM df.settings")
        yield


def retention(stand: Stand) -> Iterator[Figure]:
    """What draining has left is removed, batch after batch."""
    stand.admin.execute("UPDATE df.settings SET value = '100' WHERE name = 'retention_count'")
    taken: list[float] = []
    removed = 0
    while True:
        begun = time.perf_counter()
        batch = stand.one("SELECT instances FROM df.prune(500)")
        if batch < 500:
            break
        taken.append((time.perf_counter() - begun) * 1000)
        removed += batch
    stand.admin.execute("UPDATE df.settings SET value = '10000' WHERE name = 'retention_count'")
    tenth = max(1, len(taken) // 10)
    first, last = median(taken[:tenth]), median(taken[-tenth:])
    yield Figure("retention", f"a batch of 500, first of {removed:,}", first, "ms")
    yield Figure("retention", "the last batches", last, "ms", last / first, "first", "<= 1.5")


def looping(stand: Stand) -> Iterator[Figure]:
    """One instance goes round and round; what is in the journal at the end, and how large the table is."""
    ours.forget(stand.cluster)
    for count in (1000, stand.many):
        text = f"'SELECT 0 AS n' |=> 'i' ~> df.loop('SELECT $i + 1 AS n' |=> 'i', 'SELECT $i < {count}')"
        with ours.worker(stand.cluster):
            stand.start(text, 1)
            begun = time.monotonic()
            stand.until_done(pause=0.05)
            took = time.monotonic() - begun
        size, dead, _ = stand.sizes()["journal"]
        rows = stand.one(_MOST_ROWS)
        yield Figure("looping", f"{count:,} iterations, rows", rows, "rows")
        yield Figure("looping", "journal with indexes", size / 1024, "kB")
        yield Figure("looping", "dead rows", dead, "rows")
        yield Figure("looping", "speed", 2 * count / took, "steps/s")


def load(stand: Stand) -> Iterator[Figure]:
    """One-step workflows without a pause, finished ones removed down to 2,000: sizes must come to rest."""
    ours.forget(stand.cluster)
    stand.admin.execute("UPDATE df.settings SET value = '2000' WHERE name = 'retention_count'")
    with ours.worker(stand.cluster):
        done, half = 0, {}
        end = time.monotonic() + stand.seconds
        while time.monotonic() < end:
            stand.start("SELECT 1", 500)
            stand.until(f"SELECT count(*) < 500 FROM ({_UNDONE}) AS undone")
            stand.one("SELECT instances FROM df.prune(1000)")
            done += 500
            if not half and time.monotonic() > end - stand.seconds / 2:
                half = stand.sizes()
        stand.until_done()
    whole = stand.sizes()
    yield Figure("load", f"{stand.seconds} s", done / stand.seconds, "workflows/s")
    for table, (size, dead, runs) in whole.items():
        name = f"{table} at the end, {runs} autovacuums"
        yield Figure("load", name, size / 1e6, "MB", size / half[table][0], "half time", "<= 1.2")
        yield Figure("load", f"{table}, dead rows", dead, "rows")


Part = Callable[[Stand], Iterator[Figure]]
PARTS: tuple[Part, ...] = (sleeping, waking, draining, retention, looping, load)


@click.command()
@click.option("--many", default=100_000, show_default=True, help="Instances of the large cases.")
@click.option("--seconds", default=150, show_default=True, help="Length of the load that goes on.")
@click.option("--part", "parts", multiple=True, type=click.Choice([part.__name__ for part in PARTS]))
def main(many: int, seconds: int, parts: tuple[str, ...]) -> None:
    """Measure what grows with the number of instances."""
    figures: list[Figure] = []
    with running() as cluster:
        stand = Stand(cluster, many, seconds)
        for part in PARTS:
            if not parts or part.__name__ in parts:
                figures += part(stand)
                show(figures[-8:], 1)
    show(figures, 1)
    click.echo(f"written to {write(figures, {'many': str(many)}, 'scale')}")


if __name__ == "__main__":
    main()
