-- name: alive
SELECT a.usename::text AS role, has_function_privilege(a.usesysid, 'df._serve_all()', 'EXECUTE') AS serves_all
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
  AND l.classid = df._worker_lock_class()::oid
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())

-- name: registered
SELECT w.name, w.host, w.version, w.role::text,
       extract(epoch FROM clock_timestamp() - w.heartbeat)::double precision AS heard_seconds,
       EXISTS (SELECT FROM pg_catalog.pg_locks l
               WHERE l.locktype = 'advisory' AND l.granted AND l.pid = w.backend_pid AND l.objsubid = 2
                 AND l.classid = df._worker_lock_class()::oid) AS alive
FROM df.workers w ORDER BY w.heartbeat DESC

-- name: backlog
SELECT role, can_login, superuser, unfinished, due, lag_seconds, lost, stuck FROM df._backlog()

-- name: missing_privileges
SELECT p.privilege || ' ON ' || p.object
FROM df._usage_privileges() AS p
CROSS JOIN LATERAL regexp_matches(p.privilege, '\m(SELECT|INSERT|UPDATE)\M', 'g') AS kind
WHERE p.object NOT LIKE 'SCHEMA %' AND NOT has_any_column_privilege(p.object, kind[1])

-- name: settings
SELECT name, setting FROM pg_catalog.pg_settings WHERE name = ANY (%s)

-- name: connections
SELECT current_setting('max_connections')::integer AS most,
       current_setting('superuser_reserved_connections')::integer
           + coalesce(current_setting('reserved_connections', true), '0')::integer AS reserved,
       (SELECT count(*) FROM pg_catalog.pg_stat_activity a
        WHERE a.backend_type = 'client backend' AND coalesce(a.application_name, '') NOT LIKE 'durasql %')::integer AS used,
       d.datconnlimit AS of_database,
       r.rolconnlimit AS of_role
FROM pg_catalog.pg_database d, pg_catalog.pg_roles r
WHERE d.datname = current_database() AND r.rolname = session_user
