"""P8: no slip of the finger brings a traceback, and every mistake has a place.

By default a sample of the single-character mutations of every case; all of them with
DURASQL_CONFORMANCE_MUTATIONS=all.
A text that takes more than a moment trips pytest's timeout for its case.
"""

from __future__ import annotations

import pytest

from conformance.cases import CASES, Case
from conformance.mutations import EXHAUSTIVE, sample
from durasql.diagnostics import as_json, render
from durasql.errors import CompileError, Diagnostic
from durasql.pipeline import compile_source, parse_source
from durasql.source import Source
from durasql.syntax.fmt import format_source
from durasql.syntax.unparse import unparse_workflow


@pytest.mark.timeout(3600 if EXHAUSTIVE else 30)
@pytest.mark.parametrize("case", CASES)
def test_p8_every_mutation_compiles_or_is_explained(case: Case) -> None:
    for text in sample(case, 12, "fuzz"):
        for item in diagnosed(text):
            assert item.span is not None, (text, item)
            assert 0 <= item.span.start <= item.span.end <= len(text), (text, item)
            assert render(item) and as_json(item)["range"]


def diagnosed(text: str) -> tuple[Diagnostic, ...]:
    """The diagnostics of a text; one that compiles is formatted and printed besides."""
    source = Source(text)
    try:
        found = compile_source(source).diagnostics
    except CompileError as error:
        return error.diagnostics
    workflow = parse_source(source)
    for same in (format_source(text), unparse_workflow(workflow)):
        assert parse_source(Source(same)) == workflow, (text, same)
    return found
