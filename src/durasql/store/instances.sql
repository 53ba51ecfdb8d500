-- What users do with instances; used by store/instances.py.

-- name: start
SELECT df.start(%(graph)s, %(label)s, %(database)s, %(mode)s)

-- name: own_vars
SELECT name, value FROM df.vars
WHERE owner = (quote_ident(current_user))::regrole AND name = ANY (%(names)s)

-- name: setvar
SELECT df.setvar(%(name)s, %(value)s)

-- name: unsetvar
SELECT df.unsetvar(%(name)s)

-- name: instance
SELECT i.id, i.label, i.status, i.program, i.submitted_by::text, i.database, i.created_at, i.updated_at,
       i.completed_at, i.output, i.cancel_reason
FROM df.instances i
WHERE i.id = %(id)s

-- name: page
SELECT instance_id AS id, label, status, execution_count, output, created_at, completed_at, next_cursor
FROM df.list_instances(%(status)s, %(limit)s, %(label)s, %(after)s)

-- name: nodes
SELECT node_id AS id, node_type AS type, result_name AS name, inferred_status AS status, query, result,
       updated_at
FROM df.instance_nodes(%(id)s)

-- name: explain
SELECT df.explain(%(input)s)

-- name: await
SELECT df.await_instance(%(id)s, %(seconds)s)

-- name: signal
SELECT df.signal(%(id)s, %(name)s, %(data)s)

-- name: cancel
SELECT df.cancel(%(id)s, %(reason)s)

-- name: prune
SELECT instances, programs FROM df.prune(%(batch)s)
