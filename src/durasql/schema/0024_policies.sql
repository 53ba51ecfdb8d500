-- 0024 policies: what df.start is told about failures, and starts that are unique by a key.
--
-- In: the arguments of df.start. Out: df.instances.policy, which travels with every claim, and instances.key. Roles may write
-- both columns by hand, so the table checks what it gets: a worker has to be able to take it.

-- The same words as in the grammar (syntax/durations.py): one or more of number and unit, or a bare number of seconds.
CREATE FUNCTION df._duration(value text, what text, lowest numeric DEFAULT 0) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    spoken text := lower(btrim(value, E' \t\r\n') COLLATE "C");
    part text[];
    seconds numeric := 0;
BEGIN
    IF value IS NULL THEN
        RAISE EXCEPTION '% must not be null', what USING ERRCODE = 'null_value_not_allowed';
    ELSIF length(value) <= 100 AND spoken ~ '^[0-9]{1,12}(\.[0-9]{1,3})?$' THEN
        seconds := spoken::numeric;
    ELSIF length(value) <= 100 AND spoken ~
        '^([0-9]{1,12}(\.[0-9]{1,3})?[ \t\r\n]*(ms|s|sec|seconds?|m|min|minutes?|h|hours?|d|days?)([ \t\r\n]+|(?=[0-9])|$))+$' THEN
        FOR part IN SELECT regexp_matches(spoken, '([0-9.]+)[ \t\r\n]*([a-z]+)', 'g') LOOP
            seconds := seconds + part[1]::numeric * CASE WHEN part[2] = 'ms' THEN 0.001
                WHEN part[2] ~ '^s' THEN 1 WHEN part[2] ~ '^m' THEN 60 WHEN part[2] ~ '^h' THEN 3600 ELSE 86400 END;
        END LOOP;
    ELSE
        RAISE EXCEPTION '% is no duration: ''%''', what, left(value, 100)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Write numbers with units, as in ''500 ms'', ''30 s'', ''5 min'', ''1 h 30 min'', ''2 d'', or a number of seconds.';
    END IF;
    IF seconds < lowest OR seconds > 3650 * 86400 THEN
        RAISE EXCEPTION '% must be between % and 3650 days: ''%''', what,
            CASE WHEN lowest > 0 THEN trim_scale(lowest * 1000)::text || ' ms' ELSE '0' END, value
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Durations are written as in ''500 ms'', ''30 s'' or ''5 min''.';
    END IF;
    RETURN trim_scale(seconds);
END $$;
COMMENT ON FUNCTION df._duration(text, text, numeric) IS
    'A duration in words as seconds; the error names the argument. Not below `lowest` seconds, not above 3650 days.';

-- ---------------------------------------------------------------------------------------------------------
-- A run's own policy
-- ---------------------------------------------------------------------------------------------------------

-- A pause that does not fit the installation's other one moves it: whoever names only one means that one.
CREATE FUNCTION df._start_policy(max_attempts integer, backoff text, max_backoff text, on_failure text, timeout text)
RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    pause numeric := CASE WHEN backoff IS NOT NULL THEN df._duration(backoff, 'df.start: backoff') END;
    longest numeric := CASE WHEN max_backoff IS NOT NULL THEN df._duration(max_backoff, 'df.start: max_backoff') END;
    seconds numeric := CASE WHEN timeout IS NOT NULL THEN df._duration(timeout, 'df.start: timeout', 0.001) END;
