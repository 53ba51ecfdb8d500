-- 0020 privileges: who may do what. Nothing is granted at installation and nothing ever to PUBLIC on the schema: USAGE
-- on schema df is the gate, df.grant_usage opens it. Functions keep PostgreSQL's EXECUTE for PUBLIC behind that gate,
-- except those below.

REVOKE ALL ON FUNCTION df.http(text, text, text, jsonb, integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION df.http_multipart(text, text, jsonb, jsonb, integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION df.metrics() FROM PUBLIC;

-- Whoever may execute a trigger function can hang it on a table of their own and feed it rows of their making; these
-- two act with the owner's rights on whatever instance the row names. Triggers that exist do not ask for EXECUTE.
REVOKE ALL ON FUNCTION df._before_program(), df._on_cancel(), df._on_signal(), df._on_unsetvar() FROM PUBLIC;

-- What a role needs for its own workflows, one privilege and object a row. Columns that carry identity or belong to the
-- engine are in no list: they are filled by defaults and triggers. Nothing but SELECT is granted on a whole table: INSERT,
-- UPDATE or DELETE on one would be the right to LOCK it, against everybody.
CREATE FUNCTION df._usage_privileges() RETURNS TABLE (privilege text, object text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    VALUES ('USAGE', 'SCHEMA df'),
           ('SELECT', 'df.instances'),
           ('INSERT (label, database, program, search_path, vars, policy, key)', 'df.instances'),
           ('UPDATE (status, updated_at, cancel_reason, pause_reason)', 'df.instances'),
           ('SELECT', 'df.programs'),
           ('INSERT (hash, graph)', 'df.programs'),
           ('SELECT', 'df.signals'),
           ('INSERT (instance_id, name, data)', 'df.signals'),
           ('SELECT, INSERT (name, value), UPDATE (value)', 'df.vars'),
           ('SELECT', 'df.journal'),
           ('SELECT', 'df.attempts'),
           ('SELECT', 'df.undos'),
           ('SELECT, INSERT (instance_id, origin, node)', 'df.forks'),
           ('SELECT', 'df._idle'),
           ('SELECT', 'df._nodes'),
           ('SELECT', 'df.nodes'),
           ('SELECT', 'df.waiting')
$$;
COMMENT ON FUNCTION df._usage_privileges() IS 'What df.grant_usage grants to every role.';

CREATE FUNCTION df._http_privileges() RETURNS TABLE (privilege text, object text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    VALUES ('EXECUTE', 'FUNCTION df.http(text, text, text, jsonb, integer)'),
           ('EXECUTE', 'FUNCTION df.http_multipart(text, text, jsonb, jsonb, integer)'),
           ('SELECT, INSERT (name, ciphertext), UPDATE (ciphertext, updated_at)', 'df.secrets')
$$;
COMMENT ON FUNCTION df._http_privileges() IS 'What df.grant_usage grants besides with include_http.';

CREATE FUNCTION df._admin_privileges() RETURNS TABLE (privilege text, object text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    VALUES ('EXECUTE', 'FUNCTION df.grant_usage(text, boolean, boolean)'),
           ('EXECUTE', 'FUNCTION df.revoke_usage(text)'),
           ('EXECUTE', 'FUNCTION df.metrics()'),
           ('SELECT', 'df.workers')
$$;
COMMENT ON FUNCTION df._admin_privileges() IS 'What df.grant_usage grants besides with with_grant.';

-- GRANT and REVOKE by a role that holds a privilege without its grant option only warn and do nothing. Both functions
-- would then report a success that is none, so they ask first.
CREATE FUNCTION df._require_grant_option(include_http boolean, with_grant boolean) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    checked record;
BEGIN
    IF NOT has_schema_privilege('df', 'USAGE WITH GRANT OPTION') THEN
        RAISE EXCEPTION 'permission denied for schema df' USING
            ERRCODE = 'insufficient_privilege',
            HINT = 'An administrator gives the right to grant with df.grant_usage(role, with_grant => true).';
    END IF;
    FOR checked IN
        SELECT substr(p.object, 10) AS function FROM df._http_privileges() AS p WHERE include_http AND p.privilege = 'EXECUTE'
        UNION ALL
        SELECT substr(p.object, 10) FROM df._admin_privileges() AS p WHERE with_grant AND p.privilege = 'EXECUTE'
    LOOP
        IF NOT has_function_privilege(checked.function, 'EXECUTE WITH GRANT OPTION') THEN
            RAISE EXCEPTION 'permission denied for function %', checked.function USING
                ERRCODE = 'insufficient_privilege',
                HINT = format('Role %I may not grant it; nothing was granted.', current_user);
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION df._require_grant_option(boolean, boolean) IS
    'Raises unless the current role can grant what df.grant_usage is asked for.';

CREATE FUNCTION df.grant_usage(p_role text, include_http boolean DEFAULT false, with_grant boolean DEFAULT false)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    option text := CASE WHEN with_grant THEN ' WITH GRANT OPTION' ELSE '' END;
    wanted record;
BEGIN
    IF p_role IS NULL THEN
        RAISE EXCEPTION 'p_role must not be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    PERFORM df._require_grant_option(include_http, with_grant);
    FOR wanted IN
        SELECT * FROM df._usage_privileges()
        UNION ALL SELECT * FROM df._http_privileges() WHERE include_http
        UNION ALL SELECT * FROM df._admin_privileges() WHERE with_grant
    LOOP
        EXECUTE format('GRANT %s ON %s TO %I%s', wanted.privilege, wanted.object, p_role, option);
    END LOOP;
    RAISE NOTICE 'pg_durable: granted df usage privileges to "%"', p_role;
END
$$;
COMMENT ON FUNCTION df.grant_usage(text, boolean, boolean) IS
    'Lets a role run workflows; include_http adds HTTP steps, with_grant lets it grant in turn and read df.metrics.';
REVOKE ALL ON FUNCTION df.grant_usage(text, boolean, boolean) FROM PUBLIC;

-- PostgreSQL's grantor rules do the rest: only what the caller granted goes away, and whatever depends on it.
CREATE FUNCTION df.revoke_usage(p_role text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    unwanted record;
BEGIN
    IF p_role IS NULL THEN
        RAISE EXCEPTION 'p_role must not be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    PERFORM df._require_grant_option(false, false);
    FOR unwanted IN
        SELECT *, true AS may_lack FROM df._admin_privileges()
        UNION ALL SELECT *, true FROM df._http_privileges()
        UNION ALL SELECT *, false FROM df._usage_privileges()
    LOOP
        BEGIN
            EXECUTE format('REVOKE %s ON %s FROM %I CASCADE', unwanted.privilege, unwanted.object, p_role);
        EXCEPTION WHEN insufficient_privilege THEN
            -- A delegated admin need not hold every one of the sensitive functions.
            IF NOT unwanted.may_lack THEN
                RAISE;
            END IF;
        END;
    END LOOP;
    RAISE NOTICE 'pg_durable: revoked df usage privileges granted by "%" from "%"', current_user, p_role;
END
$$;
COMMENT ON FUNCTION df.revoke_usage(text) IS 'Takes back what the current role granted with df.grant_usage.';
REVOKE ALL ON FUNCTION df.revoke_usage(text) FROM PUBLIC;

-- A worker that logs in as a role granted here runs the instances of every role it can also log in as. Without this a
-- worker runs the instances of its own role only.
CREATE FUNCTION df.grant_worker(p_role text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF p_role IS NULL OR p_role = 'public' THEN
        RAISE EXCEPTION 'df.grant_worker needs the name of one role' USING
            ERRCODE = 'invalid_parameter_value',
            HINT = 'A worker with this right can act for every role whose credentials it has; it is never for PUBLIC.';
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA df TO %I', p_role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION df._serve_all() TO %I', p_role);
    RAISE NOTICE 'durasql: workers of "%" may serve every role', p_role;
END
$$;
COMMENT ON FUNCTION df.grant_worker(text) IS 'Lets workers that log in as this role serve the instances of every role.';
REVOKE ALL ON FUNCTION df.grant_worker(text) FROM PUBLIC;

CREATE FUNCTION df.revoke_worker(p_role text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF p_role IS NULL THEN
        RAISE EXCEPTION 'p_role must not be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    -- USAGE on the schema stays: the role may hold it for its own workflows; df.revoke_usage takes it away.
    EXECUTE format('REVOKE EXECUTE ON FUNCTION df._serve_all() FROM %I', p_role);
    RAISE NOTICE 'durasql: workers of "%" serve their own role only', p_role;
END
$$;
COMMENT ON FUNCTION df.revoke_worker(text) IS 'Takes back df.grant_worker.';
REVOKE ALL ON FUNCTION df.revoke_worker(text) FROM PUBLIC;
