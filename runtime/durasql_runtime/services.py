"""What a worker lends to each of its runs."""

from __future__ import annotations

from dataclasses import dataclass

from durasql_runtime.claims import Control
from durasql_runtime.observe import SILENT, Observer
from durasql_runtime.perform.performers import Performers
from durasql_runtime.pool import Pool
from durasql_runtime.settings import Settings


@dataclass(slots=True)
class Services:
    """One of each for all runs of a worker; `draining` is set when it is to stop."""

    control: Control
    pool: Pool
    performers: Performers
    settings: Settings
    draining: bool = False
    observer: Observer = SILENT
