"""What `pip install durasql` leaves out. In: an import that may fail. Out: words that say how to get it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from durasql.errors import NotInstalled


@contextmanager
def needing(extra: str, what: str) -> Iterator[None]:
    """Import inside the block what comes with an extra. Raises `NotInstalled` if that is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "durasql").startswith("durasql"):
            raise
        raise NotInstalled(f"{what} needs {error.name}", hint=f"pip install 'durasql[{extra}]'") from error
