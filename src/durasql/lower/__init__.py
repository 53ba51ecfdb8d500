"""Stage 5: checked AST to program. One file per construct family; `lower` is the only entry."""

from durasql.lower.emit import lower

__all__ = ["lower"]
