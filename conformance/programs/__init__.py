"""Stored programs of every released format, for ever (P7).

In: the folders format1, … Out: `STORED`. `python -m conformance.programs CASE…` adds programs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent


@dataclass(frozen=True)
class StoredProgram:
    """What df.programs held, what was sent to the instance, and how it ran."""

    name: str
    directives: tuple[tuple[str, str], ...]
    graph: str
    code: str
    trace: str

    def __str__(self) -> str:
        return self.name


def _read(path: Path) -> StoredProgram:
    found = json.loads(path.read_text())
    directives = tuple((word, argument) for word, argument in found["directives"])
    name = f"{path.parent.name}/{path.stem}"
    return StoredProgram(name, directives, found["graph"], found["code"], found["trace"])


STORED: Final = tuple(_read(path) for path in sorted(ROOT.glob("format*/*.json")))
