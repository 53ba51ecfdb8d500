-- 0023 retention: removes finished instances that are too old or too many, and programs nobody uses any more.
--
-- Age and rank go by coalesce(completed_at, created_at), columns that no role can write. Instances that are not over are
-- never touched. One call is one small batch in one transaction; callers repeat it until it returns less than they
-- asked for. Limits are settings; `retention_days:<label>` and `retention_count:<label>` override them for one label.

CREATE INDEX instances_expiry_idx ON df.instances ((coalesce(completed_at, created_at)), id)
    WHERE status IN ('completed', 'failed', 'cancelled', 'compensated', 'stuck');

CREATE FUNCTION df._label_settings(p_name text) RETURNS TABLE (label text, value bigint)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT substr(s.name, length(p_name) + 2), s.value::bigint
    FROM df.settings s WHERE starts_with(s.name, p_name || ':')
$$;
COMMENT ON FUNCTION df._label_settings(text) IS 'The labels for which a setting is overridden.';
REVOKE ALL ON FUNCTION df._label_settings(text) FROM PUBLIC;

-- The time before which finished instances are beyond the newest p_keep; NULL when there are no more than that.
CREATE FUNCTION df._count_horizon(p_keep bigint, p_label text, p_except text[],
                                  OUT at timestamptz, OUT id text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF p_label IS NOT NULL THEN
        SELECT coalesce(i.completed_at, i.created_at), i.id INTO at, id FROM df.instances i
        WHERE i.label = p_label AND i.status IN ('completed', 'failed', 'cancelled', 'compensated', 'stuck')
        ORDER BY 1 DESC, 2 DESC OFFSET p_keep LIMIT 1;
    ELSE
        SELECT coalesce(i.completed_at, i.created_at), i.id INTO at, id FROM df.instances i
        WHERE i.status IN ('completed', 'failed', 'cancelled', 'compensated', 'stuck') AND (i.label IS NULL OR i.label <> ALL (p_except))
        ORDER BY coalesce(i.completed_at, i.created_at) DESC, i.id DESC OFFSET p_keep LIMIT 1;
    END IF;
END
$$;
COMMENT ON FUNCTION df._count_horizon(bigint, text, text[]) IS 'The newest finished instance that is one too many.';
REVOKE ALL ON FUNCTION df._count_horizon(bigint, text, text[]) FROM PUBLIC;

-- Oldest first, so that every batch finds its rows at the beginning of the index.
CREATE FUNCTION df._expired(p_limit integer, p_label text, p_except text[], p_days bigint, p_keep bigint,
                            p_role regrole DEFAULT NULL)
RETURNS SETOF text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    aged timestamptz := now() - make_interval(days => p_days::integer);
    surplus record := df._count_horizon(p_keep, p_label, p_except);
    horizon timestamptz := greatest(aged, surplus.at);
BEGIN
    RETURN QUERY
    SELECT i.id::text FROM df.instances i
    WHERE i.status IN ('completed', 'failed', 'cancelled', 'compensated', 'stuck')
      AND coalesce(i.completed_at, i.created_at) <= horizon
      AND (coalesce(i.completed_at, i.created_at) < aged
           OR (coalesce(i.completed_at, i.created_at), i.id::text) <= (surplus.at, surplus.id))
      AND (p_role IS NULL OR i.submitted_by = p_role)
      AND CASE WHEN p_label IS NULL THEN i.label IS NULL OR i.label <> ALL (p_except) ELSE i.label = p_label END
    ORDER BY coalesce(i.completed_at, i.created_at), i.id
    LIMIT p_limit;
END
$$;
COMMENT ON FUNCTION df._expired(integer, text, text[], bigint, bigint, regrole) IS
    'Finished instances past their age or beyond the number kept, oldest first, of one label or of all others.';
REVOKE ALL ON FUNCTION df._expired(integer, text, text[], bigint, bigint, regrole) FROM PUBLIC;

CREATE FUNCTION df._remove_instances(p_ids text[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    locked text[];
BEGIN
    -- An instance that somebody is touching right now can wait for the next pass.
    SELECT array_agg(l.id) INTO locked FROM (
        SELECT i.id::text FROM df.instances i
        WHERE i.id = ANY (p_ids) AND i.status IN ('completed', 'failed', 'cancelled', 'compensated', 'stuck') FOR UPDATE SKIP LOCKED) AS l;
    DELETE FROM df.journal j WHERE j.instance_id = ANY (locked);
    DELETE FROM df.attempts a WHERE a.instance_id = ANY (locked);
    DELETE FROM df.undos u WHERE u.instance_id = ANY (locked);
    DELETE FROM df.forks f WHERE f.instance_id = ANY (locked);
    DELETE FROM df.signals s WHERE s.instance_id = ANY (locked);
    DELETE FROM df.instances i WHERE i.id = ANY (locked);
    RETURN coalesce(array_length(locked, 1), 0);
END
$$;
COMMENT ON FUNCTION df._remove_instances(text[]) IS 'Removes finished instances with their journal and signals.';
REVOKE ALL ON FUNCTION df._remove_instances(text[]) FROM PUBLIC;

-- `durasql bench` leaves nothing behind. A role cannot delete instances; of its own that are over and bear such a label it may.
CREATE FUNCTION df._remove_bench(p_label text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN df._remove_instances(ARRAY(
        SELECT i.id::text FROM df.instances i
        WHERE i.submitted_by = quote_ident(session_user)::regrole AND i.label = p_label
          AND starts_with(p_label, 'durasql bench ') AND i.status IN ('completed', 'failed', 'cancelled')
        LIMIT 1000));
END
$$;
COMMENT ON FUNCTION df._remove_bench(text) IS 'Removes finished instances that durasql bench started; how many, at most 1000.';

-- A pass looks at a random sample of the programs, so its cost does not grow with their number; every program's turn
-- comes. A program goes in two passes a day apart: the first marks it, the second removes it if the mark is still there and
-- no instance is. df.start trusts a mark of less than 12 hours and takes older ones away (0009), so the two never meet.
CREATE FUNCTION df._remove_programs(p_sample integer, p_role regrole DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    stored double precision := (SELECT greatest(c.reltuples, 0) FROM pg_class c WHERE c.oid = 'df.programs'::regclass);
    share double precision := least(100, 100.0 * p_sample / greatest(stored, 1));
    removed bigint;
BEGIN
    WITH unused AS (
        SELECT p.owner, p.hash, p.unused_since FROM df.programs p TABLESAMPLE SYSTEM (share)
        WHERE (p_role IS NULL OR p.owner = p_role) AND (p.unused_since IS NULL OR p.unused_since < now() - interval '1 day')
          AND NOT EXISTS (SELECT FROM df.instances i WHERE i.program = p.hash AND i.submitted_by = p.owner)
        FOR UPDATE SKIP LOCKED
    ), marked AS (
        UPDATE df.programs p SET unused_since = now() FROM unused u
        WHERE u.unused_since IS NULL AND p.owner = u.owner AND p.hash = u.hash
    )
    DELETE FROM df.programs p USING unused u
    WHERE u.unused_since IS NOT NULL AND p.owner = u.owner AND p.hash = u.hash;
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END
$$;
COMMENT ON FUNCTION df._remove_programs(integer, regrole) IS 'Marks and, a day later, removes programs without instances, out of a random sample of about p_sample.';
REVOKE ALL ON FUNCTION df._remove_programs(integer, regrole) FROM PUBLIC;

-- Open to every granted role, because a worker may be one: it takes no limits from its caller, only a batch size, and
-- removes nothing that the owner's settings do not say is over. Who serves one role only removes that role's: the caller may
-- leave the transaction open, and hold for ever what it touched.
CREATE FUNCTION df.prune(max_instances integer DEFAULT 500, OUT instances bigint, OUT programs bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    batch integer := least(max_instances, 10000);
    days bigint := df.setting('retention_days');
    keep bigint := df.setting('retention_count');
    me regrole := quote_ident(session_user)::regrole;
    alone regrole := CASE WHEN NOT df._serves(me, 0::oid::regrole) THEN me END;
    overridden text[];
    rule record;
BEGIN
    instances := 0;
    programs := 0;
    IF max_instances IS NULL OR max_instances < 1 THEN
        RAISE EXCEPTION 'max_instances must be at least 1' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- Two passes at a time would only wait for each other's rows. No advisory lock: anybody could take that.
    IF alone IS NULL THEN
        PERFORM FROM df.settings s WHERE s.name = 'retention_days' FOR UPDATE SKIP LOCKED;
        IF NOT FOUND THEN
            RETURN;
        END IF;
    END IF;
    SELECT coalesce(array_agg(DISTINCT o.label), '{}') INTO overridden
    FROM (SELECT label FROM df._label_settings('retention_days')
          UNION ALL SELECT label FROM df._label_settings('retention_count')) AS o;
    FOR rule IN
        SELECT l.label,
               coalesce((SELECT value FROM df._label_settings('retention_days') d WHERE d.label = l.label), days) AS days,
               coalesce((SELECT value FROM df._label_settings('retention_count') c WHERE c.label = l.label), keep) AS keep
        FROM unnest(overridden || NULL::text) AS l (label)
    LOOP
        EXIT WHEN instances >= batch;
        instances := instances + df._remove_instances(ARRAY(
            SELECT * FROM df._expired((batch - instances)::integer, rule.label, overridden, rule.days, rule.keep, alone)));
    END LOOP;
    -- Receipts are for instances of other databases; those are over long before.
    DELETE FROM df.receipts r
    WHERE r.ctid = ANY (ARRAY(SELECT o.ctid FROM df.receipts o
                              WHERE o.left_at < now() - make_interval(days => greatest(days, 1)::integer)
                                AND (alone IS NULL OR o.role = alone) LIMIT batch));
    IF instances < batch THEN
        programs := df._remove_programs(10000, alone);
    END IF;
END
$$;
COMMENT ON FUNCTION df.prune(integer) IS
    'Removes one batch of finished instances past retention, and unused programs; repeat while instances = max_instances.';
