-- What a database is doing right now; used by store/top.py. Row-level security shows a role its own instances only.
-- Every query goes by an index: this is asked every other second, of databases with millions of finished instances.

-- name: sight
SELECT has_table_privilege('df.workers', 'SELECT')

-- name: workers
SELECT name, host, role::text, version, running, idle, draining, started_at,
       extract(epoch FROM clock_timestamp() - heartbeat)::float8
FROM df.workers ORDER BY heartbeat = '-infinity', name

-- name: counts
SELECT count(*) FILTER (WHERE worker IS NOT NULL),
       count(*) FILTER (WHERE due <= clock_timestamp()),
       count(*) FILTER (WHERE worker IS NULL AND (due IS NULL OR due > clock_timestamp())),
       coalesce(extract(epoch FROM clock_timestamp() - min(due) FILTER (WHERE due <= clock_timestamp())), 0)::float8,
       (SELECT count(*) FROM df.instances d
        WHERE d.status IN ('completed', 'failed', 'cancelled')
          AND coalesce(d.completed_at, d.created_at) > clock_timestamp() - interval '1 minute') / 60.0::float8
FROM df.instances WHERE status IN ('pending', 'running')

-- name: waiting
SELECT i.id, i.label, i.submitted_by::text, w.kind, w.waits_for, w.since, w.until
FROM (SELECT id, label, submitted_by, created_at FROM df.instances
      WHERE status = 'running' AND worker IS NULL ORDER BY created_at, id DESC LIMIT %(limit)s) AS i
LEFT JOIN LATERAL (SELECT kind, waits_for, since, until FROM df.waiting
                   WHERE instance_id = i.id ORDER BY since LIMIT 1) AS w ON true
ORDER BY w.since

-- name: failures
SELECT id, label, submitted_by::text, created_at, output FROM df.instances
WHERE status = 'failed' ORDER BY created_at DESC, id LIMIT %(limit)s
