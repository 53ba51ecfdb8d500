-- 0005 runtime: the only way a worker touches the store.
--
-- Every function here is SECURITY DEFINER, pins its search_path, and proves three things before it acts: the worker
-- knows its token, the logged-in role (session_user, which no SET ROLE changes) may serve the instance's role, and the
-- claim is the current one (worker and epoch). A step's own session may call df._record for its own role only.

CREATE FUNCTION df._serve_all() RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$ SELECT $$;
COMMENT ON FUNCTION df._serve_all() IS
    'Does nothing: EXECUTE on it lets a worker role serve every role. See df.grant_worker.';
REVOKE ALL ON FUNCTION df._serve_all() FROM PUBLIC;

CREATE FUNCTION df._serves(worker_role regrole, instance_role regrole) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT worker_role = instance_role OR has_function_privilege(worker_role::oid, 'df._serve_all()', 'EXECUTE') $$;
COMMENT ON FUNCTION df._serves(regrole, regrole) IS 'Whether a worker logged in as one role may run instances of another.';
REVOKE ALL ON FUNCTION df._serves(regrole, regrole) FROM PUBLIC;

-- The class id of the session locks by which workers show that they live; the object id is their lock_key.
CREATE FUNCTION df._worker_lock_class() RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$ SELECT 1684430711 $$;
COMMENT ON FUNCTION df._worker_lock_class() IS 'Advisory lock class of live workers.';

CREATE FUNCTION df._schema_version() RETURNS integer
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT max(m.version) FROM df.migrations m);
END
$$;
COMMENT ON FUNCTION df._schema_version() IS 'The number of the last migration: a worker that needs a later one does not begin.';

