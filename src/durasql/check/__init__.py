"""Stage 3: AST to checked AST. One pass, one file; `PASSES` is the order they run in."""

from durasql.check.run import CheckedWorkflow, check

__all__ = ["CheckedWorkflow", "check"]
