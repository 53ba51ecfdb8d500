-- 0004 start: from an envelope to a stored program and an instance, and what a role does with its instances.
--
-- In: a workflow as text, in any of its forms. Out: rows of df.programs and df.instances in the caller's own
-- transaction. df.start (0014 has its face) runs with the caller's rights; what a legitimate row entails is done by triggers.
-- Journal values and their jsonb form come from 0006.

INSERT INTO df.settings (name, value, description) VALUES
    ('max_graph_bytes', '16777216', 'largest workflow that df.start accepts, as text'),
    ('loopback_host', '', 'host that df.start(transaction_mode => ''new'') dials; empty means this server''s own socket, then localhost');

-- ---------------------------------------------------------------------------------------------------------
-- Validation: one walk in pre-order that numbers the nodes, checks them and writes the canonical text
-- ---------------------------------------------------------------------------------------------------------

CREATE FUNCTION df._hash(graph text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
AS $$ SELECT pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(graph, 'UTF8')), 'hex') $$;
COMMENT ON FUNCTION df._hash(text) IS 'The identity of a program: SHA-256 of its canonical envelope.';

CREATE FUNCTION df._refuse_graph(path text, message text) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RAISE EXCEPTION 'Invalid durable function graph: %: %', path, message
        USING ERRCODE = CASE WHEN message ~ ' exceeds maximum ' THEN '54000' ELSE '22023' END,
              HINT = CASE
                  WHEN message ~ ' exceeds maximum ' THEN 'The limit is part of the language and the same everywhere; it is not a setting. Group long sequences, as in'
                      ' (a ~> b) ~> (c ~> d), work on many rows in one statement or a loop, or let a step start the rest with df.start().'
                  ELSE 'Build steps with the df functions and operators instead of writing JSON by hand.'
              END;
END $$;
COMMENT ON FUNCTION df._refuse_graph(text, text) IS 'Refuses a graph, naming the node.';

-- What df.nodes would not accept as a row of its own is a check violation, as if the constraint were there.
CREATE FUNCTION df._refuse_shape(path text, message text) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    rule text := CASE WHEN message LIKE 'result_name%' THEN 'nodes_result_name_chk' ELSE 'nodes_structure_chk' END;
BEGIN
    RAISE EXCEPTION 'new row for relation "nodes" violates check constraint "%"', rule
        USING ERRCODE = 'check_violation', SCHEMA = 'df', TABLE = 'nodes', CONSTRAINT = rule,
              DETAIL = pg_catalog.format('%s: %s', path, message),
              HINT = 'Build steps with the df functions and operators instead of writing JSON by hand.';
END $$;
COMMENT ON FUNCTION df._refuse_shape(text, text) IS 'Refuses a node that its type does not allow.';

-- The query of an IF, LOOP or JOIN is a JSON configuration.
CREATE FUNCTION df._config_defect(kind text, query text, needed boolean) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    config jsonb;
    old text := CASE kind WHEN 'JOIN' THEN 'extra_nodes' ELSE 'condition_node' END;
BEGIN
    config := query::jsonb;
    IF pg_catalog.jsonb_typeof(config) <> 'object' THEN
        RETURN CASE WHEN needed THEN pg_catalog.format('query in %s must be a JSON config object', kind) END;
    ELSIF config ? old THEN
        RETURN pg_catalog.format('%s in %s must be a first-class Durofut field, not embedded in query', old, kind);
    END IF;
    RETURN NULL;
EXCEPTION
    WHEN data_exception OR statement_too_complex THEN
        RETURN CASE WHEN needed THEN pg_catalog.format('query in %s must be valid JSON config: %s', kind, SQLERRM) END;
END $$;
COMMENT ON FUNCTION df._config_defect(text, text, boolean) IS 'What is wrong with the configuration of a composite, or NULL.';