CREATE FUNCTION df._hello(p_name text, p_host text, p_pid integer, p_version text, p_token text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    me regrole := quote_ident(session_user)::regrole;
    most integer := df.setting('max_workers_per_role');
    worker_id integer;
    key integer;
BEGIN
    -- Everybody's heartbeat looks at every worker there is.
    IF (SELECT count(*) FROM df._workers w WHERE w.role = me
        AND w.heartbeat > clock_timestamp() - make_interval(secs => df.setting('lease_seconds')::double precision)) >= most THEN
        RAISE EXCEPTION 'role % has % workers already', me, most USING ERRCODE = 'configuration_limit_exceeded',
            HINT = 'Sign off some of them, or raise max_workers_per_role in df.settings.';
    END IF;
    INSERT INTO df._workers (name, host, pid, version, role, token_hash, backend_pid)
    VALUES (left(p_name, 200), left(p_host, 200), p_pid, left(p_version, 200), me,
            sha256(convert_to(p_token, 'UTF8')), pg_backend_pid())
    RETURNING id, lock_key INTO worker_id, key;
    IF NOT pg_try_advisory_lock(df._worker_lock_class(), key) THEN
        RAISE EXCEPTION 'the lock % of a new worker is taken', key USING ERRCODE = 'lock_not_available', HINT = 'Sign on again.';
    END IF;
    RETURN worker_id;
END
$$;
COMMENT ON FUNCTION df._hello(text, text, integer, text, text) IS
    'Registers the calling session as a worker and takes the lock that shows it lives; returns its number.';

CREATE FUNCTION df._known_worker(p_worker integer, p_token text) RETURNS df._workers
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known df._workers;
BEGIN
    SELECT * INTO known FROM df._workers w
    WHERE w.id = p_worker AND w.token_hash = sha256(convert_to(p_token, 'UTF8'));
    IF NOT FOUND THEN
        RAISE EXCEPTION 'worker % is not registered (any more)', p_worker
            USING ERRCODE = 'DF002', HINT = 'It was taken for dead; it registers again by itself.';
    END IF;
    RETURN known;
END
$$;
COMMENT ON FUNCTION df._known_worker(integer, text) IS 'The worker with this number and secret, or an error.';
REVOKE ALL ON FUNCTION df._known_worker(integer, text) FROM PUBLIC;

CREATE FUNCTION df._known_here(p_worker integer, p_token text) RETURNS df._workers
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known df._workers := df._known_worker(p_worker, p_token);
BEGIN
    IF known.role <> quote_ident(session_user)::regrole THEN
        RAISE EXCEPTION 'worker % belongs to another role', p_worker USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN known;
END
$$;
COMMENT ON FUNCTION df._known_here(integer, text) IS 'Like df._known_worker, for sessions of the worker''s own role only.';
REVOKE ALL ON FUNCTION df._known_here(integer, text) FROM PUBLIC;

-- What travels with a claim. PostgreSQL cannot build more than 1 GB of JSON, which takes up to six times the bytes that it
-- is made from, and an instance that nobody can claim would fail every worker that tries.
CREATE FUNCTION df._most_bytes() RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT least(df.setting('max_instance_bytes')::bigint, 167772160) $$;
COMMENT ON FUNCTION df._most_bytes() IS 'Bytes of journal and inbox beyond which an instance is not run any further.';

CREATE FUNCTION df._journal_bytes(p_instance text) RETURNS numeric
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(sum(64 + octet_length(j.gen) + coalesce(octet_length(j.value), 0) + coalesce(octet_length(j.names), 0)
                        + coalesce(octet_length(j.columns), 0)), 0)
           + coalesce((SELECT sum(64 + octet_length(u.gen) + coalesce(octet_length(u.names), 0) + coalesce(octet_length(u.error), 0))
                       FROM df.undos u WHERE u.instance_id = p_instance), 0)
    FROM df.journal j WHERE j.instance_id = p_instance
$$;
COMMENT ON FUNCTION df._journal_bytes(text) IS 'Bytes of the journal of one instance.';
REVOKE ALL ON FUNCTION df._journal_bytes(text) FROM PUBLIC;

-- Claims due instances, in the order of the queue (due, id). A lost claim (asynchronous commit) only means that the
-- instance is claimed again. With p_after and p_after_id the search begins at that place of the queue: what was claimed
-- before leaves dead index entries, and as long as an older transaction may see them each search steps over all of them.
CREATE FUNCTION df._claim(p_worker integer, p_token text, p_limit integer, p_only text DEFAULT NULL,
                          p_but oid[] DEFAULT NULL, p_after timestamptz DEFAULT NULL, p_after_id text DEFAULT NULL)
RETURNS TABLE (id text, epoch bigint, role text, superuser boolean, label text, database text, program text,
               owner oid, search_path text, vars jsonb, policy jsonb, history json, inbox json, now timestamptz, heavy boolean,
               since timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- A plan made while the table was small is kept while it grows: it must walk the queue's index and stop at the limit.
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
AS $$
#variable_conflict use_column
DECLARE
    me df._workers := df._known_here(p_worker, p_token);
    everyone boolean := df._serves(me.role, 0::oid::regrole);
    mine varchar[];
    due_since timestamptz[];
    most bigint := df._most_bytes();
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    -- One plan for all times: planning for the very number of instances in hand would cost more than the claim.
    PERFORM set_config('plan_cache_mode', CASE WHEN p_only IS NULL THEN 'force_generic_plan' ELSE 'auto' END, true);
    -- Nobody buries this worker before what it claims here can be seen, and what is buried claims nothing.
    PERFORM FROM df._workers w WHERE w.id = p_worker FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'worker % is not registered (any more)', p_worker USING ERRCODE = 'DF002';
    END IF;
    WITH candidates AS (
        SELECT i.id, i.due FROM df.instances i
        WHERE i.due <= clock_timestamp()
          AND (i.due, i.id) >= (coalesce(p_after, '-infinity'), coalesce(p_after_id, ''))
          AND (everyone OR i.submitted_by = me.role)
          AND (p_only IS NULL OR i.id = p_only)
          AND (p_but IS NULL OR i.submitted_by::oid <> ALL (p_but))
        ORDER BY i.due, i.id
        LIMIT p_limit
        FOR NO KEY UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE df.instances i
        SET status = 'running', updated_at = now(), worker = p_worker, epoch = i.epoch + 1, due = NULL
        FROM candidates c
        WHERE i.id = c.id
        RETURNING i.id, c.due
    )
    SELECT array_agg(c.id), array_agg(c.due) INTO mine, due_since FROM claimed c;

    -- In a statement of its own, whose snapshot is younger than the claim. The one above may have found an instance due
    -- that another worker claimed, advanced and put back before it got the lock: it would not see what that one wrote.
    RETURN QUERY
    SELECT c.id::text, c.epoch, r.rolname::text, r.rolsuper, c.label, c.database, c.program, c.submitted_by::oid,
           c.search_path::text, c.vars::jsonb, c.policy,
           CASE WHEN c.epoch > 1 AND NOT luggage.heavy THEN df._history(c.id) END,
           -- Signals may have come before the first claim; written out, since it is on the way of every instance.
           CASE WHEN NOT luggage.heavy THEN (SELECT json_agg(json_build_array(s.id, s.name, s.data) ORDER BY s.id)
                                             FROM df.signals s WHERE s.instance_id = c.id) END,
           clock_timestamp(), luggage.heavy, m.since
    FROM unnest(mine, due_since) AS m (id, since)
    JOIN df.instances c ON c.id = m.id
    LEFT JOIN pg_roles r ON r.oid = c.submitted_by,
         LATERAL (SELECT coalesce((SELECT sum(octet_length(s.name) + octet_length(s.data) + 32) FROM df.signals s
                                   WHERE s.instance_id = c.id), 0)
                         + CASE WHEN c.epoch > 1 THEN df._journal_bytes(c.id) ELSE 0 END > most AS heavy) AS luggage
    ORDER BY m.since, m.id;
END
$$;
COMMENT ON FUNCTION df._claim(integer, text, integer, text, oid[], timestamptz, text) IS
    'Claims up to p_limit due instances, but none of the roles p_but, for a worker and returns all it needs to run them.';

CREATE FUNCTION df._history(p_instance text) RETURNS json
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT json_build_object(
        'rows', (SELECT json_agg(json_build_array(j.node, j.gen, j.seq, j.state, j.value, j.columns, j.names, j.due, j.attempts)
                                 ORDER BY j.seq)
                 FROM df.journal j WHERE j.instance_id = p_instance),
        'undos', (SELECT json_agg(json_build_array(u.node, u.gen, u.seq, u.state, u.names, u.error, u.settled) ORDER BY u.seq)
                  FROM df.undos u WHERE u.instance_id = p_instance))
$$;
COMMENT ON FUNCTION df._history(text) IS 'The journal of one instance and what can be undone, in order, as workers read it.';
REVOKE ALL ON FUNCTION df._history(text) FROM PUBLIC;

CREATE FUNCTION df._inbox_of(p_instance text) RETURNS json
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT json_agg(json_build_array(s.id, s.name, s.data) ORDER BY s.id)
    FROM df.signals s WHERE s.instance_id = p_instance
$$;
COMMENT ON FUNCTION df._inbox_of(text) IS 'The signals that wait for one instance, oldest first.';
REVOKE ALL ON FUNCTION df._inbox_of(text) FROM PUBLIC;

CREATE FUNCTION df._inbox(p_worker integer, p_token text, p_instance text) RETURNS json
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM df._known_here(p_worker, p_token);
    RETURN df._inbox_of(i.id) FROM df.instances i WHERE i.id = p_instance AND i.worker = p_worker;
END
$$;
COMMENT ON FUNCTION df._inbox(integer, text, text) IS 'The inbox of an instance that the worker holds.';

CREATE FUNCTION df._program(p_worker integer, p_token text, p_owner oid, p_hash text)
RETURNS TABLE (format integer, graph text, code text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    me df._workers := df._known_here(p_worker, p_token);
BEGIN
    IF NOT df._serves(me.role, p_owner::regrole) THEN
        RAISE EXCEPTION 'worker % may not serve this role', p_worker USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN QUERY SELECT p.format, p.graph, p.code FROM df.programs p WHERE p.owner = p_owner::regrole AND p.hash = p_hash;
END
$$;
COMMENT ON FUNCTION df._program(integer, text, oid, text) IS 'The graph of a program and its bytecode, if compiled already.';

CREATE FUNCTION df._store_code(p_worker integer, p_token text, p_owner oid, p_hash text, p_format integer, p_code text)
RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    me df._workers := df._known_here(p_worker, p_token);
BEGIN
    IF NOT df._serves(me.role, p_owner::regrole) THEN
        RAISE EXCEPTION 'worker % may not serve this role', p_worker USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- Somebody who is storing it may take for ever to commit; then it is stored another time.
    UPDATE df.programs p SET code = p_code, format = p_format
    FROM (SELECT c.owner, c.hash FROM df.programs c
          WHERE octet_length(p_code) <= 16 * octet_length(c.graph) + 4096
            AND c.owner = p_owner::regrole AND c.hash = p_hash AND c.code IS NULL
          FOR NO KEY UPDATE SKIP LOCKED) AS free
    WHERE p.owner = free.owner AND p.hash = free.hash;
    RETURN coalesce(p.code, p_code) FROM df.programs p WHERE p.owner = p_owner::regrole AND p.hash = p_hash;
END
$$;
COMMENT ON FUNCTION df._store_code(integer, text, oid, text, integer, text) IS
    'Stores a program''s bytecode once; returns what is stored, which may be another worker''s identical copy.';

-- Why a record was refused. The claim is judged first: a worker that lost it must hear exactly that.
CREATE FUNCTION df._refuse_record(p_worker integer, p_token text, p_instance text, p_epoch bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM df.instances i WHERE i.id = p_instance AND i.worker = p_worker AND i.epoch = p_epoch FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the claim on instance % is lost', p_instance USING ERRCODE = 'DF001';
    END IF;
    PERFORM df._known_worker(p_worker, p_token);
    RAISE EXCEPTION 'not allowed to record for instance %', p_instance USING ERRCODE = 'insufficient_privilege';
END
$$;
COMMENT ON FUNCTION df._refuse_record(integer, text, text, bigint) IS 'Says why a worker''s record is refused.';
REVOKE ALL ON FUNCTION df._refuse_record(integer, text, text, bigint) FROM PUBLIC;

-- A step may cancel or pause its own instance. Its transaction then holds the raised epoch itself, and must be able to commit: the
-- row version it sees is its own when the transaction that wrote it is still in progress.
CREATE FUNCTION df._stopped_by_this_step(p_worker integer, p_token text, p_instance text, p_epoch bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    own bigint := pg_current_xact_id_if_assigned()::text::bigint;
    writer bigint;
BEGIN
    SELECT (own & ~4294967295) | i.xmin::text::bigint INTO writer
    FROM df.instances i
    WHERE i.id = p_instance AND i.status IN ('cancelled', 'paused') AND i.epoch = p_epoch + 1
      AND i.submitted_by = quote_ident(session_user)::regrole;
    IF writer IS NULL OR writer < own - 2147483648 THEN
        RETURN false;
    END IF;
    PERFORM df._known_worker(p_worker, p_token);
    RETURN pg_xact_status(writer::text::xid8) = 'in progress';
EXCEPTION
    WHEN invalid_parameter_value THEN  -- a transaction of the future: xmin belongs to the epoch before
        RETURN false;
END
$$;
COMMENT ON FUNCTION df._stopped_by_this_step(integer, text, text, bigint) IS
    'Whether the transaction that records is the one that cancelled or paused the instance.';
REVOKE ALL ON FUNCTION df._stopped_by_this_step(integer, text, text, bigint) FROM PUBLIC;

-- The fence and the record, in the step's own transaction. This runs for every step, so it asks all its questions at once.
--   p_rows     [{"node", "gen", "seq", "state", "value", "columns", "names", "refs", "due", "delay", "attempts", "took"}, …];
--              members that are null may be left out; "took" is how many seconds a leaf took
--   p_drop     nodes whose waiting or started row is void because their branch lost
--   p_signals  inbox rows that were taken
--   p_status   'completed', 'failed', 'compensated' or 'stuck' when the instance is over, with p_output
--   p_park     put the instance back; it waits for the nodes p_waits or a signal named in p_names
--   p_policy   failed tries and what can be undone, see df._record_policy
-- Returns the database's clock, by which workers reckon all deadlines.
CREATE FUNCTION df._record(p_worker integer, p_token text, p_instance text, p_epoch bigint, p_rows json,
                           p_drop integer[] DEFAULT NULL, p_signals bigint[] DEFAULT NULL,
                           p_status text DEFAULT NULL, p_output text DEFAULT NULL,
                           p_park boolean DEFAULT false, p_waits integer[] DEFAULT NULL, p_names text[] DEFAULT NULL,
                           p_policy json DEFAULT NULL)
RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    caller regrole := quote_ident(session_user)::regrole;
BEGIN
    PERFORM FROM df.instances i, df._workers w
    WHERE i.id = p_instance AND i.worker = p_worker AND i.epoch = p_epoch
      AND w.id = p_worker AND w.token_hash = sha256(convert_to(p_token, 'UTF8'))
      AND (caller = i.submitted_by OR caller = w.role)
      AND (w.role = i.submitted_by OR has_function_privilege(w.role::oid, 'df._serve_all()', 'EXECUTE'))
    FOR NO KEY UPDATE OF i;
    IF NOT FOUND THEN
        IF NOT df._stopped_by_this_step(p_worker, p_token, p_instance, p_epoch) THEN
            PERFORM df._refuse_record(p_worker, p_token, p_instance, p_epoch);
        END IF;
        p_status := NULL;
        p_park := false;
    END IF;

    INSERT INTO df.journal AS j
        (instance_id, node, gen, seq, state, value, columns, names, refs, due, attempts, started_at)
    SELECT p_instance, r.node, r.gen, r.seq, r.state, r.value, r.columns, r.names, r.refs,
           coalesce(r.due, clock_timestamp() + make_interval(secs => r.delay)), coalesce(r.attempts, 1),
           CASE WHEN r.took IS NOT NULL THEN clock_timestamp() - make_interval(secs => r.took)
                WHEN r.state IN ('waiting', 'started') THEN clock_timestamp() END
    FROM json_to_recordset(p_rows)
         AS r (node integer, gen text, seq bigint, state text, value text, columns text, names text,
               refs integer[], due timestamptz, delay double precision, attempts integer, took double precision)
    ON CONFLICT (instance_id, node) DO UPDATE
    SET gen = excluded.gen, seq = excluded.seq, state = excluded.state, value = excluded.value,
        columns = excluded.columns, refs = excluded.refs, due = excluded.due, attempts = excluded.attempts,
        names = CASE WHEN excluded.gen = j.gen THEN coalesce(excluded.names, j.names) ELSE excluded.names END,
        started_at = coalesce(excluded.started_at, CASE WHEN excluded.gen = j.gen AND j.state = 'waiting' THEN j.started_at END),
        recorded_at = clock_timestamp();

    IF p_drop IS NOT NULL THEN
        DELETE FROM df.journal j
        WHERE j.instance_id = p_instance AND j.node = ANY (p_drop) AND j.state IN ('waiting', 'started');
    END IF;
    IF p_signals IS NOT NULL THEN
        DELETE FROM df.signals s WHERE s.instance_id = p_instance AND s.id = ANY (p_signals);
    END IF;
    IF p_policy IS NOT NULL THEN
        PERFORM df._record_policy(p_instance, p_policy);
    END IF;
    IF p_status IS NOT NULL THEN
        PERFORM df._finish(p_instance, p_status, p_output);
    ELSIF p_park THEN
        PERFORM df._park(p_instance, p_waits, p_names);
    END IF;
    RETURN clock_timestamp();
END
$$;
COMMENT ON FUNCTION df._record(integer, text, text, bigint, json, integer[], bigint[], text, text, boolean, integer[], text[], json) IS
    'Writes journal rows and what follows from them if the claim still holds (SQLSTATE DF001 if not).';

-- What few records have: {"attempts": [[node, gen, attempt, error, kept, delay], …],
-- "undos": [[node, gen, seq, state, names, error], …]}. Of one node the tries of the current generation stay, the latest `kept`.
CREATE FUNCTION df._record_policy(p_instance text, p_policy json) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    try json;
BEGIN
    FOR try IN SELECT t FROM json_array_elements(p_policy->'attempts') AS t LOOP
        DELETE FROM df.attempts a
        WHERE a.instance_id = p_instance AND a.node = (try->>0)::integer
          AND (a.gen <> try->>1 OR a.attempt <= (try->>2)::integer - (try->>4)::integer);
        INSERT INTO df.attempts AS a (instance_id, node, gen, attempt, error, next_at)
        VALUES (p_instance, (try->>0)::integer, try->>1, (try->>2)::integer, try->>3,
                clock_timestamp() + make_interval(secs => (try->>5)::double precision))
        ON CONFLICT ON CONSTRAINT attempts_pkey DO UPDATE
        SET gen = excluded.gen, error = excluded.error, next_at = excluded.next_at, failed_at = clock_timestamp();
    END LOOP;
    INSERT INTO df.undos AS u (instance_id, node, gen, seq, state, names, error)
    SELECT p_instance, (n->>0)::integer, n->>1, (n->>2)::bigint, n->>3, n->>4, n->>5
    FROM json_array_elements(p_policy->'undos') AS n
    ON CONFLICT ON CONSTRAINT undos_pkey DO UPDATE
    SET state = excluded.state, error = excluded.error, settled = excluded.seq, recorded_at = clock_timestamp();
END
$$;
COMMENT ON FUNCTION df._record_policy(text, json) IS 'Writes failed tries and what can be undone.';
REVOKE ALL ON FUNCTION df._record_policy(text, json) FROM PUBLIC;

CREATE FUNCTION df._finish(p_instance text, p_status text, p_output text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE df.instances i
    SET status = p_status, output = p_output, updated_at = clock_timestamp(),
        completed_at = CASE WHEN p_status = 'completed' THEN clock_timestamp() END,
        worker = NULL, due = NULL
    WHERE i.id = p_instance;
    DELETE FROM df.signals s WHERE s.instance_id = p_instance;
    IF p_status = 'completed' THEN
        DELETE FROM df.journal j WHERE j.instance_id = p_instance AND j.state = 'waiting';
    ELSE
        -- What failed may be resumed (0015), so how far loops and retries had come stays.
        DELETE FROM df.journal j USING df.instances i, df.programs p
        WHERE j.instance_id = p_instance AND j.state = 'waiting' AND i.id = p_instance
          AND p.owner = i.submitted_by AND p.hash = i.program
          AND coalesce(p.nodes->NULLIF(j.node, -1)->>'t', '') NOT IN ('LOOP', 'RETRY');
    END IF;
END
$$;
COMMENT ON FUNCTION df._finish(text, text, text) IS 'Ends an instance.';
REVOKE ALL ON FUNCTION df._finish(text, text, text) FROM PUBLIC;

CREATE FUNCTION df._park(p_instance text, p_waits integer[], p_names text[]) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE df.instances i
    SET worker = NULL, updated_at = clock_timestamp(),
        due = CASE
            WHEN EXISTS (SELECT FROM df.signals s WHERE s.instance_id = p_instance AND s.name = ANY (p_names))
            THEN clock_timestamp()
            ELSE (SELECT min(j.due) FROM df.journal j
                  WHERE j.instance_id = p_instance AND j.node = ANY (p_waits) AND j.state = 'waiting')
        END
    WHERE i.id = p_instance
$$;
COMMENT ON FUNCTION df._park(text, integer[], text[]) IS
    'Puts a waiting instance back until its earliest deadline, or at once if a signal is there already.';
REVOKE ALL ON FUNCTION df._park(text, integer[], text[]) FROM PUBLIC;

-- Roles can lock their own instances for as long as they like. Workers have one connection for everything that concerns
-- them all, so nothing done there waits for such a lock: what is locked is left for later.
-- What a worker held when it was lost may be what it was lost of. An instance that gets no further, whoever takes it, has to
-- wait ever longer (from the sixth time 2 s, 4 s, … 5 min), so that it cannot keep all workers down for ever.
CREATE FUNCTION df._set_free(p_worker integer, p_instances text[] DEFAULT NULL, p_role regrole DEFAULT NULL,
                             p_lost boolean DEFAULT false) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    freed integer;
BEGIN
    WITH free AS (
        SELECT h.id FROM df.instances h
        WHERE h.worker = p_worker AND (p_instances IS NULL OR h.id = ANY (p_instances))
          AND (p_role IS NULL OR h.submitted_by = p_role)
        FOR NO KEY UPDATE SKIP LOCKED
    ), judged AS (
        SELECT f.id, CASE WHEN NOT p_lost OR at.seq > h.lost_seq THEN 0 ELSE h.setbacks END + p_lost::integer AS setbacks,
               CASE WHEN p_lost THEN at.seq ELSE h.lost_seq END AS lost_seq
        FROM free f JOIN df.instances h ON h.id = f.id,
             LATERAL (SELECT coalesce(max(j.seq), 0) AS seq FROM df.journal j WHERE j.instance_id = f.id) AS at
    )
    UPDATE df.instances i
    SET worker = NULL, epoch = i.epoch + 1, setbacks = judged.setbacks, lost_seq = judged.lost_seq,
        due = clock_timestamp() + make_interval(secs => CASE WHEN judged.setbacks > 5
                                                             THEN least(2 ^ least(judged.setbacks - 5, 10), 300) ELSE 0 END)
    FROM judged WHERE i.id = judged.id;
    GET DIAGNOSTICS freed = ROW_COUNT;
    RETURN freed;
END
$$;
COMMENT ON FUNCTION df._set_free(integer, text[], regrole, boolean) IS
    'Takes from a worker what nobody has locked of these instances (NULL: all; of one role); how many.';
REVOKE ALL ON FUNCTION df._set_free(integer, text[], regrole, boolean) FROM PUBLIC;

CREATE FUNCTION df._bury(p_worker integer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE df._workers w SET heartbeat = '-infinity', idle = false WHERE w.id = p_worker;
    DELETE FROM df._workers w
    WHERE w.id = p_worker AND NOT EXISTS (SELECT FROM df.instances i WHERE i.worker = p_worker);
END
$$;
COMMENT ON FUNCTION df._bury(integer) IS 'Removes a worker; as long as it holds instances that are locked its row stays, for a later round.';
REVOKE ALL ON FUNCTION df._bury(integer) FROM PUBLIC;

CREATE FUNCTION df._release(p_worker integer, p_token text, p_instances text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM df._known_here(p_worker, p_token);
    PERFORM df._set_free(p_worker, p_instances);
    PERFORM pg_notify('df', 'w');
END
$$;
COMMENT ON FUNCTION df._release(integer, text, text[]) IS
    'Hands instances over to whoever claims them next; those that somebody has locked stay, so ask again later.';

CREATE FUNCTION df._refuse(p_worker integer, p_token text, p_instance text, p_epoch bigint, p_error text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM df._known_here(p_worker, p_token);
    PERFORM FROM df.instances i WHERE i.id = p_instance AND i.worker = p_worker AND i.epoch = p_epoch
    FOR NO KEY UPDATE NOWAIT;
    IF FOUND THEN
        PERFORM df._finish(p_instance, 'failed', p_error);
    END IF;
END
$$;
COMMENT ON FUNCTION df._refuse(integer, text, text, bigint, text) IS
    'Fails an instance that cannot be admitted, before any of its nodes runs.';

CREATE FUNCTION df._heartbeat(p_worker integer, p_token text, p_idle boolean, p_running integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM df._known_here(p_worker, p_token);
    UPDATE df._workers w SET heartbeat = clock_timestamp(), idle = p_idle, running = p_running WHERE w.id = p_worker;
END
$$;
COMMENT ON FUNCTION df._heartbeat(integer, text, boolean, integer) IS 'Says that a worker lives, and whether it has time.';

-- A worker is lost when its session lock is gone (the process died or lost its connection) or when it has not been heard
-- of for the lease. Safety does not rest on this judgement: the epoch does not let a wrongly buried worker write.
CREATE FUNCTION df._lost() RETURNS SETOF integer
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT w.id FROM df._workers w
    WHERE w.heartbeat < clock_timestamp() - make_interval(secs => df.setting('lease_seconds')::double precision)
       OR NOT EXISTS (SELECT FROM pg_locks l
                      WHERE l.locktype = 'advisory' AND l.granted AND l.pid = w.backend_pid
                        AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
                        AND l.classid = df._worker_lock_class()::oid AND l.objid = w.lock_key::oid AND l.objsubid = 2)
$$;
COMMENT ON FUNCTION df._lost() IS 'The workers that are gone.';
REVOKE ALL ON FUNCTION df._lost() FROM PUBLIC;

-- Whoever calls this may leave the transaction open, and what it locked stays locked. So a worker that serves one role
-- touches nothing but that role's.
CREATE FUNCTION df._reap(p_worker integer, p_token text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    me df._workers := df._known_here(p_worker, p_token);
    everyone boolean := df._serves(me.role, 0::oid::regrole);
    lost record;
    total integer := 0;
BEGIN
    FOR lost IN
        SELECT w.id FROM df._workers w
        WHERE w.id <> p_worker AND w.id IN (SELECT df._lost()) AND (everyone OR w.role = me.role)
        FOR UPDATE SKIP LOCKED
    LOOP
        total := total + df._set_free(lost.id, p_lost => true);
        PERFORM df._bury(lost.id);
    END LOOP;
    IF NOT everyone THEN
        FOR lost IN
            SELECT w.id FROM df._workers w WHERE w.id IN (SELECT df._lost()) AND w.role <> me.role
        LOOP
            total := total + df._set_free(lost.id, p_role => me.role, p_lost => true);
        END LOOP;
    END IF;
    RETURN total;
END
$$;
COMMENT ON FUNCTION df._reap(integer, text) IS 'Frees the instances of workers that are gone; returns how many.';

CREATE FUNCTION df._goodbye(p_worker integer, p_token text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM df._known_here(p_worker, p_token);
    PERFORM df._set_free(p_worker);
    PERFORM df._bury(p_worker);
    PERFORM pg_notify('df', 'w');
END
$$;
COMMENT ON FUNCTION df._goodbye(integer, text) IS 'Signs a worker off and hands over whatever it still holds.';

-- A signal may commit just after its instance was parked without it; workers that hear of it call this.
-- Without names it looks at what came lately, or with p_ever at everything: all workers may have been away for long.
CREATE FUNCTION df._wake(p_worker integer, p_token text, p_instances text[], p_ever boolean DEFAULT false)
RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    me df._workers := df._known_here(p_worker, p_token);
    everyone boolean := df._serves(me.role, 0::oid::regrole);
    woken integer;
BEGIN
    UPDATE df.instances i SET due = clock_timestamp()
    FROM (SELECT c.id FROM df.instances c
          WHERE (everyone OR c.submitted_by = me.role) AND c.worker IS NULL AND c.status IN ('pending', 'running')
            AND (c.due IS NULL OR c.due > clock_timestamp())
            AND c.id IN (SELECT s.instance_id FROM df.signals s
                         WHERE (p_instances IS NULL AND (p_ever OR s.sent_at > clock_timestamp() - interval '1 hour'))
                            OR s.instance_id = ANY (p_instances))
            AND EXISTS (SELECT FROM df.journal j JOIN df.signals s ON s.instance_id = j.instance_id
                        WHERE j.instance_id = c.id AND j.state = 'waiting' AND j.value = s.name)
          FOR NO KEY UPDATE SKIP LOCKED) AS parked
    WHERE i.id = parked.id;
    GET DIAGNOSTICS woken = ROW_COUNT;
    RETURN woken;
END
$$;
COMMENT ON FUNCTION df._wake(integer, text, text[], boolean) IS 'Makes parked instances due whose awaited signal has come.';

-- Runs in the step's session, as the step's role, after its statement and before the record: whatever the step left
-- behind (settings, temporary tables, locks, cursors, listeners, deferred triggers) ends with the step.
-- `p_place` names what the session does next.
CREATE FUNCTION df._reset(p_search_path text, p_place text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    foreign_statement text;
BEGIN
    SET CONSTRAINTS ALL IMMEDIATE;
    EXECUTE 'CLOSE ALL';  -- CLOSE alone would be PL/pgSQL's own
    UNLISTEN *;
    DISCARD TEMP;
    DISCARD SEQUENCES;
    RESET ALL;
    PERFORM pg_catalog.pg_advisory_unlock_all();
    -- All but the worker's own, which make a step one round trip.
    FOR foreign_statement IN
        SELECT p.name FROM pg_catalog.pg_prepared_statement() p WHERE p.name OPERATOR(pg_catalog.!~) '^df_'
    LOOP
        EXECUTE 'DEALLOCATE ' OPERATOR(pg_catalog.||) pg_catalog.quote_ident(foreign_statement);
    END LOOP;
    IF p_search_path IS NOT NULL THEN
        PERFORM pg_catalog.set_config('search_path', p_search_path, false);
    END IF;
    IF p_place IS NOT NULL THEN
        PERFORM pg_catalog.set_config('application_name', p_place, false);
    END IF;
END
$$;
COMMENT ON FUNCTION df._reset(text, text) IS 'Makes a step''s session as new, so that nothing leaks into the next step.';

CREATE FUNCTION df._next_due(p_worker integer, p_token text, p_after timestamptz DEFAULT NULL) RETURNS double precision
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    me df._workers := df._known_here(p_worker, p_token);
BEGIN
    IF df._serves(me.role, 0::oid::regrole) THEN
        RETURN extract(epoch FROM (SELECT min(i.due) FROM df.instances i
                                   WHERE i.due >= coalesce(p_after, '-infinity')) - clock_timestamp());
    END IF;
    RETURN extract(epoch FROM (SELECT min(i.due) FROM df.instances i
                               WHERE i.due >= coalesce(p_after, '-infinity') AND i.submitted_by = me.role)
                              - clock_timestamp());
END
$$;
COMMENT ON FUNCTION df._next_due(integer, text, timestamptz) IS
    'Seconds until the next instance is due (at p_after or later) that this worker may serve.';

-- After a lost connection nobody knows whether the last COMMIT arrived, or is still to arrive: a server process may work
-- through what it had received already. The new epoch shuts it out. If its record is under way, or somebody else has
-- locked the row, this is refused (SQLSTATE 55P03) instead of waiting: ask again later.
CREATE FUNCTION df._reload(p_worker integer, p_token text, p_instance text, p_epoch bigint,
                           OUT epoch bigint, OUT history json, OUT inbox json, OUT now timestamptz, OUT heavy boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM df._known_here(p_worker, p_token);
    PERFORM FROM df.instances i WHERE i.id = p_instance AND i.worker = p_worker FOR NO KEY UPDATE NOWAIT;
    UPDATE df.instances i SET epoch = i.epoch + 1
    WHERE i.id = p_instance AND i.worker = p_worker AND i.epoch = p_epoch
    RETURNING i.epoch INTO _reload.epoch;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the claim on instance % is lost', p_instance USING ERRCODE = 'DF001';
    END IF;
    IF df._journal_bytes(p_instance) + coalesce((SELECT sum(octet_length(s.name) + octet_length(s.data) + 32)
                                                 FROM df.signals s WHERE s.instance_id = p_instance), 0) <= df._most_bytes() THEN
        history := df._history(p_instance);
        inbox := df._inbox_of(p_instance);
    ELSE
        heavy := true;
    END IF;
    now := clock_timestamp();
END
$$;
COMMENT ON FUNCTION df._reload(integer, text, text, bigint) IS
    'Renews the claim on an instance and reads its journal and inbox again (SQLSTATE DF001 if the claim is lost).';

-- Notifications can be missed, and anybody may send them: workers ask here before they act on one.
CREATE FUNCTION df._held(p_worker integer, p_token text, p_instances text[] DEFAULT NULL)
RETURNS TABLE (id text, epoch bigint, inbox json)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM df._known_here(p_worker, p_token);
    RETURN QUERY
        SELECT i.id::text, i.epoch, df._inbox_of(i.id) FROM df.instances i
        WHERE i.worker = p_worker AND (p_instances IS NULL OR i.id = ANY (p_instances));
END
$$;
COMMENT ON FUNCTION df._held(integer, text, text[]) IS
    'Which of these instances (NULL: of all) the worker holds, by which claim, and their inboxes.';

-- A stopped worker's sessions keep the locks of the steps they were in, and their successors would wait for them.
-- Roles may end sessions of their own, so the worker has a session of each of these roles do it.
CREATE FUNCTION df._strays(p_worker integer, p_token text) RETURNS TABLE (pid integer, role text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    me df._workers := df._known_here(p_worker, p_token);
    everyone boolean := df._serves(me.role, 0::oid::regrole);
    sessions json;
BEGIN
    SELECT json_agg(json_build_array(a.pid, a.usename, split_part(a.application_name, ' ', 3))) INTO sessions
    FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.application_name ~ '^durasql step [0-9]{1,9} '
      AND (everyone OR a.usename = session_user);
    -- The workers are looked up afterwards, in a younger snapshot: a worker is there before its sessions are.
    RETURN QUERY
        SELECT (s->>0)::integer, s->>1 FROM json_array_elements(sessions) AS s
        WHERE NOT EXISTS (SELECT FROM df._workers w
                          WHERE w.id = (s->>2)::integer AND w.heartbeat > '-infinity'
                            -- A worker of one role does not bury another's, so it has to judge for itself.
                            AND (everyone OR w.id NOT IN (SELECT df._lost())));
END
$$;
COMMENT ON FUNCTION df._strays(integer, text) IS 'Step sessions of workers that are gone, and whose they are.';

-- A step in another database commits there first and is recorded at home afterwards. Where df is installed in the other
-- database too, a receipt commits with the step, so a second attempt finds it and does not run the step again.
CREATE TABLE df.receipts (
    instance_id varchar(8) NOT NULL,
    node integer NOT NULL,
    gen text NOT NULL,
    role regrole NOT NULL,
    value text NOT NULL,
    left_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT receipts_pkey PRIMARY KEY (instance_id, node, gen, role)
);
COMMENT ON TABLE df.receipts IS 'Proofs that steps of instances in other databases have committed here.';
ALTER TABLE df.receipts ENABLE ROW LEVEL SECURITY;

CREATE FUNCTION df._leave_receipt(p_instance text, p_node integer, p_gen text, p_value text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO df.receipts (instance_id, node, gen, role, value)
    VALUES (p_instance, p_node, p_gen, quote_ident(session_user)::regrole, p_value)
$$;
COMMENT ON FUNCTION df._leave_receipt(text, integer, text, text) IS
    'Leaves proof, in the step''s own transaction, that a step of another database''s instance happened.';

CREATE FUNCTION df._receipt(p_instance text, p_node integer, p_gen text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT r.value FROM df.receipts r
    WHERE r.instance_id = p_instance AND r.node = p_node AND r.gen = p_gen
      AND r.role = quote_ident(session_user)::regrole
$$;
COMMENT ON FUNCTION df._receipt(text, integer, text) IS 'The value of a step that has committed here already, or NULL.';
