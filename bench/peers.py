"""The peers, each in a process of its own on the same server; one that is not installed is left out."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

from bench.cluster import Cluster
from bench.shapes import Shape


def dbos(cluster: Cluster, shape: Shape) -> float | None:
    """DBOS Transact for Python: steps per second."""
    if importlib.util.find_spec("dbos") is None:
        return None
    order = "parallel" if shape.parallel else "sequence"
    return _run("bench.peer_dbos", cluster.url("dbos"), *_size(shape), order)


def absurd(cluster: Cluster, shape: Shape) -> float | None:
    """Absurd: steps per second. Its tasks have no parallel steps."""
    missing = any(importlib.util.find_spec(name) is None for name in ("absurd_sdk", "absurdctl"))
    if missing or shape.parallel:
        return None
    return _run("bench.peer_absurd", cluster.dsn("absurd"), *_size(shape))


def _size(shape: Shape) -> tuple[str, str]:
    return str(shape.steps), str(shape.peer_instances)


def _run(module: str, *arguments: str) -> float:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, timeout=180
    )
    if done.returncode != 0:
        raise RuntimeError(f"{module} failed:\n{done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])
