"""Stage 2: text or envelope to AST, and back.

`parse` loads the parser only when it is called, so that a worker, which reads envelopes, never does.
"""

from __future__ import annotations

from durasql.source import Source
from durasql.syntax.ast import Workflow


def parse(source: Source) -> Workflow:
    """The workflow of a `.dsql` text. Raises `CompileError` with every mistake that was found."""
    from durasql.syntax.reading import read_workflow

    return read_workflow(source)