BEGIN
    IF max_attempts NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'df.start: max_attempts must be between 1 and 1000, not %', max_attempts
            USING ERRCODE = 'invalid_parameter_value', HINT = '1 means that a failed step is not tried again.';
    ELSIF longest < pause THEN
        RAISE EXCEPTION 'df.start: max_backoff (%) must not be shorter than backoff (%)', max_backoff, backoff
            USING ERRCODE = 'invalid_parameter_value', HINT = 'The pause between tries begins with backoff and doubles up to max_backoff.';
    ELSIF lower(on_failure) NOT IN ('fail', 'continue') THEN
        RAISE EXCEPTION 'df.start: on_failure must be ''fail'' or ''continue'', not ''%''', on_failure
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = '''continue'' lets the run go on behind a step that failed; to handle a failure, use df.catch().';
    END IF;
    IF longest IS NULL AND pause > df._duration(df.setting('step_max_backoff'), 'the setting step_max_backoff') THEN
        longest := pause;
    ELSIF pause IS NULL AND longest < df._duration(df.setting('step_backoff'), 'the setting step_backoff') THEN
        pause := longest;
    END IF;
    RETURN jsonb_strip_nulls(jsonb_build_object(
        'max_attempts', max_attempts, 'backoff', pause, 'max_backoff', longest, 'on_failure', lower(on_failure),
        'deadline', df._deadline(now() + make_interval(secs => seconds::double precision))));
END $$;
COMMENT ON FUNCTION df._start_policy(integer, text, text, text, text) IS
    'What df.start was told about failures, as workers read it; refuses what makes no sense.';

CREATE FUNCTION df._deadline(at timestamptz) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') $$;
COMMENT ON FUNCTION df._deadline(timestamptz) IS 'A time as a policy holds it.';

CREATE FUNCTION df._is_policy(policy jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    member record;
    fits boolean;
    d text[];
BEGIN
    IF jsonb_typeof(policy) <> 'object' OR octet_length(policy::text) > 1000 THEN
        RETURN false;
    END IF;
    FOR member IN SELECT m.key, m.value, jsonb_typeof(m.value) AS kind, m.value #>> '{}' AS text FROM jsonb_each(policy) m LOOP
        fits := false;
        IF member.key = 'max_attempts' AND member.kind = 'number' THEN
            fits := member.text ~ '^[0-9]{1,4}$' AND member.text::integer BETWEEN 1 AND 1000;
        ELSIF member.key IN ('backoff', 'max_backoff') AND member.kind = 'number' THEN
            fits := member.text ~ '^[0-9]{1,9}(\.[0-9]{1,6})?$' AND member.text::numeric <= 3650 * 86400;
        ELSIF member.key = 'on_failure' THEN
            fits := member.value IN ('"fail"', '"continue"');
        ELSIF member.key = 'deadline' AND member.kind = 'string' THEN
            d := regexp_match(member.text, '^([1-8][0-9]{3})-([0-9]{2})-([0-9]{2})T([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])(\.[0-9]{6})?Z$');
            fits := d IS NOT NULL AND make_date(d[1]::integer, d[2]::integer, d[3]::integer) >= '1970-01-01'::date;
        END IF;
        IF fits IS NOT TRUE THEN
            RETURN false;
        END IF;
    END LOOP;
    RETURN true;
EXCEPTION WHEN datetime_field_overflow THEN
    RETURN false;  -- the 31st of February
END $$;
COMMENT ON FUNCTION df._is_policy(jsonb) IS 'Whether a worker can take this as a run''s policy.';

ALTER TABLE df.instances ADD CONSTRAINT instances_policy_chk CHECK (policy IS NULL OR df._is_policy(policy));

-- ---------------------------------------------------------------------------------------------------------
-- Starts with a key
-- ---------------------------------------------------------------------------------------------------------

CREATE FUNCTION df._check_key(key text, on_conflict text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF key IS NULL THEN
        RAISE EXCEPTION 'df.start: on_conflict needs a key' USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Name what must not run twice at a time, as in df.start(…, key => ''index:42'', on_conflict => ''replace'').';
    ELSIF octet_length(key) NOT BETWEEN 1 AND 1024 THEN
        RAISE EXCEPTION 'df.start: key must have between 1 and 1024 bytes, not %', octet_length(key)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Use a short name, or a hash of a long one.';
    ELSIF lower(on_conflict) NOT IN ('return', 'reject', 'replace') THEN
        RAISE EXCEPTION 'df.start: on_conflict must be ''return'', ''reject'' or ''replace'', not ''%''', on_conflict
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'It says what to do while an instance with the same key is active: return its id, fail, or cancel it.';
    END IF;
END $$;
COMMENT ON FUNCTION df._check_key(text, text) IS 'Refuses keys and reactions that df.start does not know.';

CREATE FUNCTION df._own_vars(me regrole) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT jsonb_object_agg(v.name, v.value) FROM df.vars v WHERE v.owner = me AND v.value IS NOT NULL $$;
COMMENT ON FUNCTION df._own_vars(regrole) IS 'The snapshot of a role''s variables that df.start takes.';

-- PostgreSQL's unique index decides who is first, so this asks only afterwards who it was. Whoever held the key may end in
-- between; then the key is free, and the loop comes round.
CREATE FUNCTION df._insert_governed(label text, database text, program text, search_path text, vars jsonb, policy jsonb,
                                 key text, on_conflict text)
RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    me regrole := pg_catalog.quote_ident(current_user)::regrole;
    made text;
    holder text;
