-- 0014 records: the only way anything is written about a run, behind the fence of the claim.

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
        -- What failed may be resumed (0025), so how far loops and retries had come stays.
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
