-- 0002 builders: the operator language as plain functions from text to text.
--
-- In: operands, each an envelope or plain SQL text. Out: one canonical envelope, compact JSON with the keys
-- node_type, left_node, right_node, condition_node, extra_nodes, query, result_name, in this order.
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

-- ---------------------------------------------------------------------------------------------------------
-- Composition
-- ---------------------------------------------------------------------------------------------------------

CREATE FUNCTION df.sql(query text) RETURNS text
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp
AS $$ BEGIN RETURN df._sql_step(query); END $$;
COMMENT ON FUNCTION df.sql(text) IS 'A step that runs one SQL text.';

CREATE FUNCTION df.seq(a text, b text) RETURNS text
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN '{"node_type":"THEN","left_node":' || df._step(a) || ',"right_node":' || df._step(b) || '}';
END $$;
COMMENT ON FUNCTION df.seq(text, text) IS 'a, then b. Operator: a ~> b';

CREATE FUNCTION df._name(fut text, name text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    IF name = '' THEN
        RAISE EXCEPTION 'df.as: result name cannot be empty' USING ERRCODE = 'invalid_name';
    ELSIF name !~ '^[a-zA-Z_][a-zA-Z0-9_]*$' THEN
        RAISE EXCEPTION 'df.as: result name ''%'' is not a valid identifier — must match [a-zA-Z_][a-zA-Z0-9_]*', name
            USING ERRCODE = 'invalid_name',
                  HINT = 'Begin with a letter or underscore and go on with letters, digits and underscores, all ASCII.';
    END IF;
    RETURN df._step(fut, name);
END $$;
COMMENT ON FUNCTION df._name(text, text) IS 'A step with a result name, for df.as and |=>.';

CREATE FUNCTION df.as(fut text, name text) RETURNS text
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp
AS $$ BEGIN RETURN df._name(fut, name); END $$;
COMMENT ON FUNCTION df.as(text, text) IS 'Names the result of a step. Operator: fut |=> ''name''';

CREATE FUNCTION df.join(a text, b text) RETURNS text
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN '{"node_type":"JOIN","left_node":' || df._step(a) || ',"right_node":' || df._step(b) || '}';
END $$;
COMMENT ON FUNCTION df.join(text, text) IS 'a and b at the same time, until both are done. Operator: a & b';

CREATE FUNCTION df.join3(a text, b text, c text) RETURNS text
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN '{"node_type":"JOIN","left_node":' || df._step(a) || ',"right_node":' || df._step(b)
        || ',"extra_nodes":[' || df._step(c) || ']}';
END $$;
COMMENT ON FUNCTION df.join3(text, text, text) IS 'a, b and c at the same time, until all are done.';

CREATE FUNCTION df.race(a text, b text) RETURNS text
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN '{"node_type":"RACE","left_node":' || df._step(a) || ',"right_node":' || df._step(b) || '}';
END $$;
COMMENT ON FUNCTION df.race(text, text) IS 'a and b at the same time; the first to finish decides. Operator: a | b';

CREATE FUNCTION df.if(condition text, then_branch text, else_branch text) RETURNS text
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN '{"node_type":"IF","left_node":' || df._step(then_branch) || ',"right_node":' || df._step(else_branch)
        || ',"condition_node":' || df._step(condition) || '}';
END $$;
COMMENT ON FUNCTION df.if(text, text, text) IS
    'One of two branches. Operators: condition ?> then_branch !> else_branch';

CREATE FUNCTION df.if_rows(result_name text, then_branch text, else_branch text) RETURNS text
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN '{"node_type":"IF","left_node":' || df._step(then_branch) || ',"right_node":' || df._step(else_branch)
        || ',"query":' || df._quoted('{"condition_type":"result_has_rows","result_name":' || df._quoted(result_name)
        || '}') || '}';
END $$;
COMMENT ON FUNCTION df.if_rows(text, text, text) IS 'One of two branches, by whether a named result has rows.';

CREATE FUNCTION df._loop(body text, condition text, continue_on_failure boolean) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    RETURN '{"node_type":"LOOP","left_node":' || df._step(body)
        || COALESCE(',"condition_node":' || df._step(condition), '')
        || CASE WHEN continue_on_failure THEN ',"query":"{\"continue_on_failure\":true}"' ELSE '' END || '}';
END $$;
COMMENT ON FUNCTION df._loop(text, text, boolean) IS 'A loop, for df.loop and @>.';

CREATE FUNCTION df.loop(body text, condition text DEFAULT NULL, continue_on_failure boolean DEFAULT false) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM df._require(body, 'df.loop', 'body');
    PERFORM df._require(continue_on_failure, 'df.loop', 'continue_on_failure');
    RETURN df._loop(body, condition, continue_on_failure);
END $$;
COMMENT ON FUNCTION df.loop(text, text, boolean) IS
    'Repeats body as long as the condition, judged after each round, is true. Operator without one: @> body';

CREATE FUNCTION df.break(value text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN '{"node_type":"BREAK","query":'
        || df._quoted('{"break_value":' || COALESCE(df._quoted(value), 'null') || '}') || '}';
END $$;
COMMENT ON FUNCTION df.break(text) IS 'Leaves the nearest enclosing loop with a value.';

-- ---------------------------------------------------------------------------------------------------------
-- Waiting
-- ---------------------------------------------------------------------------------------------------------

CREATE FUNCTION df.sleep(seconds bigint) RETURNS text
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF seconds < 0 THEN
        RAISE EXCEPTION 'Sleep duration must be non-negative' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN '{"node_type":"SLEEP","query":"' || seconds::text || '"}';
END $$;
COMMENT ON FUNCTION df.sleep(bigint) IS 'Waits a number of seconds.';

CREATE FUNCTION df.wait_for_signal(name text, timeout_seconds integer DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM df._require(name, 'df.wait_for_signal', 'name');
    IF name = '' THEN
        RAISE EXCEPTION 'Signal name cannot be empty' USING ERRCODE = 'invalid_parameter_value';
    ELSIF timeout_seconds <= 0 THEN
        RAISE EXCEPTION 'Timeout must be positive' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN '{"node_type":"SIGNAL","query":' || df._quoted('{"signal_name":' || df._quoted(name)
        || ',"timeout_seconds":' || COALESCE(timeout_seconds::text, 'null') || '}') || '}';
END $$;
COMMENT ON FUNCTION df.wait_for_signal(text, integer) IS 'Waits for a signal of this name, or until the timeout.';

-- The number that a word of a cron field stands for, or NULL. Fields are counted from 1; months count from 1,
-- days of the week from 0.
CREATE FUNCTION df._cron_number(field integer, word text) RETURNS integer
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF word ~ '^[0-9]+$' THEN
        RETURN word::integer;
    END IF;
    RETURN CASE field
        WHEN 4 THEN pg_catalog.array_position('{jan,feb,mar,apr,may,jun,jul,aug,sep,oct,nov,dec}', word)
        WHEN 5 THEN pg_catalog.array_position('{sun,mon,tue,wed,thu,fri,sat}', word) - 1
    END;
END $$;
COMMENT ON FUNCTION df._cron_number(integer, text) IS 'The number that a word of a cron field stands for, or NULL.';

-- What is wrong with one part of a cron field, or NULL: the same table as syntax/cron.py.
CREATE FUNCTION df._cron_part_defect(field integer, part text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    name text := ('{minute,hour,day of month,month,day of week}'::text[])[field];
    low integer := ('{0,0,1,1,0}'::integer[])[field];
    high integer := ('{59,23,31,12,7}'::integer[])[field];
    piece text[] := pg_catalog.regexp_match(
        part, '^(?:(\*)|([0-9]{1,2}|[a-z]{3})(?:-([0-9]{1,2}|[a-z]{3}))?)(?:/([0-9]{1,2}))?$');
    first integer := df._cron_number(field, piece[2]);
    last integer := df._cron_number(field, piece[3]);
BEGIN
    IF piece IS NULL THEN
        RETURN pg_catalog.format('''%s'' is not valid for the %s', part, name);
    ELSIF piece[4]::integer NOT BETWEEN 1 AND high THEN
        RETURN pg_catalog.format('the step of ''%s'' must be from 1 to %s', part, high);
    ELSIF piece[4] IS NOT NULL AND piece[2] IS NOT NULL AND piece[3] IS NULL THEN
        RETURN pg_catalog.format('''%s'' has a step without a range; write ''%s-%s/%s''', part, piece[2], high, piece[4]);
    ELSIF piece[2] IS NOT NULL AND (first IS NULL OR first NOT BETWEEN low AND high)
       OR piece[3] IS NOT NULL AND (last IS NULL OR last NOT BETWEEN low AND high) THEN
        RETURN pg_catalog.format('''%s'' is out of range for the %s (%s-%s)', part, name, low, high);
    ELSIF first > last THEN
        RETURN pg_catalog.format('the range ''%s'' ends before it begins', part);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION df._cron_part_defect(integer, text) IS 'What is wrong with one part of a cron field, or NULL.';

-- A date that no year has, such as 30 February; only plain numbers are looked at.
CREATE FUNCTION df._cron_never(day text, month text, weekday text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN weekday = '*' AND day ~ '^[0-9]+$' AND month ~ '^[0-9a-z]+(,[0-9a-z]+)*$'
        AND day::integer > (
            SELECT pg_catalog.max(CASE df._cron_number(4, m) WHEN 2 THEN 29 WHEN 4 THEN 30 WHEN 6 THEN 30
                                  WHEN 9 THEN 30 WHEN 11 THEN 30 ELSE 31 END)
            FROM pg_catalog.unnest(pg_catalog.string_to_array(month, ',')) m);
END $$;
COMMENT ON FUNCTION df._cron_never(text, text, text) IS 'Whether a cron expression names a date that never comes.';

-- Standard cron (L13): what is wrong with an expression, or NULL. Any change belongs into syntax/cron.py as well.
CREATE FUNCTION df._cron_defect(cron_expr text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    words text := pg_catalog.lower(pg_catalog.btrim(cron_expr, E' \t') COLLATE "C");
    fields text[] := pg_catalog.regexp_split_to_array(words, '[ \t]+');
    defect text;
BEGIN
    IF words ~ '^@' THEN
        RETURN CASE WHEN words NOT IN ('@yearly', '@annually', '@monthly', '@weekly', '@daily', '@midnight', '@hourly')
            THEN 'unknown shorthand; use one of @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly' END;
    ELSIF words = '' OR pg_catalog.cardinality(fields) <> 5 THEN
        RETURN pg_catalog.format('expected 5 fields (minute hour day-of-month month day-of-week), found %s',
            CASE WHEN words = '' THEN 0 ELSE pg_catalog.cardinality(fields) END);
    END IF;
    SELECT wrong INTO defect
    FROM pg_catalog.generate_series(1, 5) field,
         pg_catalog.regexp_split_to_table(fields[field], ',') WITH ORDINALITY p (part, at),
         df._cron_part_defect(field, part) wrong
    WHERE wrong IS NOT NULL
    ORDER BY field, at LIMIT 1;
    IF defect IS NULL AND df._cron_never(fields[3], fields[4], fields[5]) THEN
        RETURN 'no such day in that month, so it never happens';
    END IF;
    RETURN defect;
END $$;
COMMENT ON FUNCTION df._cron_defect(text) IS 'What is wrong with a cron expression, or NULL.';

-- PostgreSQL takes POSIX rules such as FOO+3 for time zones, which workers cannot read: the name must be in the
-- time zone database. Reading pg_timezone_names costs many milliseconds, so plain Area/City names, which no
-- POSIX rule looks like, are only tried.
CREATE FUNCTION df._is_timezone(name text) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    PERFORM pg_catalog.timezone(name, '2000-01-01 00:00:00+00'::timestamptz);
    RETURN name ~ '^[A-Za-z_]+(/[A-Za-z_-]+)+$' OR pg_catalog.lower(name) = 'utc'
        OR EXISTS (SELECT FROM pg_catalog.pg_timezone_names z
                   WHERE pg_catalog.lower(z.name) = pg_catalog.lower(_is_timezone.name));
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN false;
END $$;
COMMENT ON FUNCTION df._is_timezone(text) IS 'Whether the time zone database has this name.';

CREATE FUNCTION df.wait_for_schedule(cron_expr text, timezone text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    defect text := df._cron_defect(cron_expr);
BEGIN
    IF cron_expr IS NULL THEN
        RETURN NULL;
    ELSIF defect IS NOT NULL THEN
        RAISE EXCEPTION 'Invalid cron expression ''%'': %', cron_expr, defect
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'five fields: minute hour day-of-month month day-of-week, as in ''0 6 * * mon-fri'', or @daily';
    ELSIF timezone IS NOT NULL AND NOT df._is_timezone(timezone) THEN
        RAISE EXCEPTION 'Unknown time zone ''%''', timezone
            USING ERRCODE = 'invalid_parameter_value', HINT = 'use a name such as ''Europe/Berlin''';
    END IF;
    RETURN '{"node_type":"WAIT_SCHEDULE","query":' || df._quoted('{"cron_expr":' || df._quoted(cron_expr)
        || COALESCE(',"timezone":' || df._quoted(timezone), '') || '}') || '}';
END $$;
COMMENT ON FUNCTION df.wait_for_schedule(text, text) IS 'Waits for the next time of a cron schedule, in UTC or a time zone.';

-- ---------------------------------------------------------------------------------------------------------
-- HTTP
-- ---------------------------------------------------------------------------------------------------------

-- Only the scheme is judged here. A URL that holds {variables}, or begins with a $name (L15), is judged when it
-- is known; and every URL again before it is dialled.
CREATE FUNCTION df._check_url(url text) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    scheme text := pg_catalog.split_part(url, '://', 1);
BEGIN
    IF pg_catalog.strpos(url, '{') = 0 AND url !~ '^\$[A-Za-z_]' AND pg_catalog.lower(scheme) NOT IN ('http', 'https') THEN
        RAISE EXCEPTION 'Blocked: unsupported URL scheme ''%''. Only http and https are allowed.', scheme
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = CASE WHEN pg_catalog.strpos(url, '://') = 0 THEN pg_catalog.format('did you mean ''https://%s''?', url)
                              ELSE 'Use an http:// or https:// URL.' END;
    END IF;
END $$;
COMMENT ON FUNCTION df._check_url(text) IS 'Refuses a URL whose scheme is neither http nor https.';

-- Header values that could not be sent are refused instead of dropped (S5).
CREATE FUNCTION df._check_headers(headers jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    name text;
    value jsonb;
BEGIN
    IF pg_catalog.jsonb_typeof(headers) = 'null' THEN
        RETURN;
    ELSIF pg_catalog.jsonb_typeof(headers) <> 'object' THEN
        RAISE EXCEPTION 'headers must be a JSON object of header names and string values'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'For example ''{"Accept": "application/json"}''.';
    END IF;
    FOR name, value IN SELECT h.key, h.value FROM pg_catalog.jsonb_each(headers) h LOOP
        IF name !~ '^[!#$%&''*+.^_`|~0-9A-Za-z-]+$' THEN
            RAISE EXCEPTION 'Invalid HTTP header name ''%''', name USING ERRCODE = 'invalid_parameter_value';
        ELSIF pg_catalog.jsonb_typeof(value) <> 'string' THEN
            RAISE EXCEPTION 'HTTP header ''%'' must be a string', name
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = pg_catalog.format('write the value of ''%s'' in double quotes', name);
        ELSIF value #>> '{}' ~ '[\r\n]' THEN
            RAISE EXCEPTION 'HTTP header ''%'' must not contain line breaks', name
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION df._check_headers(jsonb) IS 'Refuses HTTP headers that could not be sent.';

CREATE FUNCTION df._check_http(builder text, url text, method text, timeout_seconds integer, methods text[], message text)
RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    PERFORM df._require(url, builder, 'url');
    PERFORM df._require(method, builder, 'method');
    PERFORM df._require(timeout_seconds, builder, 'timeout_seconds');
    PERFORM df._check_url(url);
    IF pg_catalog.upper(method) <> ALL (methods) THEN
        RAISE EXCEPTION '%', pg_catalog.format(message, pg_catalog.upper(method)) USING ERRCODE = 'invalid_parameter_value';
    ELSIF timeout_seconds <= 0 THEN
        RAISE EXCEPTION 'Timeout must be positive' USING ERRCODE = 'invalid_parameter_value';
    END IF;
END $$;
COMMENT ON FUNCTION df._check_http(text, text, text, integer, text[], text) IS 'The checks that both HTTP builders share.';

CREATE FUNCTION df.http(
    url text, method text DEFAULT 'POST', body text DEFAULT NULL, headers jsonb DEFAULT NULL,
    timeout_seconds integer DEFAULT 30
) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM df._check_http('df.http', url, method, timeout_seconds, '{GET,POST,PUT,DELETE,PATCH}',
        'Invalid HTTP method: %s. Must be GET, POST, PUT, DELETE, or PATCH');
    PERFORM df._check_headers(headers);
    RETURN '{"node_type":"HTTP","query":' || df._quoted('{"url":' || df._quoted(url)
        || ',"method":"' || pg_catalog.upper(method) || '","body":' || COALESCE(df._quoted(body), 'null')
        || ',"headers":' || COALESCE(df._compact(headers), 'null')
        || ',"timeout_seconds":' || timeout_seconds::text || '}') || '}';
END $$;
COMMENT ON FUNCTION df.http(text, text, text, jsonb, integer) IS 'An HTTP request.';

CREATE FUNCTION df.http_multipart(
    url text, method text DEFAULT 'POST', parts jsonb DEFAULT NULL, headers jsonb DEFAULT NULL,
    timeout_seconds integer DEFAULT 30
) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM df._check_http('df.http_multipart', url, method, timeout_seconds, '{POST,PUT,PATCH}',
        'Invalid HTTP method for multipart: %s. Must be POST, PUT, or PATCH');
    IF COALESCE(pg_catalog.jsonb_typeof(parts), 'null') = 'null' THEN
        RAISE EXCEPTION 'parts is required and cannot be NULL' USING ERRCODE = 'null_value_not_allowed';
    ELSIF pg_catalog.jsonb_typeof(parts) <> 'array' THEN
        RAISE EXCEPTION 'parts must be a JSON array of part objects' USING ERRCODE = 'invalid_parameter_value';
    ELSIF parts = '[]' THEN
        RAISE EXCEPTION 'parts must contain at least one part' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM df._check_headers(headers);
    RETURN '{"node_type":"HTTP_MULTIPART","query":' || df._quoted('{"url":' || df._quoted(url)
        || ',"method":"' || pg_catalog.upper(method) || '","parts":' || df._compact(parts)
        || ',"headers":' || COALESCE(df._compact(headers), 'null')
        || ',"timeout_seconds":' || timeout_seconds::text || '}') || '}';
END $$;
COMMENT ON FUNCTION df.http_multipart(text, text, jsonb, jsonb, integer) IS 'A multipart/form-data upload.';

-- ---------------------------------------------------------------------------------------------------------
-- Operators
-- ---------------------------------------------------------------------------------------------------------

CREATE FUNCTION df.as_op(fut text, name text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF fut IS NULL OR name IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN df._name(fut, name);
END $$;
COMMENT ON FUNCTION df.as_op(text, text) IS 'Behind the operator |=>';

-- Half an if: the operands stay as they were written until !> completes it.
CREATE FUNCTION df.if_then_op(condition text, then_branch text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN '{"condition": ' || COALESCE(df._quoted(condition), 'null') || ', "_partial_if": true, "then_branch": '
        || COALESCE(df._quoted(then_branch), 'null') || '}';
END $$;
COMMENT ON FUNCTION df.if_then_op(text, text) IS 'Behind the operator ?>';

CREATE FUNCTION df.if_else_op(partial_if text, else_branch text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    half jsonb := partial_if::jsonb;
BEGIN
    IF pg_catalog.jsonb_typeof(half) <> 'object' OR NOT half ? '_partial_if' THEN
        RAISE EXCEPTION 'Invalid if-then-else: left side of !> must be a ?> expression'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Write condition ?> step !> other_step. All operators bind equally and to the left:'
                      ' put parentheses around a step between ?> and !> that has operators of its own.';
    END IF;
    RETURN df.if(half ->> 'condition', half ->> 'then_branch', else_branch);
END $$;
COMMENT ON FUNCTION df.if_else_op(text, text) IS 'Behind the operator !>';

CREATE FUNCTION df.loop_prefix_op(body text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM df._require(body, 'df.loop', 'body');
    RETURN df._loop(body, NULL, false);
END $$;
COMMENT ON FUNCTION df.loop_prefix_op(text) IS 'Behind the prefix operator @>';

-- In public, where psql's default search_path finds them, and once more in df: the text of a workflow is evaluated
-- with these, which nobody but the owner can shadow. Where there is no schema public, df on the search_path does.
DO $$
DECLARE
    place text;
BEGIN
    FOR place IN SELECT n.nspname FROM pg_catalog.pg_namespace n WHERE n.nspname IN ('public', 'df') LOOP
        EXECUTE pg_catalog.format('CREATE OPERATOR %I.~> (LEFTARG = text, RIGHTARG = text, FUNCTION = df.seq)', place);
        EXECUTE pg_catalog.format('CREATE OPERATOR %I.|=> (LEFTARG = text, RIGHTARG = text, FUNCTION = df.as_op)', place);
        EXECUTE pg_catalog.format('CREATE OPERATOR %I.& (LEFTARG = text, RIGHTARG = text, FUNCTION = df.join)', place);
        EXECUTE pg_catalog.format('CREATE OPERATOR %I.| (LEFTARG = text, RIGHTARG = text, FUNCTION = df.race)', place);
        EXECUTE pg_catalog.format('CREATE OPERATOR %I.?> (LEFTARG = text, RIGHTARG = text, FUNCTION = df.if_then_op)', place);
        EXECUTE pg_catalog.format('CREATE OPERATOR %I.!> (LEFTARG = text, RIGHTARG = text, FUNCTION = df.if_else_op)', place);
        EXECUTE pg_catalog.format('CREATE OPERATOR %I.@> (RIGHTARG = text, FUNCTION = df.loop_prefix_op)', place);
        EXECUTE pg_catalog.format('COMMENT ON OPERATOR %I.~> (text, text) IS ''a, then b''', place);
        EXECUTE pg_catalog.format('COMMENT ON OPERATOR %I.|=> (text, text) IS ''names the result of what stands to the left''', place);
        EXECUTE pg_catalog.format('COMMENT ON OPERATOR %I.& (text, text) IS ''a and b at the same time''', place);
        EXECUTE pg_catalog.format('COMMENT ON OPERATOR %I.| (text, text) IS ''a or b, whichever finishes first''', place);
        EXECUTE pg_catalog.format('COMMENT ON OPERATOR %I.?> (text, text) IS ''if a then b; !> completes it''', place);
        EXECUTE pg_catalog.format('COMMENT ON OPERATOR %I.!> (text, text) IS ''else b''', place);
        EXECUTE pg_catalog.format('COMMENT ON OPERATOR %I.@> (NONE, text) IS ''repeats for ever''', place);
    END LOOP;
END $$;
