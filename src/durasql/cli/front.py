"""compile, fmt, explain: what needs no worker, and but for explain no database."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from difflib import unified_diff
from pathlib import Path
from typing import Any, Final

import click

from durasql.cli import render
from durasql.cli.target import Target, database_options
from durasql.cli.texts import read, read_file, text_options
from durasql.pipeline import CompiledStart, compile_source
from durasql.source import Source


def _as_ast(start: CompiledStart) -> str:
    return "\n".join(_node_lines(start.start.graph, ""))


def _as_json(start: CompiledStart) -> str:
    from durasql.bytecode.codec import encode

    return encode(start.program).decode()


def _as_graph(start: CompiledStart) -> str:
    return start.graph


def _as_listing(start: CompiledStart) -> str:
    from durasql.bytecode.listing import render as listing

    return listing(start.program).rstrip("\n")


_FORMS: Final[dict[str, Callable[[CompiledStart], str]]] = {
    "ast": _as_ast,
    "json": _as_json,
    "listing": _as_listing,
    "graph": _as_graph,
}


@click.command("compile", short_help="Show the program that a workflow becomes.")
@text_options
@click.option(
    "--listing", "form", flag_value="listing", default="listing", help="Instructions (the default)."
)
@click.option("--ast", "form", flag_value="ast", help="The syntax tree.")
@click.option("--json", "form", flag_value="json", help="The encoded program, one line for each workflow.")
@click.option("--graph", "form", flag_value="graph", help="The graph as df.start receives it.")
def compile_command(source: Source, form: str) -> None:
    """Compile a workflow and show the program. Needs no database.

    \b
    durasql compile nightly.dsql
    durasql compile -e "'SELECT 1' |=> 'a' ~> 'SELECT $a + 1'" --json
    """
    compiled = compile_source(source)
    render.warnings(compiled.diagnostics)
    for number, start in enumerate(compiled.starts):
        if number and form in ("listing", "ast"):
            render.line()
        render.line(_FORMS[form](start))


def _node_lines(node: Any, indent: str, role: str = "") -> Iterator[str]:
    """`role: Class(field=value, …)` with the node's children below it, two columns deeper."""
    children: list[tuple[str, Any]] = []
    values: list[str] = []
    for item in fields(node):
        value = getattr(node, item.name)
        if not item.compare or value is None:
            continue
        if hasattr(value, "children"):
            children.append((item.name, value))
        elif isinstance(value, tuple) and value and hasattr(value[0], "children"):
            children += [(f"{item.name}[{index}]", child) for index, child in enumerate(value)]
        elif value != ():
            values.append(f"{item.name}={value!r}")
    yield f"{indent}{role and role + ': '}{type(node).__name__}({', '.join(values)})"
    for name, child in children:
        yield from _node_lines(child, indent + "  ", name)


@click.command("fmt", short_help="Print workflows in their canonical form.")
@click.argument("files", nargs=-1, metavar="FILE...")
@click.option("-e", "--expression", metavar="TEXT", help="The workflow itself, instead of files.")
@click.option("-w", "--write", is_flag=True, help="Rewrite the files.")
@click.option("--check", "check_only", is_flag=True, help="Only exit with 1 if a file is not canonical.")
@click.option("--diff", is_flag=True, help="Show what would change; exit with 1 if anything would.")
def fmt_command(
    files: tuple[str, ...], expression: str | None, write: bool, check_only: bool, diff: bool
) -> int:
    """Format workflows.

    \b
    durasql fmt nightly.dsql            print it
    durasql fmt -w workflows/*.dsql     rewrite files in place
    durasql fmt --check *.dsql          for CI
    """
    from durasql.syntax.fmt import format_source

    if write and (not files or "-" in files):
        raise click.UsageError("--write needs files")
    sources = (
        [read(file, None) for file in files] if files and expression is None else [read(None, expression)]
    )
    different = 0
    for source in sources:
        text = format_source(source.text, source.name)
        different += text != source.text
        if diff:
            sys.stdout.writelines(_difference(source, text))
        elif check_only:
            if text != source.text:
                render.line(source.name)
        elif write:
            if text != source.text:
                Path(source.name).write_text(text, encoding="utf-8")
        else:
            sys.stdout.write(text if text.endswith("\n") else text + "\n")
    return 1 if (check_only or diff) and different else 0


def _difference(source: Source, text: str) -> Iterator[str]:
    """A unified diff from the text to its canonical form."""
    before, after = (item.splitlines(keepends=True) for item in (source.text, text))
    for line in unified_diff(before, after, source.name, source.name):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


@click.command("explain", short_help="Show the tree of a workflow, or where an instance stands.")
@click.argument("what", required=False, metavar="FILE|ID")
@click.option("-e", "--expression", metavar="TEXT", help="The workflow itself, instead of a file.")
@click.option("--json", "json_", is_flag=True, help="The tree as a JSON string, with the instance's state.")
@database_options
def explain_command(what: str | None, expression: str | None, json_: bool, target: Target) -> None:
    """Explain a workflow text, or an instance with the state of every step.

    \b
    durasql explain nightly.dsql
    durasql explain 7f3a09c1
    """
    from durasql.client import connect

    graphs = [what] if what and is_instance(what) else _graphs(what, expression)
    with target.reached() as dsn, connect(dsn) as client:
        trees = [client.explain(graph) for graph in graphs]
    if json_:
        render.as_json([{"input": graph, "tree": tree} for graph, tree in zip(graphs, trees, strict=True)])
        return
    for number, tree in enumerate(trees):
        if number:
            render.line()
        render.print_tree(tree)


def is_instance(what: str) -> bool:
    """8 hex digits are an instance's id, unless a file is called so."""
    return len(what) == 8 and all(c in "0123456789abcdefABCDEF" for c in what) and not Path(what).exists()


def _graphs(what: str | None, expression: str | None) -> list[str]:
    source = read_file(Path(what)) if what and what != "-" and not expression else read(what, expression)
    compiled = compile_source(source)
    render.warnings(compiled.diagnostics)
    return [start.graph for start in compiled.starts]
