-- 0003 builders: sequences, branches, choices, loops and waits, from text to text.

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
