"""Stage 8, the doing: one async function per effect. In: one ready instruction. Out: its Outcome."""
