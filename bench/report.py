"""What a run found: figures with their ratios and targets, as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

OUT = Path(__file__).parent / "out"


@dataclass(frozen=True)
class Figure:
    """One line: what was measured, how much, and how that compares. `target` says what is aimed at."""

    shape: str
    system: str
    value: float
    unit: str
    ratio: float | None = None
    against: str = ""
    target: str = ""


def show(figures: list[Figure], rounds: int) -> None:
    """Print the table."""
    table = Table(
        title=f"durasql bench, {os.cpu_count()} cores, median of {rounds}, load {os.getloadavg()[0]:.1f}"
    )
    for name, justify in (("shape", "left"), ("system", "left"), ("figure", "right"), ("", "left"),
                          ("ratio", "right"), ("against", "left"), ("target", "left")):  # fmt: skip
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    shape = None
    for figure in figures:
        if shape not in (None, figure.shape):
            table.add_section()
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        shown = "" if figure.shape == shape else figure.shape
        value = f"{figure.value:,.2f}" if figure.value < 100 else f"{figure.value:,.0f}"
        table.add_row(shown, figure.system, value, figure.unit, ratio, figure.against, figure.target)
        shape = figure.shape
    Console(width=max(Console().width, 110)).print(table)


def write(figures: list[Figure], settings: dict[str, str], name: str = "bench") -> Path:
    """Write the JSON, named by the time of the run, and return its path."""
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.json"
    document = {
        "machine": {"cores": os.cpu_count(), "system": platform.platform(), "load": os.getloadavg()},
        "settings": settings,
        "figures": [asdict(figure) for figure in figures],
    }
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path
