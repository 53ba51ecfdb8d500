"""The built distributions and an environment that has nothing but the wheel and its dependencies."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Environment:
    """A virtual environment with the wheel in it; the source tree is out of reach."""

    folder: Path

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A program of the environment, run elsewhere and without PYTHONPATH."""
        program, *rest = arguments
        return subprocess.run(
            [str(self.folder / "bin" / program), *rest],
            cwd=self.folder,
            env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
            capture_output=True,
            text=True,
            check=check,
        )


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist of this tree."""
    folder = tmp_path_factory.mktemp("dist")
    build = "import hatchling.build as b, sys; b.build_sdist(sys.argv[1]); b.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(folder)], cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def installed(distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel in an environment of its own; dependencies are lent by ours, so that no network is needed.

    That the dependencies are declared is tested apart, from the wheel's metadata.
    """
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False, symlinks=True)
    environment = Environment(folder)
    site = next((folder / "lib").glob("python*/site-packages"))
    wheel = next(distributions.glob("*.whl"))
    # Into that environment, not with --prefix: pip would take the package out of ours.
    pip = [sys.executable, "-m", "pip", "--python", environment.python, "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True, capture_output=True)
    _lend(site)
    return environment


def _lend(site: Path) -> None:
    """Link every installed package but durasql's own into a site-packages folder."""
    ours = Path(next(path for path in sys.path if path.endswith("site-packages")))
    for entry in ours.iterdir():
        if (
            "durasql" not in entry.name
            and not entry.name.endswith(".pth")
            and not (site / entry.name).exists()
        ):
            (site / entry.name).symlink_to(entry)


@pytest.fixture
def fresh() -> Callable[[str], list[str]]:
    """`fresh("import durasql")` -> top-level modules that a new interpreter has loaded after the code."""

    def run(code: str) -> list[str]:
        probe = f"import sys\n{code}\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
        return subprocess.run(
            [sys.executable, "-c", probe], capture_output=True, text=True, check=True
        ).stdout.split()

    return run
