"""The benchmark: durasql beside the limit of PostgreSQL and beside its peers, on one server in one run.

`make bench` runs it. `cluster` makes the server, `ideal` measures the limit with pgbench, `ours` durasql,
`peers` DBOS and Absurd in processes of their own, `growth` a system with a past, `report` prints and writes.
"""
