"""Golden files by syrupy, in a tree of their own that mirrors cases/: golden/choice/if_then_basic.compile.txt

They are plain text, so that a change reads well in a diff. `pytest conformance --snapshot-update` accepts it.
The tree is apart from everything else because syrupy removes files there that no test asks for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from conformance.cases import GOLDEN, Case

if TYPE_CHECKING:
    from syrupy.location import PyTestLocation


class _Golden(SingleFileSnapshotExtension):
    _write_mode = WriteMode.TEXT

    @classmethod
    def dirname(cls, *, test_location: PyTestLocation) -> str:
        case = _case(test_location)
        return str(GOLDEN / case.construct if case else GOLDEN)

    @classmethod
    def get_snapshot_name(cls, *, test_location: PyTestLocation, index: Any = 0) -> str:
        case = _case(test_location)
        return case.name if case else ""

    def read_snapshot_data_from_location(
        self, *, snapshot_location: str, snapshot_name: str, session_id: str
    ) -> str | None:
        path = Path(snapshot_location)
        # As bytes: a golden may hold carriage returns, which text mode would drop.
        return path.read_bytes().decode() if path.exists() else None


class Compiled(_Golden):
    """Diagnostics, canonical text, tree, envelope and listing."""

    file_extension = "compile.txt"


class Explained(_Golden):
    """What df.explain says before a run."""

    file_extension = "explain.txt"


class Traced(_Golden):
    """How a run ended, and its nodes."""

    file_extension = "trace.txt"


def _case(test_location: PyTestLocation) -> Case | None:
    """The test's case; syrupy asks about tests that have none, too, when it looks for files nobody needs."""
    callspec = getattr(test_location.item, "callspec", None)
    case = callspec.params.get("case") if callspec else None
    return case if isinstance(case, Case) else None
