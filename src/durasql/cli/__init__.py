"""The command line: `main` is the console script. Nothing in durasql imports this package."""

from __future__ import annotations


def main() -> None:
    """Run the command named by sys.argv and exit with its code."""
    from durasql.cli.entry import run_command_line

    run_command_line()
