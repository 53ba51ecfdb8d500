"""`python -m bench`: measure everything side by side on one server and print the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median

import click
import psycopg

from bench import growth, ideal, ours, peers, shapes
from bench.cluster import Cluster, running
from bench.report import Figure, show, write
from bench.shapes import Shape

_TARGETS = {
    "one-step": {"dbos": ">= 10", "absurd": ">= 4"},
    "ten-step": {"ideal step": ">= 0.5", "dbos": ">= 10", "absurd": ">= 4"},
    "ten-branch join": {"ideal step": ">= 0.25"},
}
_DURABILITY = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "max_wal_size",
)


@click.command()
@click.option("--rounds", default=3, show_default=True, help="How often to repeat; medians are shown.")
@click.option("--seconds", default=3, show_default=True, help="Length of each pgbench run.")
@click.option("--processes", default=1, show_default=True, help="durasql worker processes.")
@click.option("--peers/--no-peers", "with_peers", default=True, help="DBOS and Absurd too.")
@click.option("--growth", "with_growth", is_flag=True, help="Also with many finished and waiting instances.")
def main(rounds: int, seconds: int, processes: int, with_peers: bool, with_growth: bool) -> None:
    """Measure durasql beside PostgreSQL's own limit and beside its peers."""
    with running() as cluster:
        ideal.prepare(cluster)
        figures: list[Figure] = []
        for shape in shapes.ALL:
            figures += _shape(cluster, shape, rounds, seconds, processes, with_peers)
        figures += _starts(cluster, rounds, seconds)
        figures += _idle(cluster, processes)
        figures += _cost(cluster, processes)
        if with_growth:
            figures += _growth(cluster)
        settings = _settings(cluster)
    show(figures, rounds)
    click.echo(f"written to {write(figures, settings)}")


def _shape(
    cluster: Cluster, shape: Shape, rounds: int, seconds: int, processes: int, with_peers: bool
) -> Iterator[Figure]:
    """Every system in turn, round after round, so that all see the same machine."""
    systems: dict[str, Callable[[], float | None]] = {"ideal step": lambda: ideal.steps(cluster, seconds)}
    if with_peers:
        systems["dbos"] = lambda: peers.dbos(cluster, shape)
        systems["absurd"] = lambda: peers.absurd(cluster, shape)
    systems["durasql"] = lambda: _ours(cluster, shape, processes)
    found: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, measure in systems.items():
            if (value := measure()) is not None:
                found[name].append(value)
    for name, values in found.items():
        if values:
            yield Figure(shape.name, name, median(values), "steps/s")
    for name, values in found.items():
        if values and name != "durasql":
            ratio = median(own / other for own, other in zip(found["durasql"], values, strict=True))
            target = _TARGETS.get(shape.name, {}).get(name, "")
            yield Figure(shape.name, "durasql", median(found["durasql"]), "steps/s", ratio, name, target)


def _ours(cluster: Cluster, shape: Shape, processes: int) -> float:
    ours.forget(cluster)
    with ours.worker(cluster, processes):
        return ours.throughput(cluster, shape)


def _starts(cluster: Cluster, rounds: int, seconds: int) -> Iterator[Figure]:
    inserts, starts = [], []
    for _ in range(rounds):
        ours.forget(cluster)
        inserts.append(ideal.inserts(cluster, seconds))
        starts.append(ideal.starts(cluster, seconds))
    ratio = median(start / insert for start, insert in zip(starts, inserts, strict=True))
    yield Figure("starts only", "plain insert", median(inserts), "starts/s")
    yield Figure("starts only", "durasql", median(starts), "starts/s", ratio, "plain insert", ">= 0.7")


def _idle(cluster: Cluster, processes: int) -> Iterator[Figure]:
    ours.forget(cluster)
    with ours.worker(cluster, processes):
        ours.latency(cluster, 20)
        half, most = ours.latency(cluster, 200)
    yield Figure("idle start to result", "durasql p50", half, "ms", target="< 3")
    yield Figure("idle start to result", "durasql p99", most, "ms", target="< 10")


def _cost(cluster: Cluster, processes: int) -> Iterator[Figure]:
    steps = shapes.TEN.steps * shapes.TEN.instances
    ours.forget(cluster)
    with ours.worker(cluster, processes):
        cost = ours.cost(cluster, shapes.TEN)
    yield Figure(
        "cost of a step", "durasql", cost.write_transactions / steps, "write transactions", target="<= 1.2"
    )
    yield Figure("cost of a step", "durasql", cost.wal_bytes / steps, "bytes of WAL", target="<= 1000")


def _growth(cluster: Cluster) -> Iterator[Figure]:
    empty = None
    for label, value in growth.throughput(cluster):
        empty = empty or value
        yield Figure("growth, ten-step", label, value, "steps/s", value / empty, "empty", ">= 0.9")


def _settings(cluster: Cluster) -> dict[str, str]:
    with psycopg.connect(cluster.dsn("durasql")) as connection:
        rows = connection.execute(
            "SELECT name, setting FROM pg_settings WHERE name = ANY (%s)", (list(_DURABILITY),)
        ).fetchall()
    return dict(rows)


if __name__ == "__main__":
    main()
