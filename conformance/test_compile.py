"""The front half against its golden files: diagnostics, canonical text, tree, envelope and listing."""

from __future__ import annotations

from functools import cache

import pytest
from syrupy.assertion import SnapshotAssertion

from conformance.cases import CASES, GOLDEN, Case
from conformance.golden import Compiled
from conformance.large import LARGE
from conformance.tree import dump
from durasql.bytecode.codec import decode, encode
from durasql.bytecode.listing import render
from durasql.diagnostics import render as shown
from durasql.errors import CompileError
from durasql.lower.assemble import assemble
from durasql.pipeline import Compiled as CompiledText
from durasql.pipeline import compile_graph, compile_source, compile_text, parse_source
from durasql.source import Source
from durasql.syntax.fmt import format_source
from durasql.syntax.unparse import unparse_workflow

pytestmark = pytest.mark.filterwarnings("ignore:\\s*Can not relate snapshot")

_LONGEST = 20_000
"""Characters of a section; the largest workflows are cut, their hashes still tell them apart."""


@cache
def compiled(case: Case) -> CompiledText | CompileError:
    """What the front half makes of a case."""
    try:
        return compile_source(case.source)
    except CompileError as error:
        return error


ALL = (*CASES, *LARGE)
ACCEPTED = [case for case in ALL if isinstance(compiled(case), CompiledText)]


def accepted(case: Case) -> CompiledText:
    """The same for a case without mistakes."""
    found = compiled(case)
    assert isinstance(found, CompiledText)
    return found


@pytest.mark.parametrize("case", ALL)
def test_golden(case: Case, snapshot: SnapshotAssertion) -> None:
    assert described(case) == snapshot.use_extension(Compiled)


def described(case: Case) -> str:
    """Everything the front half says about a case."""
    found = compiled(case)
    if isinstance(found, CompileError):
        return _section("refused", "\n\n".join(map(shown, found.diagnostics)))
    parts = [_section("diagnostics", "\n\n".join(map(shown, found.diagnostics)))]
    parts.append(_section("text", unparse_workflow(found.workflow)))
    parts.append(_section("tree", dump(found.workflow, case.source)))
    for start in found.starts:
        parts.append(_section("envelope", start.graph))
        parts.append(_section("listing", render(start.program)))
    return "\n".join(part for part in parts if part)


def _section(title: str, text: str) -> str:
    if not text:
        return ""
    text = text.rstrip("\n")
    if len(text) > _LONGEST:
        text = f"{text[:500]}\n… {len(text):,} characters …\n{text[-500:]}"
    return f"=== {title}\n{text}\n"


@pytest.mark.parametrize("case", ACCEPTED)
def test_p1_the_canonical_text_is_the_same_workflow(case: Case) -> None:
    workflow = accepted(case).workflow
    text = unparse_workflow(workflow)
    again = parse_source(Source(text))
    assert again == workflow
    assert unparse_workflow(again) == text


@pytest.mark.parametrize("case", ACCEPTED)
def test_p1_formatting_changes_no_program(case: Case) -> None:
    formatted = format_source(case.text)
    assert format_source(formatted) == formatted
    before, after = accepted(case), compile_text(formatted)
    assert [start.graph for start in after.starts] == [start.graph for start in before.starts]
    assert {item.code for item in after.diagnostics} == {item.code for item in before.diagnostics}


@pytest.mark.parametrize("case", ACCEPTED)
def test_every_form_of_a_program_gives_the_same_bytes(case: Case) -> None:
    """Source, stored graph, listing and encoding."""
    for start in accepted(case).starts:
        data = encode(start.program)
        assert encode(compile_graph(start.graph)) == data
        assert encode(assemble(render(start.program))) == data
        assert encode(decode(data)) == data


def test_every_golden_file_has_a_case(pytestconfig: pytest.Config) -> None:
    """`--snapshot-update` removes the files of a case that is no more."""
    known = {str(case) for case in ALL}
    found = {path: f"{path.parent.name}/{path.name.split('.')[0]}" for path in GOLDEN.glob("*/*.txt")}
    stale = [path for path, case in found.items() if case not in known]
    if pytestconfig.getoption("update_snapshots"):
        for path in stale:
            path.unlink()
    else:
        assert stale == []
