-- 0013 claims: instances in a worker's hands, with all that it needs to run them.

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
