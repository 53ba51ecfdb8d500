-- 0018 monitoring: what runs, what waits, what is over. Functions run as their caller, under row-level security; views
-- say the same filter themselves, because views run as their owner. Only df.metrics counts over all roles.

CREATE FUNCTION df._instance_output(status text, output text, cancel_reason text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN $1 = 'cancelled' THEN 'canceled: ' || coalesce($3, 'Cancelled by user')
            WHEN $1 IN ('completed', 'failed', 'compensated', 'stuck') THEN $2 END;
COMMENT ON FUNCTION df._instance_output(text, text, text) IS
    'What an instance came to: result text, error text or "canceled: <reason>"; NULL while it runs.';

-- Only a loop at the root makes further executions; its counter is the first one of the root's own journal row.
CREATE FUNCTION df._execution_number(root_gen text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(nullif(split_part($1, '.', 1), '')::bigint, 1);
COMMENT ON FUNCTION df._execution_number(text) IS 'Number of the execution an instance is in, from its root node''s generation.';

CREATE FUNCTION df._check_page_size(limit_count integer) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    most integer := df.setting('list_instances_max_limit')::integer;
BEGIN
    IF limit_count IS NULL THEN
        RAISE EXCEPTION 'limit_count must not be null' USING ERRCODE = 'null_value_not_allowed';
    ELSIF limit_count < 1 THEN
        RAISE EXCEPTION 'limit_count must be at least 1' USING ERRCODE = 'invalid_parameter_value';
    ELSIF limit_count > most THEN
        RAISE EXCEPTION 'df.list_instances: limit_count (%) exceeds pg_durable.list_instances_max_limit (%); request fewer rows, or use the paginated df.list_instances overload (after_cursor/next_cursor) for large result sets',
            limit_count, most
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'The owner of schema df can raise the setting list_instances_max_limit in df.settings.';
    END IF;
END
$$;
COMMENT ON FUNCTION df._check_page_size(integer) IS 'Refuses page sizes that df.list_instances does not allow.';

CREATE FUNCTION df._cursor(created_at timestamptz, id text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN encode(convert_to('v1|' || to_char($1, 'YYYY-MM-DD"T"HH24:MI:SS.USOF') || '|' || $2, 'UTF8'), 'hex');
COMMENT ON FUNCTION df._cursor(timestamptz, text) IS 'The cursor that continues a listing after one instance.';

CREATE FUNCTION df._read_cursor(after_cursor text, OUT created_at timestamptz, OUT id text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    parts text[];
BEGIN
    -- Checked before it is decoded: a listing must not spend memory on a megabyte of nonsense.
    IF length(after_cursor) <= 512 THEN
        parts := regexp_match(convert_from(decode(after_cursor, 'hex'), 'UTF8'),
            '^v1\|(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}[+-]\d\d(?::\d\d)?)\|([^|]+)$');
        created_at := parts[1]::timestamptz;
        id := parts[2];
    END IF;
    IF id IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'data_exception';
    END IF;
EXCEPTION WHEN data_exception THEN
    RAISE EXCEPTION 'df.list_instances: invalid after_cursor'
        USING ERRCODE = 'invalid_parameter_value',
              HINT = 'Pass next_cursor of the previous page unchanged, or NULL for the first page.';
END
$$;
COMMENT ON FUNCTION df._read_cursor(text) IS 'The instance that a cursor stands for; raises on anything malformed.';

-- Written as dynamic SQL so that every combination of filters is planned for the index that serves it.
CREATE FUNCTION df._list_page(status_filter text, limit_count integer, label_filter text, after_cursor text)
RETURNS TABLE (instance_id text, label text, status text, execution_count bigint, output text,
               created_at timestamptz, completed_at timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    after_time timestamptz;
    after_id text;
    filter text := 'i.created_at IS NOT NULL';
BEGIN
    IF status_filter IS NOT NULL THEN
        filter := filter || ' AND i.status = $1';
    END IF;
    IF label_filter IS NOT NULL THEN
        filter := filter || ' AND i.label = $2';
    END IF;
    IF after_cursor IS NOT NULL THEN
        SELECT c.created_at, c.id INTO after_time, after_id FROM df._read_cursor(after_cursor) AS c;
        filter := filter || ' AND i.created_at <= $3 AND (i.created_at < $3 OR i.id > $4)';
    END IF;
    RETURN QUERY EXECUTE
        'SELECT i.id::text, i.label, i.status, df._execution_number(j.gen),
                df._instance_output(i.status, i.output, i.cancel_reason), i.created_at, i.completed_at
         FROM (SELECT * FROM df.instances i WHERE ' || filter || '
               ORDER BY i.created_at DESC, i.id LIMIT $5) AS i
         LEFT JOIN df.journal j ON j.instance_id = i.id AND j.node = 0
         ORDER BY i.created_at DESC, i.id'
        USING status_filter, label_filter, after_time, after_id, limit_count;
END
$$;
COMMENT ON FUNCTION df._list_page(text, integer, text, text) IS 'Instances the caller may see, newest first, after a cursor.';

CREATE FUNCTION df._function_name() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 'pg_durable::orchestration::execute-function-graph'::text;
COMMENT ON FUNCTION df._function_name() IS 'The constant that compatible columns called function_name show.';

CREATE FUNCTION df.list_instances(status_filter text DEFAULT NULL, limit_count integer DEFAULT 100)
RETURNS TABLE (instance_id text, label text, function_name text, status text, execution_count bigint, output text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM df._check_page_size(limit_count);
    RETURN QUERY
    SELECT p.instance_id, p.label, df._function_name(), p.status, p.execution_count, p.output
    FROM df._list_page(status_filter, limit_count, NULL, NULL) AS p;
END
$$;
COMMENT ON FUNCTION df.list_instances(text, integer) IS 'Your instances, newest first, at most limit_count.';

CREATE FUNCTION df.list_instances(status_filter text, limit_count integer, label_filter text,
                                  after_cursor text DEFAULT NULL)
RETURNS TABLE (instance_id text, label text, function_name text, status text, execution_count bigint, output text,
               created_at timestamptz, completed_at timestamptz, next_cursor text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM df._check_page_size(limit_count);
    RETURN QUERY
    WITH page AS MATERIALIZED (
        -- One row more than asked for tells whether there is a next page.
        SELECT p.*, row_number() OVER () AS at
        FROM df._list_page(status_filter, limit_count + 1, label_filter, after_cursor) AS p
    )
    SELECT p.instance_id, p.label, df._function_name(), p.status, p.execution_count, p.output, p.created_at,
           p.completed_at,
           (SELECT df._cursor(last.created_at, last.instance_id) FROM page last
            WHERE last.at = limit_count AND EXISTS (SELECT FROM page more WHERE more.at > limit_count))
    FROM page p WHERE p.at <= limit_count ORDER BY p.at;
END
$$;
COMMENT ON FUNCTION df.list_instances(text, integer, text, text) IS
    'A page of your instances, newest first; pass next_cursor back as after_cursor for the next page.';

CREATE FUNCTION df.instance_info(instance_id text)
RETURNS TABLE (instance_id text, label text, function_name text, function_version text, current_execution_id bigint,
               status text, output text)
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    SELECT i.id::text, i.label, df._function_name(), '1.0.0'::text, df._execution_number(j.gen), i.status,
           df._instance_output(i.status, i.output, i.cancel_reason)
    FROM df.instances i LEFT JOIN df.journal j ON j.instance_id = i.id AND j.node = 0
    WHERE i.id = $1
$$;
COMMENT ON FUNCTION df.instance_info(text) IS 'One instance: label, status, current execution and output.';

-- Generations of a root loop are executions. Finished generations leave no rows behind (a loop's storage does not
-- grow), so of the earlier ones only the fact is known: their counts, durations and outputs are NULL.
CREATE FUNCTION df.instance_executions(instance_id text, limit_count integer DEFAULT 5)
RETURNS TABLE (execution_id bigint, status text, event_count bigint, duration_ms bigint, output text)
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    i df.instances;
    root df.journal;
    newest bigint;
BEGIN
    IF limit_count < 1 THEN
        RAISE EXCEPTION 'limit_count must be at least 1' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT * INTO i FROM df.instances x WHERE x.id = $1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT * INTO root FROM df.journal j WHERE j.instance_id = i.id AND j.node = 0;
    newest := df._execution_number(root.gen);
    RETURN QUERY SELECT newest,
        CASE WHEN i.status = 'completed' THEN 'Completed' WHEN i.status IN ('pending', 'running', 'paused') THEN 'Running'
             ELSE 'Failed' END,
        (SELECT count(*) FROM df.journal j WHERE j.instance_id = i.id),
        CASE WHEN i.status IN ('pending', 'running', 'paused') THEN 0
             ELSE (extract(epoch FROM coalesce(i.completed_at, root.recorded_at, i.updated_at)
                                      - i.created_at) * 1000)::bigint END,
        df._instance_output(i.status, i.output, i.cancel_reason);
    RETURN QUERY SELECT g, 'ContinuedAsNew'::text, NULL::bigint, NULL::bigint, NULL::text
        FROM generate_series(newest - 1, greatest(newest - least(limit_count, 10000) + 1, 1), -1) AS g;
END
$$;
COMMENT ON FUNCTION df.instance_executions(text, integer) IS
    'The executions of one instance, newest first: one, plus one for each further iteration of a loop at the root.';

CREATE FUNCTION df.metrics()
RETURNS TABLE (total_instances bigint, running_instances bigint, completed_instances bigint, failed_instances bigint,
               total_executions bigint, total_events bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT count(*),
           count(*) FILTER (WHERE i.status IN ('pending', 'running', 'paused')),
           count(*) FILTER (WHERE i.status = 'completed'),
           count(*) FILTER (WHERE i.status IN ('failed', 'cancelled', 'compensated', 'stuck')),
           count(*) + coalesce((SELECT sum(df._execution_number(j.gen) - 1)::bigint
                                FROM df.journal j WHERE j.node = 0 AND j.gen <> ''), 0),
           (SELECT count(*) FROM df.journal)
    FROM df.instances i
$$;
COMMENT ON FUNCTION df.metrics() IS 'Totals over the instances of all roles; paused ones count as running, cancelled, undone and stuck ones as failed.';
REVOKE ALL ON FUNCTION df.metrics() FROM PUBLIC;

-- What `durasql doctor` asks. A worker role sees no instances, yet it is the one to know whose it will have to log in as.
CREATE FUNCTION df._backlog()
RETURNS TABLE (role text, can_login boolean, superuser boolean, unfinished bigint, due bigint, lag_seconds double precision,
               lost bigint, stuck bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT r.rolname::text, r.rolcanlogin, r.rolsuper,
           count(*) FILTER (WHERE i.status <> 'stuck'),
           count(*) FILTER (WHERE i.due <= clock_timestamp()),
           coalesce(extract(epoch FROM clock_timestamp() - min(i.due)), 0)::double precision,
           count(*) FILTER (WHERE i.worker IS NOT NULL AND (l.id IS NOT NULL OR w.id IS NULL)),
           count(*) FILTER (WHERE i.status = 'stuck')
    FROM df.instances i
    LEFT JOIN pg_roles r ON r.oid = i.submitted_by::oid
    LEFT JOIN df._workers w ON w.id = i.worker
    LEFT JOIN df._lost() AS l (id) ON l.id = i.worker
    WHERE i.status IN ('pending', 'running', 'paused', 'stuck')
      AND (i.submitted_by = quote_ident(session_user)::regrole
           OR has_function_privilege(session_user, 'df._serve_all()', 'EXECUTE'))
    GROUP BY i.submitted_by, r.rolname, r.rolcanlogin, r.rolsuper
    ORDER BY r.rolname
$$;
COMMENT ON FUNCTION df._backlog() IS
    'Unfinished instances by role, as far as a worker of the caller would serve them; role is NULL if it was dropped.';

-- What a waiting journal row is about. A step that waits has failed before: only waits wait for their own sake.
CREATE FUNCTION df._wait_kind(node_type text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE $1 WHEN 'SLEEP' THEN 'timer' WHEN 'WAIT_SCHEDULE' THEN 'schedule' WHEN 'SIGNAL' THEN 'signal'
               WHEN 'TIMEOUT' THEN 'timeout' ELSE CASE WHEN $1 IS NULL THEN 'deadline' ELSE 'backoff' END END;
COMMENT ON FUNCTION df._wait_kind(text) IS 'What kind of wait a node''s waiting row is; NULL stands for the run itself.';

CREATE FUNCTION df._wait_subject(node jsonb, gen text, attempts integer, policy jsonb) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE df._wait_kind($1->>'t')
        WHEN 'timer' THEN $1->>'q'
        WHEN 'schedule' THEN ($1->>'q')::jsonb->>'cron_expr'
        WHEN 'signal' THEN ($1->>'q')::jsonb->>'signal_name'
        WHEN 'timeout' THEN 'timeout after ' || (($1->>'q')::jsonb->>'seconds') || ' s'
        WHEN 'deadline' THEN 'deadline of the run'
        ELSE CASE $1->>'t'
            WHEN 'RETRY' THEN format('retry %s of %s', substring($2 FROM '[0-9]+$')::integer + 1, ($1->>'q')::jsonb->>'max_attempts')
            WHEN 'LOOP' THEN format('iteration %s after a failure', substring($2 FROM '[0-9]+$')::integer + 1)
            ELSE format('retry %s of %s', $3 + 1, coalesce($4->>'max_attempts', df.setting('step_max_attempts')))
        END
    END
$$;
COMMENT ON FUNCTION df._wait_subject(jsonb, text, integer, jsonb) IS 'What a waiting journal row waits for, in words.';

CREATE VIEW df.waiting WITH (security_barrier) AS
SELECT i.id AS instance_id,
       i.label,
       i.submitted_by,
       df._node_id(NULLIF(j.node, -1))::varchar(8) AS node_id,
       df._wait_kind(n.node->>'t') AS kind,
       df._wait_subject(n.node, j.gen, j.attempts, i.policy) AS waits_for,
       j.recorded_at AS since,
       j.due::timestamptz AS until
FROM df.instances i
JOIN df.journal j ON j.instance_id = i.id AND j.state = 'waiting'
JOIN df.programs p ON p.owner = i.submitted_by AND p.hash = i.program
CROSS JOIN LATERAL (SELECT p.nodes->NULLIF(j.node, -1) AS node OFFSET 0) AS n
WHERE i.status = 'running'
  AND (i.submitted_by = (SELECT quote_ident(current_user)::regrole)
       OR NOT (SELECT row_security_active('df.instances'::regclass)))
UNION ALL
SELECT i.id, i.label, i.submitted_by, NULL, 'paused', i.pause_reason, i.updated_at, NULL
FROM df.instances i
WHERE i.status = 'paused'
  AND (i.submitted_by = (SELECT quote_ident(current_user)::regrole)
       OR NOT (SELECT row_security_active('df.instances'::regclass)));
COMMENT ON VIEW df.waiting IS
    'What running instances wait for (timers, schedules, signals, another try, a timeout), since when and until when; and the paused.';

CREATE FUNCTION df._clock(at timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN pg_catalog.to_char($1, CASE WHEN $1::date = pg_catalog.now()::date THEN 'HH24:MI:SS' ELSE 'YYYY-MM-DD HH24:MI:SS' END);
COMMENT ON FUNCTION df._clock(timestamptz) IS 'A time for people; the date only where it is another one than today''s.';

-- Of what failed only the latest is kept: see df.attempts for what goes when.
CREATE FUNCTION df.instance_attempts(instance_id text)
RETURNS TABLE (node_id text, node_type text, generation text, attempt integer, message text, sqlstate text,
               http_status integer, failed_at timestamptz, next_at timestamptz)
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    SELECT df._node_id(a.node), p.nodes->a.node->>'t', a.gen, a.attempt, e.error->>'message', e.error->>'sqlstate',
           (e.error->>'http_status')::integer, a.failed_at, a.next_at
    FROM df.attempts a
    JOIN df.instances i ON i.id = a.instance_id
    JOIN df.programs p ON p.owner = i.submitted_by AND p.hash = i.program
    CROSS JOIN LATERAL (SELECT a.error::json AS error) AS e
    WHERE a.instance_id = $1
    ORDER BY a.failed_at, a.node, a.attempt
$$;
COMMENT ON FUNCTION df.instance_attempts(text) IS
    'Tries of one instance that failed, of steps, retries and loops, oldest first; next_at is NULL where no other followed.';

CREATE FUNCTION df.instance_undos(instance_id text)
RETURNS TABLE (node_id text, generation text, undo_id text, state text, error text, recorded_at timestamptz)
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    SELECT df._node_id(u.node), u.gen, df._node_id((p.nodes->u.node->>'r')::integer), u.state,
           u.error::json->>'message', u.recorded_at
    FROM df.undos u
    JOIN df.instances i ON i.id = u.instance_id
    JOIN df.programs p ON p.owner = i.submitted_by AND p.hash = i.program
    WHERE u.instance_id = $1
    ORDER BY u.seq DESC
$$;
COMMENT ON FUNCTION df.instance_undos(text) IS
    'What one instance would undo if it failed, or has undone: in the order in which that happens, the latest first.';

-- The table of workers also holds the hashes of their secrets, so nobody is granted that: this is what operators read.
CREATE VIEW df.workers AS
SELECT w.id, w.epoch_id, w.name, w.host, w.pid, w.version, w.role, w.backend_pid, w.idle, w.draining, w.running,
       w.started_at, w.heartbeat
FROM df._workers w;
COMMENT ON VIEW df.workers IS 'Live worker processes; those of dead ones go when their instances are taken over.';

CREATE VIEW df._worker_epoch AS
SELECT w.epoch_id, w.started_at, w.heartbeat AS last_seen_at
FROM df._workers w ORDER BY w.heartbeat DESC LIMIT 1;
COMMENT ON VIEW df._worker_epoch IS
    'The worker heard of last; alive when last_seen_at is within 15 seconds, no row when there is none.';
