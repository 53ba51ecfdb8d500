-- A run as it was recorded; used by store/trace.py. Row-level security shows a role its own instances only.

-- name: run
SELECT i.id, i.status, i.label, i.database, i.created_at, p.graph, p.code
FROM df.instances i JOIN df.programs p ON p.owner = i.submitted_by AND p.hash = i.program
WHERE i.id = %(id)s

-- name: journal
SELECT j.seq, j.node, j.gen, j.state, CASE WHEN j.refs IS NULL THEN j.value ELSE df._node_value(j.instance_id, j.node) END,
       j.attempts, j.recorded_at, j.due, extract(epoch FROM j.recorded_at - j.started_at)::float8
FROM df.journal j
WHERE j.instance_id = %(id)s
ORDER BY j.seq
