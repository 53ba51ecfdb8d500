"""The front half as one pipeline, and the runtime's one seam into it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from durasql.errors import CompileError, ProgramError
from durasql.pipeline import compile_graph, compile_text
from durasql.source import Source
from durasql.syntax import parse
from durasql.syntax.envelope import graph_hash
from durasql.syntax.reading import read_start_text


def test_p1_text_and_graph_compile_to_the_same_program() -> None:
    (start,) = compile_text("'SELECT 1' |=> 'a' ~> ('SELECT $a' & df.sleep(1))").starts
    assert compile_graph(start.graph) == start.program
    assert start.program.hash == graph_hash(start.start.graph)


def test_a_text_may_start_several_workflows() -> None:
    compiled = compile_text("SELECT df.start('SELECT 1', 'a'); SELECT df.start('SELECT 2', 'b');")
    assert [start.start.label for start in compiled.starts] == ["a", "b"]


def test_a_graph_that_df_start_would_refuse_is_a_program_error() -> None:
    with pytest.raises(ProgramError, match=r"root\.left: Unknown node_type"):
        compile_graph('{"node_type":"LOOP","left_node":{"node_type":"X"}}')


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("SELECT 1", "df.sql('SELECT 1')"),
        ("/* note */ ('SELECT 1') ~> 'SELECT 2'", "'SELECT 1' ~> 'SELECT 2'"),
        ("@> df.sleep(1)", "@> df.sleep(1)"),
        ('DF . "sleep" (1)', "df.sleep(1)"),
        ('{"node_type":"SLEEP","query":"5"}', "df.sleep(5)"),
    ],
)
def test_p1_a_text_for_df_start_is_language_envelope_or_sql(text: str, same_as: str) -> None:
    (start,) = read_start_text(Source(text)).starts
    assert start.graph == parse(Source(same_as)).starts[0].graph


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("'SELECT 1' ~> df.slep(1)", "<text>:1:15"),
        ("df.slep(1)", "<text>:1:1"),
        ("df.instances", "<text>:1:4"),
    ],
)
def test_a_text_for_df_start_reports_its_mistakes(text: str, place: str) -> None:
    """No SQL statement begins with df., so PostgreSQL's front refuses the same texts."""
    with pytest.raises(CompileError) as caught:
        read_start_text(Source(text))
    assert caught.value.diagnostics[0].place == place


def test_the_worker_compiles_without_the_parser() -> None:
    program = (
        "import sys; from durasql.pipeline import compile_graph; "
        'compile_graph(\'{"node_type":"SQL","query":"SELECT 1"}\'); '
        "print(*{'lark', 'postgast', 'click', 'rich', 'hypothesis'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
