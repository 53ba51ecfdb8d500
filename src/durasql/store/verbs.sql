-- What operators do with instances; used by store/verbs.py. Row-level security shows a role its own instances only.

-- name: chosen
SELECT i.id, i.label, i.status FROM df.instances i
WHERE (%(label)s::text IS NULL OR i.label = %(label)s) AND i.status = ANY (%(statuses)s)
ORDER BY i.created_at, i.id

-- name: pause
SELECT df.pause(%(id)s, %(reason)s)

-- name: resume
SELECT df.resume(%(id)s)

-- name: failed_steps
SELECT df._failed_steps(%(id)s)

-- name: retry
SELECT df.retry_instance(%(id)s)

-- name: fork
SELECT df.fork(%(id)s, %(node)s)
