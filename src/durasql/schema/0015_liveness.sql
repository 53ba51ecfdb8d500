-- 0015 liveness: what becomes of instances whose worker is gone, drains or has to ask again.

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
