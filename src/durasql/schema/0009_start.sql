-- 0009 start: from a workflow in any of its forms to an instance, in the caller's own transaction.
--
-- df.start runs with the caller's rights; what a legitimate row entails is done by triggers.

-- An envelope given to df.start; unlike an operand it must be of a known type. NULL if the text is none.
CREATE FUNCTION df._strict_envelope(fut text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    e df._envelope;
    kind text;
    defect text;
BEGIN
    BEGIN
        e := pg_catalog.json_populate_record(NULL::df._envelope, fut::json);
        kind := CASE WHEN pg_catalog.json_typeof(e.node_type) = 'string' THEN e.node_type #>> '{}' END;
        IF kind IS NULL THEN
            RETURN NULL;
        END IF;
        defect := df._level_defect(fut::json, e);
        IF defect IS NULL THEN
            e := df._normal_level(e);
        END IF;
    EXCEPTION
        WHEN statement_too_complex THEN
            RETURN fut;  -- the graph walk says how deep it may be
        WHEN data_exception THEN
            kind := COALESCE(kind, df._unreadable_type(fut));
            defect := SQLERRM;
            IF kind IS NULL THEN
                RETURN NULL;
            END IF;
    END;
    IF kind <> ALL (df._node_types()) THEN
        RAISE EXCEPTION 'Invalid durable function: Unknown node_type ''%''. Valid types: %', kind,
            pg_catalog.array_to_string(df._node_types(), ', ') USING ERRCODE = 'invalid_parameter_value';
    ELSIF defect IS NOT NULL THEN
        RAISE EXCEPTION 'Invalid durable function: Malformed Durofut JSON with node_type ''%'': %', kind, defect
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Build steps with the df functions and operators instead of writing JSON by hand.';
    END IF;
    RETURN df._join_members(e);
END $$;
COMMENT ON FUNCTION df._strict_envelope(text) IS 'The canonical top level of an envelope, NULL for other text, or an error.';

-- In: what df.start and df.explain take: an envelope, operator language, or one SQL statement. Out: an envelope.
CREATE FUNCTION df._parse_workflow(fut text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    made text;
    most bigint := df.setting('max_graph_bytes')::bigint;
BEGIN
    IF pg_catalog.octet_length(fut) > most THEN
        RAISE EXCEPTION 'Invalid durable function: the workflow has % bytes, the maximum is %',
            pg_catalog.octet_length(fut), most
            USING ERRCODE = 'program_limit_exceeded',
                  HINT = 'Keep bulk data in tables. The owner of schema df can raise the setting max_graph_bytes.';
    END IF;
    IF df._is_dsl(fut) THEN
        fut := df._evaluate_dsl(fut);
    END IF;
    IF fut ~ '^[ \t\n\r]*\{' THEN
        made := df._strict_envelope(fut);
    END IF;
    RETURN COALESCE(made, df._sql_step(fut, 'Invalid durable function: '));
END $$;
COMMENT ON FUNCTION df._parse_workflow(text) IS 'The envelope of a workflow given as envelope, operator language or plain SQL.';

CREATE FUNCTION df._check_login() RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
DECLARE
    may_login boolean;
    is_super boolean;
BEGIN
    SELECT r.rolcanlogin, r.rolsuper INTO may_login, is_super FROM pg_catalog.pg_roles r WHERE r.rolname = current_user;
    IF NOT may_login THEN
        RAISE EXCEPTION 'current_user "%" does not have LOGIN privilege. The background worker must connect as this role to execute SQL. Grant LOGIN to this role or call df.start() as a role with LOGIN.', current_user
            USING ERRCODE = 'invalid_authorization_specification',
                  HINT = pg_catalog.format('ALTER ROLE %I LOGIN, or SET ROLE to a role that may log in.', current_user);
    END IF;
    RETURN is_super;
END $$;
COMMENT ON FUNCTION df._check_login() IS 'Refuses a role that workers cannot log in as; tells whether it is a superuser.';

-- Who may start where, in the documented order.
CREATE FUNCTION df._admit(database text) RETURNS void
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF database IS NOT NULL AND NOT EXISTS (SELECT FROM pg_catalog.pg_database d WHERE d.datname = database) THEN
        RAISE EXCEPTION 'database "%" does not exist', database
            USING ERRCODE = 'invalid_catalog_name', HINT = 'SQL steps connect to it; NULL means this database.';
    END IF;
    IF df._check_login() AND COALESCE(pg_catalog.lower(df.setting('enable_superuser_instances')), 'off') NOT IN ('on', 'true', 'yes', '1') THEN
        RAISE EXCEPTION 'pg_durable: superuser instances are disabled. current_user "%" is a superuser, but pg_durable.enable_superuser_instances is off. Set pg_durable.enable_superuser_instances = on to allow this.', current_user
            USING ERRCODE = 'insufficient_privilege',
                  HINT = 'Start workflows as an ordinary role, or: UPDATE df.settings SET value = ''on'' WHERE name = ''enable_superuser_instances''.';
    END IF;
END $$;
COMMENT ON FUNCTION df._admit(text) IS 'Refuses starts into missing databases, by roles that cannot log in and by superusers.';

-- Idle workers listen; busy ones look for work by themselves, so under load a start pays nothing for waking.
CREATE VIEW df._idle WITH (security_barrier) AS SELECT w.id FROM df._workers w WHERE w.idle;
COMMENT ON VIEW df._idle IS 'The numbers of workers that wait to be notified.';

CREATE FUNCTION df._wake() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM df._workers w WHERE w.idle) THEN
        PERFORM pg_notify('df', 'w');
    END IF;
END $$;
COMMENT ON FUNCTION df._wake() IS 'Wakes an idle worker when this transaction commits.';

CREATE FUNCTION df._in_workflow() RETURNS boolean
LANGUAGE sql STABLE
AS $$ SELECT COALESCE(pg_catalog.current_setting('df.in_workflow', true), '') = 'true' $$;
COMMENT ON FUNCTION df._in_workflow() IS 'Whether this session is running a step of a workflow.';

CREATE FUNCTION df._insert_instance(label text, database text, program text, search_path text, me regrole) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    made text;
BEGIN
    FOR attempt IN 1..10 LOOP
        INSERT INTO df.instances AS i (label, database, program, search_path, vars)
        VALUES (label, database, program, search_path,
                (SELECT pg_catalog.jsonb_object_agg(v.name, v.value) FROM df.vars v
                 WHERE v.owner = me AND v.value IS NOT NULL))
        ON CONFLICT (id) DO NOTHING
        RETURNING i.id INTO made;
        IF made IS NOT NULL THEN
            RETURN made;
        END IF;
    END LOOP;
    RAISE EXCEPTION 'Failed to create instance: exhausted 10 attempts to generate a collision-free ID'
        USING ERRCODE = 'program_limit_exceeded', HINT = 'There are too many instances; lower retention_days or retention_count in df.settings.';
END $$;
COMMENT ON FUNCTION df._insert_instance(text, text, text, text, regrole) IS 'A new instance row; returns its random id.';

-- Retention removes a program a day after it marked it unused (0023), so one that was marked lately or never can be
-- named without holding on to it; any other is stored once more, which takes the mark away.
CREATE FUNCTION df._is_stored(me regrole, program text) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT FROM df.programs p WHERE p.owner = me AND p.hash = program
                   AND (p.unused_since IS NULL OR p.unused_since > pg_catalog.now() - interval '12 hours'));