BEGIN
    FOR attempt IN 1..100 LOOP
        INSERT INTO df.instances AS i (label, database, program, search_path, vars, policy, key)
        VALUES (label, database, program, search_path, vars, policy, key)
        ON CONFLICT DO NOTHING
        RETURNING i.id INTO made;
        IF made IS NOT NULL THEN
            RETURN made;
        END IF;
        SELECT i.id INTO holder FROM df.instances i
        WHERE i.submitted_by = me AND i.key = _insert_governed.key AND i.status IN ('pending', 'running', 'paused');
        CONTINUE WHEN NOT FOUND;  -- it is over, or the random id was taken
        CASE pg_catalog.lower(on_conflict)
            WHEN 'reject' THEN
                RAISE EXCEPTION 'an instance with key "%" is active already: %', key, holder
                    USING ERRCODE = 'unique_violation', SCHEMA = 'df', TABLE = 'instances', CONSTRAINT = 'instances_key_idx',
                          HINT = 'Wait for it, cancel it, or start with on_conflict => ''return'' or ''replace''.';
            WHEN 'replace' THEN
                UPDATE df.instances i
                SET status = 'cancelled', cancel_reason = 'replaced by a new start', updated_at = pg_catalog.clock_timestamp()
                WHERE i.id = holder AND i.status IN ('pending', 'running', 'paused');
            ELSE
                RETURN holder;
        END CASE;
    END LOOP;
    RAISE EXCEPTION 'df.start: the key "%" changed hands 100 times while this start tried to take it', key
        USING ERRCODE = 'serialization_failure', HINT = 'Many starts of the same key replace each other; try again.';
END $$;
COMMENT ON FUNCTION df._insert_governed(text, text, text, text, jsonb, jsonb, text, text) IS
    'A new instance row with a policy or a key, or the id of the active instance that has the key.';

-- The search_path is read before any function pins it: steps run with the starter's (E11).
--
-- One statement for the usual case: an ordinary role, here, with a graph that is stored as it is and will stay, so it has
-- been judged before. Whatever is not as usual gives no row, and df._start says what it is.
CREATE FUNCTION df.start(
    fut text, label text DEFAULT NULL, database text DEFAULT NULL, transaction_mode text DEFAULT 'caller',
    max_attempts integer DEFAULT NULL, backoff text DEFAULT NULL, max_backoff text DEFAULT NULL,
    on_failure text DEFAULT NULL, timeout text DEFAULT NULL, key text DEFAULT NULL, on_conflict text DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
    made text;
    awaited boolean;
BEGIN
    INSERT INTO df.instances AS i (label, program, search_path, vars)
    SELECT start.label, p.hash, pg_catalog.current_setting('search_path'),
           (SELECT pg_catalog.jsonb_object_agg(v.name, v.value) FROM df.vars v
            WHERE v.owner OPERATOR(pg_catalog.=) r.oid AND v.value IS NOT NULL)
    FROM pg_catalog.pg_roles r, df.programs p
    WHERE start.transaction_mode OPERATOR(pg_catalog.=) 'caller'
      AND pg_catalog.num_nonnulls(start.database, start.max_attempts, start.backoff, start.max_backoff, start.on_failure,
                                  start.timeout, start.key, start.on_conflict) OPERATOR(pg_catalog.=) 0
      AND r.rolname OPERATOR(pg_catalog.=) current_user AND r.rolcanlogin AND NOT r.rolsuper
      AND p.owner OPERATOR(pg_catalog.=) r.oid
      AND p.hash OPERATOR(pg_catalog.=)
          pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(start.fut, 'UTF8')), 'hex')
      AND (p.unused_since IS NULL
           OR p.unused_since OPERATOR(pg_catalog.>) (pg_catalog.now() OPERATOR(pg_catalog.-) interval '12 hours'))
    ON CONFLICT (id) DO NOTHING
    RETURNING i.id, EXISTS (SELECT FROM df._idle) INTO made, awaited;
    IF made IS NULL THEN
        RETURN df._start(
            fut, label, database, transaction_mode, pg_catalog.current_setting('search_path'),
            CASE WHEN pg_catalog.num_nonnulls(max_attempts, backoff, max_backoff, on_failure, timeout) OPERATOR(pg_catalog.>) 0
                 THEN df._start_policy(max_attempts, backoff, max_backoff, on_failure, timeout) END,
            key, on_conflict);
    END IF;
    IF awaited THEN
        PERFORM pg_catalog.pg_notify('df', 'w');
    END IF;
    RETURN made;
END $$;
COMMENT ON FUNCTION df.start(text, text, text, text, integer, text, text, text, text, text, text) IS
    'Starts a workflow in the caller''s transaction, as the calling role; returns the instance id.';
