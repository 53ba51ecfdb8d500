"""Where a workflow text comes from. In: FILE, `-` or `-e TEXT`. Out: a Source to point into."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from durasql.errors import DurasqlError
from durasql.limits import MAX_SOURCE_BYTES
from durasql.source import Source

F = TypeVar("F", bound=Callable[..., Any])


class UnreadableText(DurasqlError):
    """A file that is not there, not readable or not UTF-8."""

    code = "E001"


def text_options(command: F) -> F:
    """Give a command FILE, `-` and -e TEXT and pass it the `source` they name."""

    @click.argument("file", required=False, metavar="FILE")
    @click.option("-e", "--expression", metavar="TEXT", help="The workflow itself, instead of a file.")
    @wraps(command)
    def with_source(*args: Any, file: str | None, expression: str | None, **options: Any) -> Any:
        return command(*args, source=read(file, expression), **options)

    return with_source  # type: ignore[return-value]


def read(file: str | None, expression: str | None) -> Source:
    """The text that the arguments name; exactly one of them."""
    if (file is None) == (expression is None):
        raise click.UsageError("give a FILE, - for standard input, or -e TEXT")
    if expression is not None:
        return Source(expression, "<-e>")
    if file == "-":
        return Source(_decoded(sys.stdin.buffer.read(MAX_SOURCE_BYTES + 1), "standard input"), "<stdin>")
    assert file is not None
    return read_file(Path(file))


def read_file(path: Path) -> Source:
    """The text of one file; a huge one is read only as far as the check needs to refuse it."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_SOURCE_BYTES + 1)
    except OSError as error:
        raise UnreadableText(f"cannot read {path}: {error.strerror}") from error
    return Source(_decoded(data, str(path)), str(path))


def _decoded(data: bytes, name: str) -> str:
    if len(data) > MAX_SOURCE_BYTES:
        # The cut may split a character; the size is reported by the front half, with its own code.
        return data.decode("utf-8", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableText(f"{name} is not UTF-8: byte {error.start + 1} cannot be decoded") from error
