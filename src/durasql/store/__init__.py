"""Stage 6: programs and instances in PostgreSQL, and the schema they live in."""
