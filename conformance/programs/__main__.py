"""Stores the programs of cases in the current format. What is stored is never changed: upgrades must run it.

    python -m conformance.programs choice/rows loop/while …

A stored program is its graph and bytecode exactly as they stand in df.programs, with the trace of its run.
"""

from __future__ import annotations

import json
import sys

from conformance.cases import CASES, GOLDEN
from conformance.programs import ROOT
from durasql.bytecode.codec import encode
from durasql.bytecode.program import FORMAT
from durasql.pipeline import compile_source


def main(wanted: list[str]) -> None:
    """Store the named cases, leaving alone those that are stored already."""
    folder = ROOT / f"format{FORMAT}"
    folder.mkdir(exist_ok=True)
    for case in CASES:
        path = folder / f"{case.construct}_{case.name}.json"
        if str(case) not in wanted or path.exists():
            continue
        (start,) = compile_source(case.source).starts
        document = {
            "case": str(case),
            "directives": case.directives,
            "graph": start.graph,
            "code": encode(start.program).decode(),
            "trace": (GOLDEN / case.construct / f"{case.name}.trace.txt").read_text(),
        }
        path.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n")
        print(f"stored {path.name}")


main(sys.argv[1:])
