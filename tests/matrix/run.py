"""What SQL shows, on every PostgreSQL version that this machine can get.

    python tests/matrix/run.py [VERSION … | oldest] [-- PYTEST ARGUMENT …]

In: versions, all by default, or the oldest that can be had; after `--` arguments for pytest, which may
name tests instead of all suites. Out: a line per version; exit status 1 if a test failed or no version could
be had. A version that cannot be had is skipped, and its line says why.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.matrix.servers import VERSIONS, Unavailable, server  # noqa: E402

# All that a user of psql meets: the installation, the language, the views, the grants, running steps.
SUITES = (
    "tests/integration/install",
    "tests/integration/compat",
    "tests/integration/sql_language",
    "tests/integration/monitoring",
    "tests/integration/runtime",
    "tests/security",
)


def main(arguments: list[str]) -> int:
    """Run the suites on each version; 0 if all that ran passed and at least one did."""
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    chosen, options = arguments[:cut], arguments[cut + 1 :]
    oldest = chosen == ["oldest"]
    lines, failed = [], []
    for version in VERSIONS[:-1] if oldest else map(int, chosen or VERSIONS):
        try:
            bin_dir = server(version)
        except Unavailable as error:
            lines.append(f"PostgreSQL {version}   skipped: {error}")
            print(lines[-1], flush=True)
            continue
        passed, line = _run(version, bin_dir, options)
        lines.append(line)
        failed.append(not passed)
        if oldest:
            break
    print(*lines, sep="\n")
    # The newest version is always there, so `oldest` may find none and leave it at that.
    return 1 if any(failed) or not (failed or oldest) else 0


def _run(version: int, bin_dir: Path, options: list[str]) -> tuple[bool, str]:
    print(f"PostgreSQL {version}   {bin_dir}", flush=True)
    suites = () if any((ROOT / option.split("::")[0]).exists() for option in options) else SUITES
    begun = time.monotonic()
    done = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, *suites],
        cwd=ROOT,
        env={**os.environ, "DURASQL_TEST_PGBIN": str(bin_dir)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.stdout is not None
    last = ""
    for text in done.stdout:
        print(text, end="", flush=True)
        last = text if re.search(r"\d+ (passed|failed|error|skipped)", text) else last
    counts = last.strip(" =\n") or f"pytest ended with {done.wait()}"
    return done.wait() == 0, f"PostgreSQL {version}   {counts}   ({time.monotonic() - begun:.0f} s in all)"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
