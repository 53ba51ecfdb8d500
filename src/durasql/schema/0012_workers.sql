-- 0012 workers: who they are, and what proves it.
--
-- Every function that a worker calls is SECURITY DEFINER, pins its search_path, and proves three things before it acts: the
-- worker knows its token, the logged-in role (session_user, which no SET ROLE changes) may serve the instance's role, and
-- the claim is the current one (worker and epoch). A step's own session may call df._record for its own role only.

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
