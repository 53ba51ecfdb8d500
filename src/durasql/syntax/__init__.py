"""Stage 2: text or envelope to AST, and back."""
