"""Shells complete durasql's commands with the script that durasql prints."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BIN = Path(sys.executable).parent


def completed(script: str, *words: str) -> list[str]:
    """What bash offers for the last of the words."""
    typed = " ".join(f"'{word}'" for word in words)
    program = f"""
{script}
COMP_WORDS=({typed}) COMP_CWORD={len(words) - 1}
_durasql_completion durasql
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-c", program],
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes_commands_and_options(durasql: Any) -> None:
    script = durasql("completion", "bash").out
    assert completed(script, "durasql", "wor") == ["worker"]
    assert completed(script, "durasql", "db", "inst") == ["install"]
    assert "--metrics" in completed(script, "durasql", "worker", "--me")
    assert completed(script, "durasql", "worker", "--log-level", "war") == ["warning"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_can_read_its_script(shell: str, durasql: Any, tmp_path: Path) -> None:
    done = durasql("completion", shell)
    assert done.code == 0
    assert "_DURASQL_COMPLETE" in done.out
    if shutil.which(shell):
        script = tmp_path / "script"
        script.write_text(done.out)
        subprocess.run([shell, "-n", str(script)], check=True)


def test_an_unknown_shell_is_named(durasql: Any) -> None:
    done = durasql("completion", "cmd")
    assert done.code == 2
    assert "bash" in done.err
