-- 0002 envelopes: operands of the operator language as envelopes.
--
-- In: text, an envelope or plain SQL. Out: one canonical envelope, compact JSON with the keys node_type, left_node,
-- right_node, condition_node, extra_nodes, query, result_name, in this order.
--
-- Every function that a role calls pins search_path, so that nothing a role can create is reached; the helpers
-- named df._… run inside them and need no pin of their own. No builder touches a table.

-- One level of an envelope; the members keep the text they were written with.
CREATE TYPE df._envelope AS (
    node_type json,
    left_node json,
    right_node json,
    condition_node json,
    extra_nodes json,
    query json,
    result_name json
);
COMMENT ON TYPE df._envelope IS 'One level of an envelope, its members as they were written.';

CREATE FUNCTION df._node_types() RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT '{SQL,THEN,IF,JOIN,LOOP,BREAK,RACE,SLEEP,WAIT_SCHEDULE,HTTP,HTTP_MULTIPART,SIGNAL,RETRY,TIMEOUT,CATCH,FINALLY,UNDO}'::text[] $$;
COMMENT ON FUNCTION df._node_types() IS 'Every node type, in the order in which error messages list them.';

CREATE FUNCTION df._quoted(value text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
AS $$ SELECT pg_catalog.to_json(value)::text $$;
COMMENT ON FUNCTION df._quoted(text) IS 'A text as a JSON string.';

-- jsonb prints a space after each comma and colon. Inside a string they must stay, so strings are matched too.
CREATE FUNCTION df._compact(value jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
AS $$ SELECT pg_catalog.regexp_replace(value::text, '("(?:[^"\\]|\\.)*")|([,:]) ', '\1\2', 'g') $$;
COMMENT ON FUNCTION df._compact(jsonb) IS 'A jsonb value as compact JSON text.';

-- PL/pgSQL prints empty details and hints and takes no NULL for them.
CREATE FUNCTION df._raise(state text, message text, detail text, hint text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF COALESCE(detail, '') = '' AND COALESCE(hint, '') = '' THEN
        RAISE EXCEPTION '%', message USING ERRCODE = state;
    ELSIF COALESCE(detail, '') = '' THEN
        RAISE EXCEPTION '%', message USING ERRCODE = state, HINT = hint;
    ELSIF COALESCE(hint, '') = '' THEN
        RAISE EXCEPTION '%', message USING ERRCODE = state, DETAIL = detail;
    END IF;
    RAISE EXCEPTION '%', message USING ERRCODE = state, DETAIL = detail, HINT = hint;
END $$;
COMMENT ON FUNCTION df._raise(text, text, text, text) IS 'Raises an error; detail and hint may be empty.';

-- ---------------------------------------------------------------------------------------------------------
-- Operands
-- ---------------------------------------------------------------------------------------------------------

-- df.setvar and its like return a short word. As an operand that word would become a step of its own, so the
-- statement that called one of them may not use just that word as a step. The marker lives as long as the
-- transaction and names the statement, so later statements and other texts are never affected (E14).
CREATE FUNCTION df._mark_helper(name text, returned text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.set_config(
        'df.non_future_helper', name || '@' || pg_catalog.statement_timestamp()::text, true);
    RETURN returned;
END $$;
COMMENT ON FUNCTION df._mark_helper(text, text) IS 'Remembers that a helper which is no workflow step was called.';

CREATE FUNCTION df._refuse_helper(prefix text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    marker text := pg_catalog.current_setting('df.non_future_helper', true);
    helper text := pg_catalog.split_part(marker, '@', 1);
BEGIN
    IF pg_catalog.split_part(marker, '@', 2) = pg_catalog.statement_timestamp()::text THEN
        RAISE EXCEPTION '%', prefix
            || pg_catalog.format('%s cannot be used as a workflow step. Call %1$s before df.start().', helper)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'It runs at once, while the workflow is being built, and leaves no step.';
    END IF;
END $$;
COMMENT ON FUNCTION df._refuse_helper(text) IS 'Refuses what a helper of this statement returned as a step.';

-- Text that is no envelope becomes a SQL step. What is surely a mistake is refused here: the word that a
-- helper returned and a ?> without its !>.
CREATE FUNCTION df._sql_step(operand text, prefix text DEFAULT '') RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    IF operand IN ('OK', 'completed', 'failed', 'cancelled') THEN
        PERFORM df._refuse_helper(prefix);
    ELSIF pg_catalog.left(operand, 1) = '{' THEN
        PERFORM df._refuse_partial_if(operand, prefix);
    END IF;
    RETURN '{"node_type":"SQL","query":' || pg_catalog.to_json(operand)::text || '}';
END $$;
COMMENT ON FUNCTION df._sql_step(text, text) IS 'The SQL step of a plain text.';

CREATE FUNCTION df._refuse_partial_if(operand text, prefix text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    partial boolean := false;
BEGIN
    IF pg_catalog.strpos(operand, '"_partial_if"') > 0 THEN
        BEGIN
            partial := operand::jsonb ? '_partial_if';
        EXCEPTION WHEN data_exception THEN
            NULL;  -- no JSON: SQL text that happens to hold the word
        END;
    END IF;
    IF partial THEN
        RAISE EXCEPTION '%', prefix || 'Invalid if-then-else: ?> without !>'
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = pg_catalog.format('The condition is: %s',
                      pg_catalog.left(operand::jsonb ->> 'condition', 200)),
                  HINT = 'Write condition ?> step !> other_step. All operators bind equally and to the left:'
                      ' put parentheses around a step between ?> and !> that has operators of its own.';
    END IF;
END $$;
COMMENT ON FUNCTION df._refuse_partial_if(text, text) IS 'Refuses c ?> t that no !> has completed.';

CREATE FUNCTION df._join_members(e df._envelope) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN '{"node_type":' || e.node_type::text
        || COALESCE(',"left_node":' || e.left_node::text, '')
        || COALESCE(',"right_node":' || e.right_node::text, '')
        || COALESCE(',"condition_node":' || e.condition_node::text, '')
        || COALESCE(',"extra_nodes":' || e.extra_nodes::text, '')
        || COALESCE(',"query":' || e.query::text, '')
        || COALESCE(',"result_name":' || e.result_name::text, '')
        || '}';
END $$;
COMMENT ON FUNCTION df._join_members(df._envelope) IS 'One level of an envelope as text, in canonical key order.';

-- Why one level is no envelope, or NULL. `e` was read from `operand`.
CREATE FUNCTION df._level_defect(operand json, e df._envelope) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    key text;
BEGIN
    SELECT k INTO key
    FROM pg_catalog.json_object_keys(operand) k
    WHERE k IN ('node_type', 'left_node', 'right_node', 'condition_node', 'extra_nodes', 'query', 'result_name')
    GROUP BY k HAVING pg_catalog.count(*) > 1 LIMIT 1;
    IF key IS NOT NULL THEN
        RETURN pg_catalog.format('duplicate field `%s`', key);
    ELSIF e.node_type IS NULL OR pg_catalog.json_typeof(e.node_type) <> 'string' THEN
        RETURN 'missing field `node_type`';
    ELSIF COALESCE(pg_catalog.json_typeof(e.left_node), 'object') <> 'object'
       OR COALESCE(pg_catalog.json_typeof(e.right_node), 'object') <> 'object' THEN
        RETURN 'Durofut children must be JSON objects';
    ELSIF COALESCE(pg_catalog.json_typeof(e.condition_node), 'object') <> 'object' THEN
        RETURN 'condition_node must be a Durofut JSON object';
    ELSIF COALESCE(pg_catalog.json_typeof(e.extra_nodes), 'array') <> 'array' THEN
        RETURN 'extra_nodes must be an array of Durofut JSON objects';
    ELSIF e.extra_nodes IS NOT NULL AND EXISTS (SELECT FROM pg_catalog.json_array_elements(e.extra_nodes) x
                                               WHERE pg_catalog.json_typeof(x) <> 'object') THEN
        RETURN 'extra_nodes entries must be Durofut JSON objects';
    ELSIF COALESCE(pg_catalog.json_typeof(e.query), 'string') <> 'string' THEN
        RETURN 'query must be a string';
    ELSIF COALESCE(pg_catalog.json_typeof(e.result_name), 'string') <> 'string' THEN
        RETURN 'result_name must be a string';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION df._level_defect(json, df._envelope) IS 'What is wrong with one level of an envelope, or NULL.';

-- The strings of one level as PostgreSQL escapes them, so that equal values are equal text.
CREATE FUNCTION df._normal_level(e df._envelope) RETURNS df._envelope
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    e.node_type := pg_catalog.to_json(e.node_type #>> '{}');
    e.query := pg_catalog.to_json(e.query #>> '{}');
    e.result_name := pg_catalog.to_json(e.result_name #>> '{}');
    IF e.extra_nodes::text ~ '^\[\s*\]$' THEN
        e.extra_nodes := NULL;
    END IF;
    RETURN e;
END $$;
COMMENT ON FUNCTION df._normal_level(df._envelope) IS 'One level of an envelope with its strings in normal form.';

-- Text may be JSON and an envelope and still hold what no text in PostgreSQL can, such as \u0000. Then the members
-- cannot be read one by one, and this finds out that it was meant as an envelope.
CREATE FUNCTION df._unreadable_type(operand text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN pg_catalog.substring(operand::json::text, '"node_type"\s*:\s*"([^"\\]*)"');
EXCEPTION
    WHEN data_exception OR statement_too_complex THEN
        RETURN NULL;
END $$;
COMMENT ON FUNCTION df._unreadable_type(text) IS 'The node type of JSON text that cannot be taken apart, NULL if it is no JSON.';

-- Any operand as a canonical envelope. Text that is no JSON object with a node_type, and envelopes of an unknown
-- type, become SQL steps. Envelopes made by builders are recognised because putting their members together
-- again gives the same text; only others pay for the thorough checks.
CREATE FUNCTION df._step(operand text, result_name text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    e df._envelope;
    made text;
    defect text;
BEGIN
    IF pg_catalog.left(operand, 1) <> '{' AND operand !~ '^[ \t\n\r]+\{' OR operand = '' THEN
        made := df._sql_step(operand);
    ELSE
        BEGIN
            e := pg_catalog.json_populate_record(NULL::df._envelope, operand::json);
            made := df._join_members(e);
            IF made = operand AND e.extra_nodes IS NULL
               AND e.node_type::text = ANY ('{"\"SQL\"","\"THEN\"","\"IF\"","\"JOIN\"","\"LOOP\"","\"BREAK\"",
                   "\"RACE\"","\"SLEEP\"","\"WAIT_SCHEDULE\"","\"HTTP\"","\"HTTP_MULTIPART\"","\"SIGNAL\"","\"RETRY\"",
                   "\"TIMEOUT\"","\"CATCH\"","\"FINALLY\"","\"UNDO\""}')
               AND COALESCE(pg_catalog.left(e.left_node::text, 1), '{') = '{'
               AND COALESCE(pg_catalog.left(e.right_node::text, 1), '{') = '{'
               AND COALESCE(pg_catalog.left(e.condition_node::text, 1), '{') = '{'
               AND COALESCE(pg_catalog.left(e.query::text, 1), '"') = '"'
               AND COALESCE(pg_catalog.left(e.result_name::text, 1), '"') = '"' THEN
                IF result_name IS NULL THEN
                    RETURN made;
                END IF;
            ELSIF COALESCE(pg_catalog.json_typeof(e.node_type), '') <> 'string' THEN
                made := NULL;
            ELSE
                defect := df._level_defect(operand::json, e);
                e := df._normal_level(e);
                made := df._join_members(e);
            END IF;
        EXCEPTION
            WHEN data_exception OR statement_too_complex THEN
                made := NULL;
                IF df._unreadable_type(operand) IS NOT NULL THEN
                    defect := SQLERRM;
                END IF;
        END;
        IF defect IS NOT NULL THEN
            RAISE EXCEPTION 'Invalid Durofut JSON: failed to deserialize workflow step: %', defect
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = 'Build steps with the df functions and operators instead of writing JSON by hand.';
        ELSIF made IS NULL OR (e.node_type #>> '{}') <> ALL (df._node_types()) THEN
            made := df._sql_step(operand);
            e := NULL;
        END IF;
    END IF;
    IF result_name IS NULL THEN
        RETURN made;
    ELSIF e.result_name IS NULL THEN
        RETURN pg_catalog.left(made, -1) || ',"result_name":' || pg_catalog.to_json(result_name)::text || '}';
    ELSIF (e.result_name #>> '{}') !~ '^[a-zA-Z_][a-zA-Z0-9_]*$' THEN
        -- df.start would refuse it, so the other front does; renaming must not hide it here.
        RAISE EXCEPTION 'Invalid Durofut JSON: failed to deserialize workflow step: result_name ''%'' is not a valid identifier',
            e.result_name #>> '{}' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    e.result_name := pg_catalog.to_json(result_name);
    RETURN df._join_members(e);
END $$;
COMMENT ON FUNCTION df._step(text, text) IS 'An operand as a canonical envelope, named if a name is given.';

CREATE FUNCTION df._require(value anyelement, builder text, argument text) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF value IS NULL THEN
        RAISE EXCEPTION '%: % must not be null', builder, argument USING ERRCODE = 'null_value_not_allowed';
    END IF;
END $$;
COMMENT ON FUNCTION df._require(anyelement, text, text) IS 'Refuses NULL where a builder that is not strict needs a value.';