END $$;
COMMENT ON FUNCTION df._is_stored(regrole, text) IS 'Whether a role''s program is stored and will stay for hours.';

CREATE FUNCTION df._start(
    fut text, label text, database text, transaction_mode text, search_path text,
    policy jsonb DEFAULT NULL, key text DEFAULT NULL, on_conflict text DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    me regrole := pg_catalog.quote_ident(current_user)::regrole;
    graph text := fut;
    program text;
    stored boolean;
    welcome boolean;
    made text;
BEGIN
    IF fut IS NULL OR transaction_mode IS DISTINCT FROM 'caller' THEN
        PERFORM df._require(fut, 'df.start', 'fut');
        PERFORM df._require(transaction_mode, 'df.start', 'transaction_mode');
        IF pg_catalog.lower(transaction_mode) = 'new' THEN
            RETURN df._start_new(fut, label, database, search_path, policy, key, on_conflict);
        ELSIF pg_catalog.lower(transaction_mode) <> 'caller' THEN
            RAISE EXCEPTION 'invalid transaction_mode "%" for df.start(): expected ''caller'' or ''new''', transaction_mode
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
    END IF;
    IF key IS NOT NULL OR on_conflict IS NOT NULL THEN
        PERFORM df._check_key(key, on_conflict);
    END IF;
    IF pg_catalog.left(fut, 1) <> '{' THEN
        graph := df._parse_workflow(fut);
    END IF;
    program := pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(graph, 'UTF8')), 'hex');
    -- One question for the usual case: an ordinary role, here, with a program that is stored and will stay.
    SELECT p.hash IS NOT NULL, database IS NULL AND r.rolcanlogin AND NOT r.rolsuper INTO stored, welcome
    FROM pg_catalog.pg_roles r
    LEFT JOIN df.programs p ON p.owner = me AND p.hash = program
              AND (p.unused_since IS NULL OR p.unused_since > pg_catalog.now() - interval '12 hours')
    WHERE r.oid = me;
    -- A text that is stored as a program has been judged before.
    IF NOT stored AND graph = fut THEN
        graph := df._parse_workflow(fut);
        program := df._hash(graph);
    END IF;
    IF welcome IS NOT TRUE THEN
        PERFORM df._admit(database);
    END IF;
    IF NOT stored AND NOT df._is_stored(me, program) THEN
        INSERT INTO df.programs AS p (hash, graph) VALUES (program, graph)
        ON CONFLICT ON CONSTRAINT programs_pkey DO NOTHING RETURNING p.hash INTO made;
        -- No row: somebody else stored it, or this text is another spelling of a stored program.
        program := COALESCE(made, (SELECT df._hash(f.graph) FROM df._flatten(graph) f));
    END IF;
    IF policy IS NULL AND key IS NULL THEN
        made := df._insert_instance(label, database, program, search_path, me);
    ELSE
        made := df._insert_governed(label, database, program, search_path, df._own_vars(me), policy, key, on_conflict);
    END IF;
    PERFORM df._wake();
    RETURN made;
END $$;
COMMENT ON FUNCTION df._start(text, text, text, text, text, jsonb, text, text) IS 'df.start (0024), with the caller''s search_path and its policy.';
