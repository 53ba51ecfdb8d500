-- What users do with instances; used by store/instances.py.

-- name: start
SELECT df.start(%(graph)s, %(label)s, %(database)s, %(mode)s, %(max_attempts)s, %(backoff)s, %(max_backoff)s,
                %(on_failure)s, %(timeout)s, %(key)s, %(on_conflict)s)

-- name: own_vars
SELECT name, value FROM df.vars
WHERE owner = (quote_ident(current_user))::regrole AND name = ANY (%(names)s)

-- name: setvar
SELECT df.setvar(%(name)s, %(value)s)

-- name: unsetvar
SELECT df.unsetvar(%(name)s)

-- name: instance
SELECT i.id, i.label, i.status, i.program, i.submitted_by::text, i.database, i.created_at, i.updated_at,
       i.completed_at, i.output, i.cancel_reason, i.pause_reason, i.key,
       k.origin || ' at ' || lpad(to_hex(k.node), 8, '0'), f.failure
FROM df.instances i
LEFT JOIN df.forks k ON k.instance_id = i.id
LEFT JOIN LATERAL (
    -- The step that failed first with the text that the instance failed with, in PostgreSQL's own detail.
    SELECT jsonb_build_object('node', lpad(to_hex(j.node), 8, '0')) || j.value::jsonb AS failure
    FROM df.journal j
    WHERE i.status IN ('failed', 'compensated', 'stuck') AND j.instance_id = i.id AND j.state = 'failed' AND j.value IS NOT NULL
      AND position(j.value::json ->> 'message' IN i.output) > 0
    ORDER BY j.seq
    LIMIT 1
) f ON true
WHERE i.id = %(id)s

-- name: page
SELECT instance_id AS id, label, status, execution_count, output, created_at, completed_at, next_cursor
FROM df.list_instances(%(status)s, %(limit)s, %(label)s, %(after)s)

-- name: nodes
SELECT n.node_id AS id, n.node_type AS type, n.result_name AS name, n.inferred_status AS status, n.query, n.result,
       n.updated_at, extract(epoch FROM j.recorded_at - j.started_at)::float8 AS took, coalesce(k.failures, 0), k.note
FROM df.instance_nodes(%(id)s) AS n
LEFT JOIN df.journal j ON j.instance_id = %(id)s AND df._node_id(j.node) = n.node_id AND j.state IN ('done', 'failed')
    AND n.status IN ('completed', 'failed')
LEFT JOIN df._node_notes(%(id)s) AS k ON df._node_id(k.node) = n.node_id

-- name: attempts
SELECT node_id, node_type, generation, attempt, message, sqlstate, http_status, failed_at, next_at
FROM df.instance_attempts(%(id)s)

-- name: explain
SELECT df.explain(%(input)s)


-- name: signal
SELECT df.signal(%(id)s, %(name)s, %(data)s)

-- name: cancel
SELECT df.cancel(%(id)s, %(reason)s)

-- name: prune
SELECT instances, programs FROM df.prune(%(batch)s)
