"""The passes in the order they run. Adding one is adding a file and a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from durasql.check.breaks import check_breaks
from durasql.check.guards import check_guards
from durasql.check.joins import check_joins
from durasql.check.literals import check_literals
from durasql.check.loops import check_loops
from durasql.check.names import check_names
from durasql.check.nulls import check_nulls
from durasql.check.races import check_races
from durasql.check.reach import check_reach
from durasql.check.rowsets import check_rowsets
from durasql.check.statements import check_statements
from durasql.check.traps import check_traps
from durasql.check.urls import check_urls
from durasql.check.variables import check_variables
from durasql.check.view import View
from durasql.errors import Diagnostic

Pass = Callable[[View], Iterator[Diagnostic]]

PASSES: Final[tuple[Pass, ...]] = (
    check_breaks,
    check_names,
    check_variables,
    check_statements,
    check_rowsets,
    check_literals,
    check_nulls,
    check_urls,
    check_traps,
    check_reach,
    check_loops,
    check_races,
    check_joins,
    check_guards,
)
