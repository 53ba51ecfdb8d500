-- 0019 explain: a workflow as a tree of text, before it runs or while it does.
--
-- In: an instance id, an envelope, workflow text or one SQL statement. Out: lines as pg_durable prints them. Nothing of
-- the input is executed except the pure builders that workflow text may consist of.

CREATE FUNCTION df._cut(value text, longest integer, kept integer) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    short text := left(value, kept);
BEGIN
    IF octet_length(value) <= longest THEN
        RETURN value;
    END IF;
    WHILE octet_length(short) > kept LOOP
        short := left(short, -1);
    END LOOP;
    RETURN short || '...';
END
$$;
COMMENT ON FUNCTION df._cut(text, integer, integer) IS
    'Text of more than `longest` bytes shortened to at most `kept` bytes, whole characters, and an ellipsis.';

CREATE FUNCTION df._quoted_cut(value text, longest integer, kept integer) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT '''' || df._cut($1, $2, $3) || '''' $$;
COMMENT ON FUNCTION df._quoted_cut(text, integer, integer) IS 'df._cut in single quotes.';

CREATE FUNCTION df._config(config text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN config::jsonb;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN NULL;  -- hand-written; explain shows what it can
END
$$;
COMMENT ON FUNCTION df._config(text) IS 'A node''s configuration, or NULL when it is no JSON.';

CREATE FUNCTION df._words(list jsonb) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT string_agg(w.word, ' ' ORDER BY w.at)
      FROM jsonb_array_elements_text(CASE jsonb_typeof($1) WHEN 'array' THEN $1 ELSE '[]' END) WITH ORDINALITY w (word, at) $$;
COMMENT ON FUNCTION df._words(jsonb) IS 'A list of texts as one text; NULL for an empty list and for what is none.';

CREATE FUNCTION df._node_line(node jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kind text := node->>'t';
    query text := coalesce(node->>'q', '');
    config jsonb := CASE WHEN kind IN ('WAIT_SCHEDULE', 'HTTP', 'HTTP_MULTIPART', 'SIGNAL', 'BREAK', 'RETRY', 'TIMEOUT', 'CATCH')
                         THEN df._config(query) END;
    line text;
BEGIN
    CASE kind
        WHEN 'SQL' THEN line := 'SQL: ' || df._cut(query, 50, 47);
        WHEN 'SLEEP' THEN line := 'SLEEP ' || query || 's';
        WHEN 'WAIT_SCHEDULE' THEN line := 'WAIT ''' || coalesce(config->>'cron_expr', '') || '''';
        WHEN 'HTTP', 'HTTP_MULTIPART' THEN
            line := concat_ws(' ', kind, config->>'method', df._cut(config->>'url', 40, 37));
        WHEN 'SIGNAL' THEN
            line := 'SIGNAL ''' || coalesce(config->>'signal_name', '') || ''''
                || coalesce(' (' || (config->>'timeout_seconds') || 's)', '');
        WHEN 'LOOP' THEN
            line := CASE WHEN node ? 'c' THEN 'LOOP (while' ELSE 'LOOP (infinite' END
                || CASE WHEN query = '{"continue_on_failure":true}' THEN ', goes on after failures)' ELSE ')' END;
        WHEN 'RETRY' THEN
            line := format('RETRY (at most %s, pause %ss … %ss%s)', config->>'max_attempts', config->>'backoff',
                           config->>'max_backoff', coalesce(', on ' || df._words(config->'errors'), ''));
        WHEN 'TIMEOUT' THEN line := format('TIMEOUT %ss', config->>'seconds');
        WHEN 'CATCH' THEN line := 'CATCH' || coalesce(' (' || df._words(config->'errors') || ')', '');
        WHEN 'BREAK' THEN line := concat_ws(' ', 'BREAK', df._quoted_cut(config->>'break_value', 20, 17));
        WHEN 'JOIN' THEN line := format('JOIN (%s)', 2 + coalesce(jsonb_array_length(node->'x'), 0));
        WHEN 'RACE' THEN RETURN kind;  -- its name is not shown
        ELSE line := kind;
    END CASE;
    RETURN line || coalesce(' |=> ''' || (node->>'n') || '''', '');
END
$$;
COMMENT ON FUNCTION df._node_line(jsonb) IS 'One node of a program''s node table as explain prints it.';

-- What stands below a node, in the order it is printed: a heading, the child, and whether more branches follow it.
CREATE FUNCTION df._node_sections(node jsonb) RETURNS TABLE (heading text, child integer, more boolean)
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp ROWS 3
AS $$
    SELECT s.heading, s.child::integer, false
    FROM (VALUES ('LOOP', '↻ body:', $1->>'l'), ('LOOP', '? while:', $1->>'c'),
                 ('IF', '? condition:', $1->>'c'), ('IF', '✓ then:', $1->>'l'), ('IF', '✗ else:', $1->>'r'),
                 ('RETRY', '▸ body:', $1->>'l'), ('TIMEOUT', '▸ body:', $1->>'l'),
                 ('CATCH', '▸ body:', $1->>'l'), ('CATCH', '✗ handler:', $1->>'r'),
                 ('FINALLY', '▸ body:', $1->>'l'), ('FINALLY', '▪ cleanup:', $1->>'r'),
                 ('UNDO', '▸ body:', $1->>'l'), ('UNDO', '↶ undo:', $1->>'r'))
        AS s (kind, heading, child)
    WHERE s.kind = $1->>'t' AND s.child IS NOT NULL
    UNION ALL
    SELECT format('║ branch %s:', b.number), b.child::integer, b.number < count(*) OVER ()
    FROM (SELECT 1, $1->>'l' UNION ALL SELECT 2, $1->>'r'
          UNION ALL SELECT 2 + x.number, x.child
          FROM jsonb_array_elements_text(coalesce($1->'x', '[]')) WITH ORDINALITY AS x (child, number)) AS b (number, child)
    WHERE $1->>'t' IN ('JOIN', 'RACE')
$$;
COMMENT ON FUNCTION df._node_sections(jsonb) IS 'Headings and children below one node of a node table, in printing order.';

-- Prints with a stack of its own, because graphs may be 256 levels deep. An entry is a heading (`node` NULL) or a node.
--   marks   per node number + 1, appended to its line; NULL for a dry run
CREATE FUNCTION df._tree(nodes jsonb, marks text[] DEFAULT NULL) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    pending integer[] := '{0}';     -- node numbers, -1 for a heading
    prefixes text[] := '{""}';
    texts text[] := '{""}';         -- a heading, or a node's connector
    chained boolean[] := '{false}'; -- member of a THEN chain
    top integer := 1;
    all_nodes jsonb[] := ARRAY(SELECT jsonb_array_elements(nodes));
    node jsonb;
    number integer;
    prefix text;
    connector text;
    in_chain boolean;
    below text;
    section record;
    lines text[] := '{}';
BEGIN
    WHILE top > 0 LOOP
        number := pending[top];
        prefix := prefixes[top];
        connector := texts[top];
        in_chain := chained[top];
        top := top - 1;
        IF number < 0 THEN
            lines := lines || (prefix || connector);
            CONTINUE;
        END IF;
        node := all_nodes[number + 1];
        IF node->>'t' = 'THEN' THEN
            pending[top + 1] := (node->>'r')::integer;
            prefixes[top + 1] := prefix;
            texts[top + 1] := '→ ';
            chained[top + 1] := true;
            pending[top + 2] := (node->>'l')::integer;
            prefixes[top + 2] := prefix;
            texts[top + 2] := connector;
            chained[top + 2] := true;
            top := top + 2;
            CONTINUE;
        END IF;
        lines := lines || (prefix || connector || df._node_line(node) || coalesce(marks[number + 1], ''));
        below := prefix || CASE WHEN connector = '├─' AND NOT in_chain THEN '│   ' ELSE '    ' END;
        FOR section IN SELECT * FROM (SELECT s.*, row_number() OVER () AS at FROM df._node_sections(node) AS s) AS s
                       ORDER BY at DESC LOOP
            pending[top + 1] := section.child;
            prefixes[top + 1] := below || '  ';
            texts[top + 1] := CASE WHEN section.more THEN '├─' ELSE '└─' END;
            chained[top + 1] := false;
            pending[top + 2] := -1;
            prefixes[top + 2] := below;
            texts[top + 2] := section.heading;
            top := top + 2;
        END LOOP;
    END LOOP;
    RETURN (SELECT string_agg(rpad(l.line, w.width), E'\n' ORDER BY l.at)
            FROM unnest(lines) WITH ORDINALITY AS l (line, at),
                 (SELECT max(length(m.line)) + 4 AS width FROM unnest(lines) AS m (line)) AS w);
END
$$;
COMMENT ON FUNCTION df._tree(jsonb, text[]) IS 'A node table as a tree of text.';

-- What people want to know of a node besides its status. Only nodes that something is to be said of have a row.
CREATE FUNCTION df._node_notes(p_instance text) RETURNS TABLE (node integer, failures integer, note text)
LANGUAGE sql STABLE ROWS 5 SET search_path = pg_catalog, pg_temp
AS $$
    WITH run AS (
        SELECT i.id, i.status, i.policy, p.nodes FROM df.instances i
        JOIN df.programs p ON p.owner = i.submitted_by AND p.hash = i.program WHERE i.id = p_instance
    ), tries AS (
        SELECT j.node, CASE
            WHEN j.state = 'waiting' AND df._wait_kind(n.node->>'t') = 'backoff'
                THEN df._wait_subject(n.node, j.gen, j.attempts, r.policy) || ' at ' || df._clock(j.due)
            WHEN j.state = 'waiting' AND n.node->>'t' = 'TIMEOUT' THEN 'until ' || df._clock(j.due)
            WHEN n.node->>'t' = 'RETRY' AND substring(j.gen FROM '[0-9]+$') <> '1'
                THEN format('try %s of %s', substring(j.gen FROM '[0-9]+$'), df._config(n.node->>'q')->>'max_attempts')
            WHEN n.node->>'t' = 'LOOP' AND df._config(n.node->>'q')->>'continue_on_failure' = 'true' AND j.attempts > 0
                THEN format('%s failed', j.attempts)
            WHEN n.node->>'t' NOT IN ('RETRY', 'LOOP') AND j.attempts > 1 THEN format('try %s', j.attempts)
        END AS said
        FROM run r JOIN df.journal j ON j.instance_id = r.id AND j.node >= 0
        CROSS JOIN LATERAL (SELECT r.nodes->j.node AS node OFFSET 0) AS n
    ), handled AS (
        SELECT (n.node->>'p')::integer AS node, 'handled: ' || df._cut(df._node_value(r.id, j.node)::json->>'message', 80, 77) AS said
        FROM run r JOIN df.journal j ON j.instance_id = r.id AND j.node > 0 AND j.state = 'failed'
        CROSS JOIN LATERAL (SELECT r.nodes->j.node AS node OFFSET 0) AS n
        LEFT JOIN df.journal c ON c.instance_id = r.id AND c.node = (n.node->>'p')::integer
        WHERE r.nodes->(n.node->>'p')::integer->>'t' = 'CATCH' AND r.nodes->(n.node->>'p')::integer->>'l' = j.node::text
          AND c.state IS DISTINCT FROM 'failed'
    ), undos AS (
        SELECT u.node, CASE
            WHEN bool_or(u.state = 'failed') THEN 'undo failed: ' || df._cut(max(u.error::json->>'message'), 80, 77)
            WHEN bool_or(u.state = 'ready') THEN CASE WHEN max(r.status) <> 'completed' THEN 'can be undone' END
            ELSE 'undone' END AS said
        FROM run r JOIN df.undos u ON u.instance_id = r.id GROUP BY u.node
    ), said AS (
        SELECT * FROM tries UNION ALL SELECT * FROM handled UNION ALL SELECT * FROM undos
    ), failed AS (
        SELECT a.node, count(*)::integer AS times FROM df.attempts a WHERE a.instance_id = p_instance GROUP BY a.node
    )
    SELECT coalesce(s.node, f.node), coalesce(f.times, 0), s.note
    FROM (SELECT x.node, string_agg(x.said, ', ') AS note FROM said x WHERE x.said IS NOT NULL GROUP BY x.node) AS s
    FULL JOIN failed f ON f.node = s.node
$$;
COMMENT ON FUNCTION df._node_notes(text) IS
    'Of the nodes of an instance: failed tries, and in words the next try, the failure that was handled, the undo.';

-- The live view takes its marks from the same place as df.instance_nodes.
CREATE FUNCTION df._explain_instance(p_instance text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    i df.instances;
    marks text[];
    shown text;
    output text;
BEGIN
    SELECT * INTO i FROM df.instances x WHERE x.id = lower(p_instance);
    IF NOT FOUND THEN
        RETURN format('Instance ''%s'' not found', p_instance);
    END IF;
    SELECT array_agg(coalesce(' (' || k.note || ')', '')
                     || CASE n.inferred_status WHEN 'completed' THEN ' ✓' WHEN 'failed' THEN ' ✗' WHEN 'running' THEN ' ⏳'
                                            WHEN 'skipped' THEN ' ⊘' ELSE ' ○' END ORDER BY n.number)
    INTO marks FROM df._nodes n LEFT JOIN df._node_notes(i.id) k ON k.node = n.number WHERE n.instance_id = i.id;
    IF marks IS NULL THEN
        RETURN format('No nodes found for instance ''%s''', p_instance);
    END IF;
    shown := CASE i.status WHEN 'completed' THEN '✓ Completed' WHEN 'failed' THEN '✗ Failed'
                           WHEN 'cancelled' THEN '✗ Failed' WHEN 'running' THEN '⏳ Running'
                           WHEN 'compensated' THEN '✗ Compensated' WHEN 'stuck' THEN '✗ Stuck' WHEN 'paused' THEN '⏸ Paused' ELSE '○ ' || i.status END;
    output := df._cut(df._instance_output(i.status, i.output, i.cancel_reason), 60, 57);
    RETURN concat_ws(E'\n',
        'Instance: ' || i.id || coalesce(' (' || i.label || ')', ''),
        'Status:   ' || shown,
        'Output:   ' || output,
        '',
        df._tree((SELECT p.nodes FROM df.programs p WHERE p.owner = i.submitted_by AND p.hash = i.program), marks));
END
$$;
COMMENT ON FUNCTION df._explain_instance(text) IS 'An instance as a tree with the state of every node.';

CREATE FUNCTION df._explain_graph(graph text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN df._tree((df._flatten(graph)).nodes);
EXCEPTION
    -- A faulty graph is something to be explained, not a failure of explaining.
    WHEN invalid_parameter_value OR program_limit_exceeded OR check_violation THEN
        RETURN SQLERRM;
END
$$;
COMMENT ON FUNCTION df._explain_graph(text) IS 'An envelope as a tree, or what is wrong with it.';

CREATE FUNCTION df._is_envelope(value text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN value ~ '^\s*\{' AND json_typeof(value::json->'node_type') IS NOT DISTINCT FROM 'string';
EXCEPTION
    WHEN statement_too_complex THEN RETURN true;  -- the graph walk says how deep it may be
    WHEN data_exception THEN RETURN false;
END
$$;
COMMENT ON FUNCTION df._is_envelope(text) IS 'Whether text is a JSON object with a node_type.';

CREATE FUNCTION df._explain_expression(expression text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    graph text;
BEGIN
    graph := df._evaluate_dsl(expression);
    IF graph IS NULL THEN
        RETURN 'Expression returned NULL';
    ELSIF NOT df._is_envelope(graph) THEN
        RETURN 'Failed to parse Durofut JSON: failed to deserialize Durofut: '
            || CASE WHEN strpos(graph, '"_partial_if"') > 0 THEN '?> without !>' ELSE 'missing field `node_type`' END;
    END IF;
    RETURN df._explain_graph(graph);
EXCEPTION WHEN null_value_not_allowed OR invalid_parameter_value OR program_limit_exceeded THEN
    IF SQLERRM = 'Expression returned NULL' OR SQLERRM LIKE 'Invalid durable function graph: %' THEN
        RETURN SQLERRM;
    ELSIF SQLERRM LIKE '%?> without !>%' THEN
        RETURN 'Failed to parse Durofut JSON: failed to deserialize Durofut: ' || SQLERRM;
    END IF;
    RAISE;
END
$$;
COMMENT ON FUNCTION df._explain_expression(text) IS 'Operator language as a tree; a faulty graph is explained, a wrong argument raises.';

CREATE FUNCTION df.explain(input text) RETURNS text
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    subject text := btrim(input, E' \t\r\n');
BEGIN
    IF subject ~ '^[0-9A-Fa-f]{8}$' THEN
        RETURN df._explain_instance(subject);
    ELSIF df._is_envelope(subject) THEN
        RETURN df._explain_graph(subject);
    ELSIF df._is_dsl(subject) THEN
        RETURN df._explain_expression(subject);
    ELSIF subject ~* '^((SELECT|INSERT|UPDATE|DELETE|WITH)[ \n]|(CREATE|ALTER|DROP|CALL|DO|TRUNCATE|GRANT|REVOKE|EXPLAIN) )' THEN
        RETURN df._explain_graph(df.sql(subject));
    END IF;
    RETURN E'Cannot explain input: not a valid Durofut JSON, instance ID, SQL statement, or DSL expression.\n'
        'Hint: DSL expressions use df.*() functions and operators like ~>, |=>, &, |.';
END
$$;
COMMENT ON FUNCTION df.explain(text) IS 'A workflow (as text, graph or running instance) as a tree; executes nothing but the pure builders.';