-- What the walk itself refuses, or NULL. `node` holds no JSON nulls at its own level.
CREATE FUNCTION df._graph_defect(node jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    kind text := node ->> 'node_type';
BEGIN
    IF kind <> ALL (df._node_types()) THEN
        RETURN pg_catalog.format('Unknown node_type ''%s''. Valid types: %s', kind,
            pg_catalog.array_to_string(df._node_types(), ', '));
    ELSIF node ? 'condition_node' AND kind NOT IN ('IF', 'LOOP') THEN
        RETURN pg_catalog.format('condition_node is not valid for %s nodes', kind);
    ELSIF node ? 'extra_nodes' AND kind <> 'JOIN' AND node -> 'extra_nodes' <> '[]' THEN
        RETURN pg_catalog.format('extra_nodes is not valid for %s nodes', kind);
    ELSIF node ? 'query' AND pg_catalog.jsonb_typeof(node -> 'query') <> 'string' THEN
        RETURN 'failed to deserialize Durofut child: query must be a string';
    ELSIF node ? 'result_name' AND pg_catalog.jsonb_typeof(node -> 'result_name') <> 'string' THEN
        RETURN 'failed to deserialize Durofut child: result_name must be a string';
    ELSIF node ? 'left_node' AND pg_catalog.jsonb_typeof(node -> 'left_node') <> 'object'
       OR node ? 'right_node' AND pg_catalog.jsonb_typeof(node -> 'right_node') <> 'object' THEN
        RETURN 'Durofut children must be JSON objects';
    ELSIF node ? 'condition_node' AND pg_catalog.jsonb_typeof(node -> 'condition_node') <> 'object' THEN
        RETURN 'condition_node must be a Durofut JSON object';
    ELSIF node ? 'extra_nodes' AND (pg_catalog.jsonb_typeof(node -> 'extra_nodes') <> 'array'
       OR EXISTS (SELECT FROM pg_catalog.jsonb_array_elements(node -> 'extra_nodes') x
                  WHERE pg_catalog.jsonb_typeof(x) <> 'object')) THEN
        RETURN 'extra_nodes entries must be Durofut JSON objects';
    ELSIF node ? 'query' AND kind IN ('IF', 'LOOP', 'JOIN') THEN
        RETURN df._config_defect(kind, node ->> 'query',
            node ? 'condition_node' OR COALESCE(node -> 'extra_nodes', '[]') <> '[]');
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION df._graph_defect(jsonb) IS 'Why a node is refused by the graph walk, or NULL.';

CREATE FUNCTION df._shape_defect(node jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    kind text := node ->> 'node_type';
    has_both boolean := node ? 'left_node' AND node ? 'right_node';
BEGIN
    IF node ->> 'result_name' !~ '^[a-zA-Z_][a-zA-Z0-9_]*$' THEN
        RETURN pg_catalog.format('result_name ''%s'' is not a valid identifier', node ->> 'result_name');
    ELSIF kind IN ('THEN', 'RACE') THEN
        IF NOT has_both OR node ? 'query' THEN
            RETURN kind || ' needs left_node and right_node and no query';
        END IF;
    ELSIF kind = 'LOOP' THEN
        IF NOT node ? 'left_node' OR node ? 'right_node' THEN
            RETURN 'LOOP needs left_node and no right_node';
        END IF;
        RETURN df._loop_defect(node ->> 'query');
    ELSIF kind IN ('RETRY', 'TIMEOUT', 'CATCH', 'FINALLY', 'UNDO') THEN
        RETURN df._guard_defect(kind, node);
    ELSIF kind IN ('IF', 'JOIN') THEN
        IF NOT has_both THEN
            RETURN kind || ' needs left_node and right_node';
        ELSIF kind = 'IF' AND NOT node ? 'condition_node' AND NOT node ? 'query' THEN
            RETURN 'IF needs a condition_node or a configuration';
        END IF;
    ELSIF NOT node ? 'query' OR node ? 'left_node' OR node ? 'right_node' THEN
        RETURN kind || ' needs a query and no children';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION df._shape_defect(jsonb) IS 'Why a node has not the members that its type needs, or NULL.';

CREATE FUNCTION df._node_path(parents integer[], steps text[], number integer) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    path text := '';
BEGIN
    WHILE number > 0 LOOP
        path := steps[number] || path;
        number := parents[number];
    END LOOP;
    RETURN 'root' || path;
END $$;
COMMENT ON FUNCTION df._node_path(integer[], text[], integer) IS 'The place of a node, such as root.left.extra_nodes[3].';

-- A key that comes twice is invisible in jsonb, so text that is not canonical is walked once more as json.
CREATE FUNCTION df._refuse_repeated_keys(envelope text) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    place text;
    field text;
BEGIN
    WITH RECURSIVE tree (path, node) AS (
        SELECT 'root', envelope::json
        UNION ALL
        SELECT t.path || c.step, c.child
        FROM tree t, LATERAL (
            SELECT '.left', t.node -> 'left_node'
            UNION ALL SELECT '.right', t.node -> 'right_node'
            UNION ALL SELECT '.condition_node', t.node -> 'condition_node'
            UNION ALL SELECT pg_catalog.format('.extra_nodes[%s]', x.at - 1), x.child
            FROM pg_catalog.json_array_elements(
                CASE WHEN pg_catalog.json_typeof(t.node -> 'extra_nodes') = 'array' THEN t.node -> 'extra_nodes' END
            ) WITH ORDINALITY x (child, at)
        ) c (step, child)
        WHERE pg_catalog.json_typeof(c.child) = 'object'
    )
    SELECT t.path, k INTO place, field
    FROM tree t, pg_catalog.json_object_keys(t.node) k
    WHERE k IN ('node_type', 'left_node', 'right_node', 'condition_node', 'extra_nodes', 'query', 'result_name')
    GROUP BY t.path, k HAVING pg_catalog.count(*) > 1 LIMIT 1;
    IF place IS NOT NULL THEN
        PERFORM df._refuse_graph(place, pg_catalog.format('failed to deserialize Durofut child: duplicate field `%s`', field));
    END IF;
END $$;
COMMENT ON FUNCTION df._refuse_repeated_keys(text) IS 'Refuses an envelope in which a member comes twice.';

CREATE FUNCTION df._read_graph(envelope text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN envelope::jsonb;
EXCEPTION
    WHEN statement_too_complex THEN
        PERFORM df._refuse_graph('root', 'Graph exceeds maximum nesting depth of 256.'
            ' Simplify the workflow or break it into multiple instances.');
    WHEN data_exception OR program_limit_exceeded THEN
        PERFORM df._refuse_graph('root', 'failed to deserialize Durofut child: ' || SQLERRM);
END $$;
COMMENT ON FUNCTION df._read_graph(text) IS 'An envelope as jsonb, or the error that the graph walk would give.';

-- The walk. `stack` items are nodes with the text that comes before them, or (node NULL) text alone; a node's
-- closing text waits below its children. Node numbers begin at 0, arrays at 1.
CREATE FUNCTION df._flatten(envelope text, OUT graph text, OUT nodes jsonb)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    stack jsonb[] := ARRAY[df._read_graph(envelope)];
    stack_text text[] := '{""}';
    stack_slot text[] := '{""}';
    stack_step text[] := '{""}';
    stack_parent integer[] := '{-1}';
    stack_depth integer[] := '{0}';
    top integer := 1;
    node jsonb;
    kind text;
    number integer := -1;
    depth integer;
    parent integer;
    slot text;
    defect text;
    extras integer;
    pieces text[] := '{}';
    parents integer[] := '{}';
    steps text[] := '{}';
    rows text[] := '{}';
    extra_rows text[] := '{}';
    child record;
BEGIN
    WHILE top > 0 LOOP
        node := stack[top];
        IF node IS NULL THEN
            pieces := pieces || stack_text[top];
            top := top - 1;
            CONTINUE;
        END IF;

        -- number it
        number := number + 1;
        depth := stack_depth[top];
        parent := stack_parent[top];
        slot := stack_slot[top];
        parents[number] := parent;
        steps[number] := stack_step[top];
        IF depth > 256 THEN
            PERFORM df._refuse_graph(df._node_path(parents, steps, number), 'Graph exceeds maximum nesting depth of 256.'
                ' Simplify the workflow or break it into multiple instances.');
        ELSIF number >= 10000 THEN
            PERFORM df._refuse_graph(df._node_path(parents, steps, number), 'Workflow exceeds maximum node count of 10000.'
                ' Simplify the workflow or break it into multiple instances.');
        END IF;

        -- check it
        IF pg_catalog.jsonb_typeof(node -> 'node_type') IS DISTINCT FROM 'string' THEN
            PERFORM df._refuse_graph(df._node_path(parents, steps, number),
                'failed to deserialize Durofut child: missing field `node_type`');
        ELSIF node -> 'query' = 'null' OR node -> 'result_name' = 'null' OR node -> 'left_node' = 'null'
           OR node -> 'right_node' = 'null' OR node -> 'condition_node' = 'null' OR node -> 'extra_nodes' = 'null' THEN
            SELECT pg_catalog.jsonb_object_agg(m.key, m.value) INTO node
            FROM pg_catalog.jsonb_each(node) m WHERE m.value <> 'null';
        END IF;
        defect := df._graph_defect(node);
        IF defect IS NOT NULL THEN
            PERFORM df._refuse_graph(df._node_path(parents, steps, number), defect);
        END IF;
        defect := df._shape_defect(node);
        IF defect IS NOT NULL THEN
            PERFORM df._refuse_shape(df._node_path(parents, steps, number), defect);
        END IF;

        -- write it
        kind := node ->> 'node_type';
        extras := COALESCE(pg_catalog.jsonb_array_length(node -> 'extra_nodes'), 0);
        pieces := pieces || (stack_text[top] || '{"node_type":"' || kind || '"');
        rows[number] := '{"t":"' || kind || '"'
            || COALESCE(',"q":' || pg_catalog.to_json(node ->> 'query')::text, '')
            || COALESCE(',"n":"' || (node ->> 'result_name') || '"', '')
            || CASE WHEN parent >= 0 THEN ',"p":' || parent::text ELSE '' END;
        IF slot = 'x' THEN
            extra_rows[parent] := COALESCE(extra_rows[parent] || ',', '') || number::text;
        ELSIF slot <> '' THEN
            rows[parent] := rows[parent] || ',"' || slot || '":' || number::text;
        END IF;

        -- put its end and its children on the stack, the first child on top
        stack[top] := NULL;
        stack_text[top] := CASE WHEN extras > 0 THEN ']' ELSE '' END
            || COALESCE(',"query":' || pg_catalog.to_json(node ->> 'query')::text, '')
            || COALESCE(',"result_name":"' || (node ->> 'result_name') || '"', '') || '}';
        IF extras > 0 THEN
            FOR child IN SELECT x.value, x.at - 1 AS at
                         FROM pg_catalog.jsonb_array_elements(node -> 'extra_nodes') WITH ORDINALITY x (value, at)
                         ORDER BY x.at DESC LOOP
                top := top + 1;
                stack[top] := child.value;
                stack_text[top] := CASE WHEN child.at = 0 THEN ',"extra_nodes":[' ELSE ',' END;
                stack_slot[top] := 'x';
                stack_step[top] := '.extra_nodes[' || child.at::text || ']';
                stack_parent[top] := number;
                stack_depth[top] := depth + 1;
            END LOOP;
        END IF;
        IF node ? 'condition_node' THEN
            top := top + 1;
            stack[top] := node -> 'condition_node';
            stack_text[top] := ',"condition_node":';
            stack_slot[top] := 'c';
            stack_step[top] := '.condition_node';
            stack_parent[top] := number;
            stack_depth[top] := depth + 1;
        END IF;
        IF node ? 'right_node' THEN
            top := top + 1;
            stack[top] := node -> 'right_node';
            stack_text[top] := ',"right_node":';
            stack_slot[top] := 'r';
            stack_step[top] := '.right';
            stack_parent[top] := number;
            stack_depth[top] := depth + 1;
        END IF;
        IF node ? 'left_node' THEN
            top := top + 1;
            stack[top] := node -> 'left_node';
            stack_text[top] := ',"left_node":';
            stack_slot[top] := 'l';
            stack_step[top] := '.left';
            stack_parent[top] := number;
            stack_depth[top] := depth + 1;
        END IF;
    END LOOP;

    graph := pg_catalog.array_to_string(pieces, '');
    IF graph <> envelope THEN
        PERFORM df._refuse_repeated_keys(envelope);
    END IF;
    FOR at IN 0..number LOOP
        rows[at] := rows[at] || COALESCE(',"x":[' || extra_rows[at] || ']', '') || '}';
    END LOOP;
    nodes := ('[' || pg_catalog.array_to_string(rows, ',') || ']')::jsonb;
END $$;
COMMENT ON FUNCTION df._flatten(text) IS 'A validated graph: its canonical text and its numbered nodes.';

-- Somebody may be storing a program that is there already: another session, another spelling, or a program that
-- retention is about to remove. Taking its mark away holds on to the row; if it is removed first, this waits and the row
-- is stored anew. `owner` is a default that nobody can name, so this reaches only the caller's own.
CREATE FUNCTION df._before_program() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT f.graph, f.nodes INTO STRICT NEW.graph, NEW.nodes FROM df._flatten(NEW.graph) f;
    NEW.hash := df._hash(NEW.graph);
    UPDATE df.programs p SET unused_since = NULL
    WHERE p.owner = NEW.owner AND p.hash = NEW.hash AND p.unused_since IS NOT NULL;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION df._before_program() IS 'Validates a program before it is stored; what the inserter claims about it does not count.';

CREATE TRIGGER programs_validate BEFORE INSERT ON df.programs
    FOR EACH ROW EXECUTE FUNCTION df._before_program();

-- ---------------------------------------------------------------------------------------------------------
-- Starting
-- ---------------------------------------------------------------------------------------------------------

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

-- Retention removes a program a day after it marked it unused (0012), so one that was marked lately or never can be
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
COMMENT ON FUNCTION df._start(text, text, text, text, text, jsonb, text, text) IS 'df.start (0014), with the caller''s search_path and its policy.';

-- ---------------------------------------------------------------------------------------------------------
-- transaction_mode => 'new': the same start in a second session of the same role
-- ---------------------------------------------------------------------------------------------------------

-- Slots are session locks: class 0x50474446, object = slot number. Released by the caller or with its session.
CREATE FUNCTION df._take_launch_slot() RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    most integer := COALESCE(df.setting('max_new_transaction_starts'), '2')::integer;
    patience integer := COALESCE(df.setting('new_transaction_start_timeout'), '5')::integer;
    deadline timestamptz := pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => patience);
BEGIN
    LOOP
        FOR slot IN 1..most LOOP
            IF pg_catalog.pg_try_advisory_lock(1346982470, slot) THEN
                RETURN slot;
            END IF;
        END LOOP;
        IF pg_catalog.clock_timestamp() >= deadline THEN
            RAISE EXCEPTION 'pg_durable: transaction_mode => ''new'' launch limit reached (max_new_transaction_starts=%). Timed out after %s waiting for a launch slot before opening the loopback session.', most, patience
                USING ERRCODE = 'too_many_connections',
                      HINT = 'Try again, or raise max_new_transaction_starts in df.settings.';
        END IF;
        PERFORM pg_catalog.pg_sleep(0.1);
    END LOOP;
END $$;
COMMENT ON FUNCTION df._take_launch_slot() IS 'Waits for one of the launch slots and takes it.';

CREATE FUNCTION df._dblink_schema() RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    place text := (SELECT n.nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
                   WHERE e.extname = 'dblink');
BEGIN
    IF place IS NULL THEN
        RAISE EXCEPTION 'df.start() with transaction_mode => ''new'' needs the extension dblink, which is not installed in this database'
            USING ERRCODE = 'feature_not_supported',
                  HINT = 'Have a superuser run CREATE EXTENSION dblink, or call df.start() in a session of your own.';
    END IF;
    RETURN place;
END $$;
COMMENT ON FUNCTION df._dblink_schema() IS 'Where dblink is installed, or an error with the remedy.';

CREATE FUNCTION df._dsn(host text) RETURNS text
LANGUAGE sql STABLE
AS $$
    SELECT pg_catalog.string_agg(o.key || '=''' || pg_catalog.replace(pg_catalog.replace(o.value, '\', '\\'), '''', '\''') || '''', ' ')
    FROM (VALUES ('host', host), ('port', pg_catalog.current_setting('port')), ('dbname', pg_catalog.current_database()::text),
                 ('user', current_user::text), ('application_name', 'pg_durable:backend:new-transaction'),
                 ('connect_timeout', '10')) o (key, value)
    WHERE o.value IS NOT NULL
$$;
COMMENT ON FUNCTION df._dsn(text) IS 'How the current role reaches this database through a host; NULL means the default socket.';

-- A foreign server named df_loopback says how to connect, with passwords in user mappings. Without one the session's
-- own server is dialled; PostgreSQL then demands EXECUTE on dblink_connect_u from roles that are no superusers.
-- Ordinary roles may not see where the server's socket is, so its default place is tried, then localhost.
CREATE FUNCTION df._open_loopback(dblink text, connection text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    opener text := CASE WHEN pg_catalog.has_function_privilege(pg_catalog.format('%I.dblink_connect_u(text,text)', dblink), 'EXECUTE')
                   THEN 'dblink_connect_u' ELSE 'dblink_connect' END;
    host text := COALESCE(NULLIF(df.setting('loopback_host'), ''), pg_catalog.host(pg_catalog.inet_server_addr()));
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_foreign_server s WHERE s.srvname = 'df_loopback') THEN
        EXECUTE pg_catalog.format('SELECT %I.dblink_connect($1, $2)', dblink) USING connection, 'df_loopback'::text;
        RETURN;
    END IF;
    BEGIN
        EXECUTE pg_catalog.format('SELECT %I.%I($1, $2)', dblink, opener) USING connection, df._dsn(host);
    EXCEPTION WHEN sqlclient_unable_to_establish_sqlconnection THEN
        IF host IS NOT NULL THEN
            RAISE;
        END IF;
        EXECUTE pg_catalog.format('SELECT %I.%I($1, $2)', dblink, opener) USING connection, df._dsn('localhost');
    END;
END $$;
COMMENT ON FUNCTION df._open_loopback(text, text) IS 'Opens a second session of this role in this database.';

CREATE FUNCTION df._launch(dblink text, connection text, command text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    made text;
    busy integer;
    pause double precision := 0.001;
BEGIN
    PERFORM df._open_loopback(dblink, connection);
    EXECUTE pg_catalog.format('SELECT %I.dblink_exec($1, $2)', dblink) USING connection,
        'SET lock_timeout = 30000; SET statement_timeout = 30000; SET df.in_workflow = ''false''';
    -- dblink's own waiting cannot be interrupted, so this polls.
    EXECUTE pg_catalog.format('SELECT %I.dblink_send_query($1, $2)', dblink) USING connection, command;
    LOOP
        EXECUTE pg_catalog.format('SELECT %I.dblink_is_busy($1)', dblink) INTO busy USING connection;
        EXIT WHEN busy = 0;
        PERFORM pg_catalog.pg_sleep(pause);
        pause := LEAST(pause * 1.5, 0.05);
    END LOOP;
    EXECUTE pg_catalog.format('SELECT t.id FROM %I.dblink_get_result($1) AS t (id text)', dblink) INTO made USING connection;
    RETURN made;
EXCEPTION WHEN query_canceled THEN
    EXECUTE pg_catalog.format('SELECT %I.dblink_cancel_query($1) WHERE $1 = ANY (%1$I.dblink_get_connections())', dblink) USING connection;
    RAISE;
END $$;
COMMENT ON FUNCTION df._launch(text, text, text) IS 'Runs df.start in a second session and returns the instance id.';

CREATE FUNCTION df._launch_failure(state text, message text, context text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN state = '55P03' THEN 'df.start() on new transaction failed: launch hit lock_timeout after 30000ms'
        WHEN state = '57014' AND pg_catalog.strpos(context, 'dblink connection') > 0
            THEN 'df.start() on new transaction failed: launch hit statement_timeout after 30000ms'
        WHEN state IN ('57014', '57P01') THEN message
        ELSE 'df.start() on new transaction failed: ' || message
    END
$$;
COMMENT ON FUNCTION df._launch_failure(text, text, text) IS 'What to say about a launch that failed.';

CREATE FUNCTION df._start_new(fut text, label text, database text, search_path text, policy jsonb, key text, on_conflict text)
RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    connection text := 'df_start_' || pg_catalog.pg_backend_pid();
    dblink text;
    slot integer;
    made text;
    state text; message text; detail text; hint text; context text;
BEGIN
    IF df._in_workflow() THEN
        RAISE EXCEPTION 'df.start() with transaction_mode => ''new'' cannot be called inside a workflow - a df.sql() node already runs as a single autocommitted statement, so use the default mode'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    PERFORM df._check_login();
    dblink := df._dblink_schema();
    slot := df._take_launch_slot();
    BEGIN
        made := df._launch(dblink, connection, pg_catalog.format(
            'SELECT df._start(%L, %L, %L, ''caller'', %L, %L, %L, %L)', fut, label, database, search_path, policy, key, on_conflict));
    EXCEPTION WHEN OTHERS OR query_canceled THEN
        GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
            hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
    END;
    PERFORM pg_catalog.pg_advisory_unlock(1346982470, slot);
    EXECUTE pg_catalog.format('SELECT %I.dblink_disconnect($1) WHERE $1 = ANY (%1$I.dblink_get_connections())', dblink) USING connection;
    IF state IS NOT NULL THEN
        PERFORM df._raise(state, df._launch_failure(state, message, context), detail, CASE
            WHEN state = '2F003' THEN pg_catalog.format(
                'Create a foreign server df_loopback (FOREIGN DATA WRAPPER dblink_fdw) with a user mapping that has a password, or GRANT EXECUTE ON FUNCTION %I.dblink_connect_u(text,text) TO %I.', dblink, current_user)
            ELSE hint END);
    END IF;
    RETURN made;
END $$;
COMMENT ON FUNCTION df._start_new(text, text, text, text, jsonb, text, text) IS 'df.start in a transaction of its own, which outlives the caller''s.';

-- ---------------------------------------------------------------------------------------------------------
-- Looking and waiting
-- ---------------------------------------------------------------------------------------------------------

CREATE FUNCTION df.status(instance_id text) RETURNS text
LANGUAGE sql STRICT SET search_path = pg_catalog, pg_temp
AS $$ SELECT i.status FROM df.instances i WHERE i.id = instance_id $$;
COMMENT ON FUNCTION df.status(text) IS
    'pending, running, paused, completed, failed, cancelled, compensated or stuck; NULL for an unknown instance.';

-- Either the output, or the root node's own value: a break outside any loop completes the root of a failed instance.
CREATE FUNCTION df.result(instance_id text) RETURNS text
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    value text;
BEGIN
    SELECT CASE WHEN i.status = 'completed' AND i.output IS NOT NULL THEN i.output
                WHEN EXISTS (SELECT FROM df.journal j WHERE j.instance_id = i.id AND j.node = 0 AND j.state IN ('done', 'broken'))
                THEN df._node_value(i.id, 0) END
    INTO value FROM df.instances i WHERE i.id = result.instance_id;
    RETURN df._as_jsonb(value)::text;
END $$;
COMMENT ON FUNCTION df.result(text) IS 'The result of a workflow as jsonb text; NULL while it runs and when it failed.';

CREATE FUNCTION df.error(instance_id text) RETURNS text
LANGUAGE sql STRICT SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN i.status IN ('failed', 'compensated', 'stuck') THEN i.output
                WHEN i.status = 'cancelled' THEN 'canceled: ' || COALESCE(i.cancel_reason, 'Cancelled by user') END
    FROM df.instances i WHERE i.id = instance_id
$$;
COMMENT ON FUNCTION df.error(text) IS 'Why a workflow failed, was undone, is stuck or was cancelled; NULL otherwise.';

CREATE FUNCTION df._await(instance_id text, timeout_seconds integer, name text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    deadline timestamptz := pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => timeout_seconds);
    pause double precision := 0.0005;
    now_status text;
BEGIN
    IF df._in_workflow() THEN
        RAISE EXCEPTION '%() cannot be called inside a workflow - it would block a worker thread that other workflows need', name
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Let the other workflow send a signal, and wait with df.wait_for_signal().';
    ELSIF timeout_seconds <= 0 THEN
        RAISE EXCEPTION 'Timeout must be positive' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    LOOP
        SELECT i.status INTO now_status FROM df.instances i WHERE i.id = _await.instance_id;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'Instance not found: %', instance_id
                USING ERRCODE = 'no_data_found', HINT = 'Pass the id that df.start returned, not a label.';
        ELSIF now_status IN ('completed', 'failed', 'cancelled', 'compensated', 'stuck') THEN
            RETURN df._mark_helper('df.await_instance', now_status);
        ELSIF pg_catalog.clock_timestamp() >= deadline THEN
            RAISE EXCEPTION 'Timeout after %s waiting for instance % (status: %). Check if background worker is running.',
                timeout_seconds, instance_id, now_status
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = CASE WHEN pg_catalog.current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted')
                             THEN 'This transaction sees one snapshot; wait in READ COMMITTED or outside the transaction.'
                             WHEN now_status = 'paused' THEN pg_catalog.format('SELECT df.resume(''%s'') lets it go on.', instance_id)
                             ELSE 'Start one with: durasql worker. An instance started in this same transaction cannot begin before it commits.' END;
        END IF;
        PERFORM pg_catalog.pg_sleep(LEAST(pause, GREATEST(EXTRACT(epoch FROM deadline - pg_catalog.clock_timestamp()), 0)));
        pause := LEAST(pause * 1.1, 0.1);
    END LOOP;
END $$;
COMMENT ON FUNCTION df._await(text, integer, text) IS 'Polls until an instance is over.';

CREATE FUNCTION df.await_instance(instance_id text, timeout_seconds integer DEFAULT 30) RETURNS text
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp
AS $$ BEGIN RETURN df._await(instance_id, timeout_seconds, 'df.await_instance'); END $$;
COMMENT ON FUNCTION df.await_instance(text, integer) IS 'Waits until an instance is over; returns its status.';

CREATE FUNCTION df.wait_for_completion(instance_id text, timeout_seconds integer DEFAULT 30) RETURNS text
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE WARNING 'df.wait_for_completion() is deprecated; use df.await_instance() instead';
    RETURN df._await(instance_id, timeout_seconds, 'df.wait_for_completion');
END $$;
COMMENT ON FUNCTION df.wait_for_completion(text, integer) IS 'Old name of df.await_instance.';

CREATE FUNCTION df.run(instance_id text DEFAULT NULL) RETURNS text
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$ SELECT COALESCE('Triggered run for instance: ' || instance_id, 'Triggered run for all pending instances') $$;
COMMENT ON FUNCTION df.run(text) IS 'Does nothing; workers find instances by themselves.';

CREATE FUNCTION df.version() RETURNS text
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$ SELECT '0.1.0 (built 2026-11-21T00:00:00Z)'::text $$;
COMMENT ON FUNCTION df.version() IS 'The durasql that installed this schema.';

CREATE FUNCTION df.target_database() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT current_database()::text $$;
COMMENT ON FUNCTION df.target_database() IS 'The database whose df schema this is.';

-- ---------------------------------------------------------------------------------------------------------
-- Cancelling and signalling: the row of the role, then what follows from it
-- ---------------------------------------------------------------------------------------------------------

CREATE FUNCTION df._require_instance(instance_id text) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    now_status text;
BEGIN
    SELECT i.status INTO now_status FROM df.instances i WHERE i.id = _require_instance.instance_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'Instance not found or access denied: %', instance_id
            USING ERRCODE = 'no_data_found', HINT = 'Pass the id that df.start returned, not a label.';
    END IF;
    RETURN now_status;
END $$;
COMMENT ON FUNCTION df._require_instance(text) IS 'The status of an instance that the caller may see, or an error.';

CREATE FUNCTION df.cancel(instance_id text, reason text DEFAULT 'Cancelled by user') RETURNS text
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM df._require_instance(instance_id);
    UPDATE df.instances i SET status = 'cancelled', cancel_reason = reason, updated_at = clock_timestamp()
    WHERE i.id = cancel.instance_id AND i.status IN ('pending', 'running', 'paused');
    RETURN format('Instance %s cancelled: %s', instance_id, reason);
END $$;
COMMENT ON FUNCTION df.cancel(text, text) IS 'Cancels an instance when the transaction commits; one that is over stays as it is.';

-- The raised epoch makes the holder's next journal write fail, and the notification makes it stop at once.
CREATE FUNCTION df._on_cancel() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.epoch := OLD.epoch + 1;
    NEW.due := NULL;
    NEW.worker := NULL;
    NEW.cancel_reason := COALESCE(NEW.cancel_reason, 'Cancelled by user');
    DELETE FROM df.signals s WHERE s.instance_id = OLD.id;
    PERFORM pg_notify('df', 'c:' || OLD.id);
    RETURN NEW;
END $$;
COMMENT ON FUNCTION df._on_cancel() IS 'Takes a cancelled instance out of its worker''s hands.';

CREATE TRIGGER instances_cancel BEFORE UPDATE OF status ON df.instances
    FOR EACH ROW WHEN (NEW.status = 'cancelled' AND OLD.status IN ('pending', 'running', 'paused'))
    EXECUTE FUNCTION df._on_cancel();

CREATE FUNCTION df.signal(instance_id text, signal_name text, signal_data text DEFAULT '{}') RETURNS text
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF instance_id = '' THEN
        RAISE EXCEPTION 'Instance ID cannot be empty' USING ERRCODE = 'invalid_parameter_value';
    ELSIF signal_name = '' THEN
        RAISE EXCEPTION 'Signal name cannot be empty' USING ERRCODE = 'invalid_parameter_value';
    ELSIF df._require_instance(instance_id) IN ('pending', 'running', 'paused') THEN
        INSERT INTO df.signals (instance_id, name, data) VALUES (instance_id, signal_name, signal_data);
    END IF;
    RETURN 'OK';
END $$;
COMMENT ON FUNCTION df.signal(text, text, text) IS 'Puts a signal into the inbox of an instance when the transaction commits.';

-- Locking the instance first orders the signal before or after a worker's putting it back: either the worker sees
-- the signal, or the signal sees that the worker let go. Deferred, so that the lock is held only while committing.
CREATE FUNCTION df._on_signal() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM df.instances i WHERE i.id = NEW.instance_id FOR NO KEY UPDATE;
    UPDATE df.instances i SET due = clock_timestamp()
    WHERE i.id = NEW.instance_id AND i.worker IS NULL AND i.status IN ('pending', 'running')
      AND (i.due IS NULL OR i.due > clock_timestamp());
    PERFORM pg_notify('df', 's:' || NEW.instance_id);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION df._on_signal() IS 'Wakes the instance that a signal was sent to.';

CREATE CONSTRAINT TRIGGER signals_wake AFTER INSERT ON df.signals
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION df._on_signal();

-- ---------------------------------------------------------------------------------------------------------
-- Variables
-- ---------------------------------------------------------------------------------------------------------

CREATE FUNCTION df._forbid_in_workflow(name text, advice text) RETURNS void
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF df._in_workflow() THEN
        RAISE EXCEPTION '%() cannot be called inside a workflow - %', name, advice
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Name a step''s result with |=> and use $name in later steps.';
    END IF;
END $$;
COMMENT ON FUNCTION df._forbid_in_workflow(text, text) IS 'Refuses a call from a running step.';

CREATE FUNCTION df.setvar(name text, value text) RETURNS text
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM df._forbid_in_workflow('df.setvar', 'set variables before starting the workflow');
    INSERT INTO df.vars (name, value) VALUES (name, value)
    ON CONFLICT ON CONSTRAINT vars_pkey DO UPDATE SET value = excluded.value;
    RETURN df._mark_helper('df.setvar', 'OK');
END $$;
COMMENT ON FUNCTION df.setvar(text, text) IS 'Sets a variable of the current role, for {name} in workflows started later.';

CREATE FUNCTION df.getvar(name text) RETURNS text
LANGUAGE sql STRICT SET search_path = pg_catalog, pg_temp
AS $$
    SELECT v.value FROM df.vars v WHERE v.owner = quote_ident(current_user)::regrole AND v.name = getvar.name
$$;
COMMENT ON FUNCTION df.getvar(text) IS 'A variable of the current role, or NULL.';

-- DELETE cannot be granted by column, and whoever may delete from a table may lock it against everybody's df.start. So a
-- role takes away the value, and the row goes with it.
CREATE FUNCTION df._on_unsetvar() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM df.vars v WHERE v.owner = NEW.owner AND v.name = NEW.name;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION df._on_unsetvar() IS 'Removes a variable that has lost its value.';

CREATE TRIGGER vars_remove AFTER UPDATE OF value ON df.vars
    FOR EACH ROW WHEN (NEW.value IS NULL) EXECUTE FUNCTION df._on_unsetvar();

CREATE FUNCTION df.unsetvar(name text) RETURNS text
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM df._forbid_in_workflow('df.unsetvar', 'manage variables before starting the workflow');
    UPDATE df.vars v SET value = NULL WHERE v.owner = quote_ident(current_user)::regrole AND v.name = unsetvar.name;
    RETURN df._mark_helper('df.unsetvar', 'OK');
END $$;
COMMENT ON FUNCTION df.unsetvar(text) IS 'Removes a variable of the current role.';

CREATE FUNCTION df.clearvars() RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM df._forbid_in_workflow('df.clearvars', 'manage variables before starting the workflow');
    UPDATE df.vars v SET value = NULL WHERE v.owner = quote_ident(current_user)::regrole;
    RETURN df._mark_helper('df.clearvars', 'OK');
END $$;
COMMENT ON FUNCTION df.clearvars() IS 'Removes all variables of the current role.';
