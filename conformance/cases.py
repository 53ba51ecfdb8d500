"""The cases: every `.dsql` file below cases/, and what its first lines say about it.

In: the folder. Out: `CASES`, each with its text and directives. A directive is a comment:

    -- conformance: run                      start it and record the trace
    -- conformance: signal NAME DATA         send this signal once it is started
    -- conformance: cancel REASON            cancel it once it waits
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from durasql.source import Source

ROOT: Final = Path(__file__).parent / "cases"
GOLDEN: Final = Path(__file__).parent / "golden"

_DIRECTIVE: Final = re.compile(r"^-- conformance: (\w+) ?(.*)$", re.MULTILINE)
_HEAD: Final = re.compile(r"(?:-- .*\n)*")


@dataclass(frozen=True)
class Case:
    """One text of the suite: `construct/name`."""

    construct: str
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.construct}/{self.name}"

    @property
    def source(self) -> Source:
        return Source(self.text, f"{self}.dsql")

    @property
    def directives(self) -> list[tuple[str, str]]:
        """The directives in order, each with its argument."""
        return _DIRECTIVE.findall(self.text)

    @property
    def runs(self) -> bool:
        return any(word == "run" for word, _ in self.directives)

    @cached_property
    def body_start(self) -> int:
        """Where the text begins that is not the describing comment."""
        found = _HEAD.match(self.text)
        return found.end() if found else 0


def _read(path: Path) -> Case:
    # Not read_text(): it would turn the carriage returns of a case into line feeds.
    return Case(path.parent.name, path.stem, path.read_bytes().decode())


CASES: Final = tuple(_read(path) for path in sorted(ROOT.glob("*/*.dsql")))
