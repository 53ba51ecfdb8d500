"""The passes in the order they run. Adding one is adding a file and a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from durasql.check.breaks import check_breaks
from durasql.check.view import View
from durasql.errors import Diagnostic

Pass = Callable[[View], Iterator[Diagnostic]]

PASSES: Final[tuple[Pass, ...]] = (check_breaks,)
