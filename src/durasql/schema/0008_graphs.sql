-- 0008 graphs: from an envelope to a stored program.
--
-- In: a workflow's envelope. Out: a row of df.programs, validated, numbered, in canonical form.

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
