-- 0025 verbs: what an operator does with instances: pause and resume them, resume failed ones. Forks are in 0027.
--
-- In: the id of an instance that the caller may see. Out: its row, changed by the caller under row-level security; what
-- follows from it (the journal, the engine's columns) is done by triggers. All of it belongs to the caller's transaction.

CREATE FUNCTION df._refuse_verb(verb text, instance_id text, status text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'cannot % instance %: it is %', verb, instance_id, status
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = CASE
                  WHEN status = 'paused' THEN format('SELECT df.resume(''%s'') lets it go on.', instance_id)
                  WHEN status IN ('pending', 'running') AND verb = 'resume' THEN 'Only paused instances are resumed.'
                  WHEN status IN ('pending', 'running') THEN format('It goes on by itself; SELECT df.cancel(''%s'') stops it.', instance_id)
                  WHEN status IN ('failed', 'stuck') THEN format('SELECT df.retry_instance(''%s'') resumes it where it failed.', instance_id)
                  WHEN verb <> 'retry' THEN 'It is over.'
                  WHEN status = 'compensated' THEN format('What it had done was undone. SELECT df.fork(''%s'', ''00000000'') runs it anew, with its variables of then.', instance_id)
                  ELSE format('SELECT df.fork(''%s'', node) runs a copy of it from one of its steps on.', instance_id)
              END;
END $$;
COMMENT ON FUNCTION df._refuse_verb(text, text, text) IS 'Says why a verb does not apply to an instance, and what does.';

-- ---------------------------------------------------------------------------------------------------------
-- Pausing
-- ---------------------------------------------------------------------------------------------------------

CREATE FUNCTION df.pause(instance_id text, reason text DEFAULT 'Paused by user') RETURNS text
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found_status text := df._require_instance(instance_id);
BEGIN
    UPDATE df.instances i SET status = 'paused', pause_reason = reason, updated_at = clock_timestamp()
    WHERE i.id = pause.instance_id AND i.status IN ('pending', 'running');
    IF NOT FOUND THEN
        found_status := df._require_instance(instance_id);
        IF found_status <> 'paused' THEN
            PERFORM df._refuse_verb('pause', instance_id, found_status);
        END IF;
        RETURN format('Instance %s is paused already', instance_id);
    END IF;
    RETURN format('Instance %s paused: %s', instance_id, reason);
END
$$;
COMMENT ON FUNCTION df.pause(text, text) IS
    'Lets an instance rest until df.resume; a step that is being executed is rolled back and runs again afterwards.';

-- Whoever holds the instance loses it, as when it is cancelled. One that was never begun has nobody to be kept out, and
-- shall not look as if it had been.
CREATE FUNCTION df._on_pause() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.epoch := OLD.epoch + CASE WHEN OLD.status = 'running' THEN 1 ELSE 0 END;
    NEW.due := NULL;
    NEW.worker := NULL;
    PERFORM pg_notify('df', 'c:' || OLD.id);
    RETURN NEW;
END $$;
COMMENT ON FUNCTION df._on_pause() IS 'Takes a paused instance out of its worker''s hands.';
REVOKE ALL ON FUNCTION df._on_pause() FROM PUBLIC;

CREATE TRIGGER instances_pause BEFORE UPDATE OF status ON df.instances
    FOR EACH ROW WHEN (NEW.status = 'paused' AND OLD.status IN ('pending', 'running'))
    EXECUTE FUNCTION df._on_pause();

CREATE FUNCTION df.resume(instance_id text) RETURNS text
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM df._require_instance(instance_id);
    UPDATE df.instances i SET status = 'running', pause_reason = NULL, updated_at = clock_timestamp()
    WHERE i.id = resume.instance_id AND i.status = 'paused';
    IF NOT FOUND THEN
        PERFORM df._refuse_verb('resume', instance_id, df._require_instance(instance_id));
    END IF;
    RETURN format('Instance %s resumed', instance_id);
END
$$;
COMMENT ON FUNCTION df.resume(text) IS 'Lets a paused instance go on; what fell due meanwhile happens now.';

CREATE FUNCTION df._on_resume() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.status := CASE WHEN OLD.epoch = 0 THEN 'pending' ELSE 'running' END;
    NEW.pause_reason := NULL;
    NEW.due := clock_timestamp();
    NEW.setbacks := 0;
    PERFORM df._wake();
    RETURN NEW;
END $$;
COMMENT ON FUNCTION df._on_resume() IS 'Makes a paused instance due.';
REVOKE ALL ON FUNCTION df._on_resume() FROM PUBLIC;

CREATE TRIGGER instances_resume BEFORE UPDATE OF status ON df.instances
    FOR EACH ROW WHEN (OLD.status = 'paused' AND NEW.status IN ('pending', 'running') AND NEW.worker IS NULL)
    EXECUTE FUNCTION df._on_resume();

-- ---------------------------------------------------------------------------------------------------------
-- Resuming where it failed
-- ---------------------------------------------------------------------------------------------------------

CREATE FUNCTION df._outer_gen(gen text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN regexp_replace($1, '\.?[0-9]+$', '');
COMMENT ON FUNCTION df._outer_gen(text) IS 'The generation around a LOOP or RETRY, from its own row''s.';

CREATE FUNCTION df._is_within(node integer, root integer, nodes jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Numbers are given in pre-order: what is above has a smaller one.
    WHILE node > root LOOP
        node := (nodes->node->>'p')::integer;
    END LOOP;
    RETURN node IS NOT DISTINCT FROM root;
END $$;
COMMENT ON FUNCTION df._is_within(integer, integer, jsonb) IS 'Whether a node is another one or stands below it.';

-- Down from `p_root`, along the rows that failed. What is to become of each:
--   forget  it runs again: a step, or something around one
--   repeat  a LOOP or RETRY, which goes on in the generation or attempt that failed
--   after   a loop that goes on after failures, whose condition failed behind a failed body: the body's failure stays
--   reset   a cleanup that has run and will have to run again, with all below it
-- A failure that a handler took care of is not undone; when the handler failed, only that is run again.
CREATE FUNCTION df._failed_nodes(p_instance text, p_nodes jsonb, p_root integer DEFAULT 0, p_gen text DEFAULT '')
RETURNS TABLE (node integer, action text)
LANGUAGE plpgsql STABLE ROWS 5 SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    stack integer[] := ARRAY[p_root];
    around text[] := ARRAY[p_gen];
    top integer := 1;
    at integer;
    entry record;
    info jsonb;
    kind text;
    bodies integer[];
    failed integer[];
BEGIN
    WHILE top > 0 LOOP
        at := stack[top];
        info := p_nodes->at;
        kind := info->>'t';
        SELECT j.state, j.gen INTO entry FROM df.journal j
        WHERE j.instance_id = p_instance AND j.node = at AND j.state IN ('failed', 'broken')
          AND around[top] = CASE WHEN kind IN ('LOOP', 'RETRY') THEN df._outer_gen(j.gen) ELSE j.gen END;
        top := top - 1;
        CONTINUE WHEN NOT FOUND;
        bodies := array_remove(ARRAY[(info->>'l')::integer, (info->>'r')::integer, (info->>'c')::integer]
            || ARRAY(SELECT x::integer FROM jsonb_array_elements_text(coalesce(info->'x', '[]')) x), NULL);
        SELECT coalesce(array_agg(j.node), '{}') INTO failed FROM df.journal j
        WHERE j.instance_id = p_instance AND j.node = ANY (bodies) AND j.state IN ('failed', 'broken')
          AND entry.gen = CASE WHEN p_nodes->j.node->>'t' IN ('LOOP', 'RETRY') THEN df._outer_gen(j.gen) ELSE j.gen END;
        node := at;
        action := CASE WHEN kind IN ('LOOP', 'RETRY') THEN 'repeat' ELSE 'forget' END;
        CASE
            WHEN kind = 'UNDO' THEN
                bodies := bodies[1:1];
            WHEN kind = 'CATCH' THEN
                bodies := CASE WHEN bodies[2] = ANY (failed) THEN bodies[2:2] ELSE bodies[1:1] END;
            WHEN kind = 'FINALLY' THEN
                IF bodies[1] = ANY (failed) THEN
                    RETURN QUERY SELECT bodies[2], 'reset'::text;
                    bodies := bodies[1:1];
                ELSE
                    bodies := bodies[2:2];
                END IF;
            WHEN kind = 'LOOP' AND (info->>'q')::jsonb->>'continue_on_failure' = 'true' AND bodies[1] = ANY (failed) THEN
                action := 'after';
                bodies := bodies[2:2];
            ELSE NULL;
        END CASE;
        RETURN NEXT;
        FOREACH at IN ARRAY bodies LOOP
            IF at = ANY (failed) THEN
                top := top + 1;
                stack[top] := at;
                around[top] := entry.gen;
            END IF;
        END LOOP;
    END LOOP;
END
$$;
COMMENT ON FUNCTION df._failed_nodes(text, jsonb, integer, text) IS
    'What df.retry_instance does with the journal of a failed instance, or of one failed undo.';

-- For people, before they retry: the steps that will run again, or the undo that will.
CREATE FUNCTION df._failed_steps(p_instance text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    WITH parts AS (
        SELECT i.id, p.nodes, 0 AS root, '' AS gen FROM df.instances i
        JOIN df.programs p ON p.owner = i.submitted_by AND p.hash = i.program
        WHERE i.id = p_instance AND i.status = 'failed'
        UNION ALL
        SELECT i.id, p.nodes, (p.nodes->u.node->>'r')::integer, u.gen FROM df.instances i
        JOIN df.programs p ON p.owner = i.submitted_by AND p.hash = i.program
        JOIN df.undos u ON u.instance_id = i.id AND u.state = 'failed'
        WHERE i.id = p_instance AND i.status = 'stuck'
    ), failed AS (
        SELECT f.node, s.nodes FROM parts s, df._failed_nodes(s.id, s.nodes, s.root, s.gen) AS f WHERE f.action <> 'reset'
    )
    SELECT string_agg(df._node_id(f.node), ', ' ORDER BY f.node) FROM failed f
    WHERE NOT EXISTS (SELECT FROM failed b WHERE f.node = (b.nodes->b.node->>'p')::integer)
$$;
COMMENT ON FUNCTION df._failed_steps(text) IS 'The ids of the steps at which df.retry_instance resumes an instance.';

CREATE FUNCTION df.retry_instance(instance_id text) RETURNS text
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    holder text;
BEGIN
    PERFORM df._require_instance(instance_id);
    SELECT h.id INTO holder FROM df.instances i
    JOIN df.instances h ON h.submitted_by = i.submitted_by AND h.key = i.key AND h.status IN ('pending', 'running', 'paused')
    WHERE i.id = retry_instance.instance_id AND i.status IN ('failed', 'stuck');
    IF FOUND THEN
        RAISE EXCEPTION 'cannot retry instance %: its key is taken by instance %', instance_id, holder
            USING ERRCODE = 'unique_violation', HINT = 'Wait until that one is over, or cancel it.';
    END IF;
    UPDATE df.instances i SET status = 'running', updated_at = clock_timestamp()
    WHERE i.id = retry_instance.instance_id AND i.status IN ('failed', 'stuck');
    IF NOT FOUND THEN
        PERFORM df._refuse_verb('retry', instance_id, df._require_instance(instance_id));
    END IF;
    RETURN format('Instance %s resumed where it failed', instance_id);
END
$$;
COMMENT ON FUNCTION df.retry_instance(text) IS
    'Resumes a failed instance at the step that failed, or a stuck one at its undo; all before that is kept.';

-- After this a worker finds a journal that could have been written by a run that has not failed yet.
CREATE FUNCTION df._rewind(p_instance text, p_nodes jsonb, p_root integer, p_gen text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    failed record;
BEGIN
    FOR failed IN SELECT * FROM df._failed_nodes(p_instance, p_nodes, p_root, p_gen) LOOP
        IF failed.action IN ('repeat', 'after') THEN
            UPDATE df.journal j
            SET state = 'looping', value = NULL, refs = NULL, columns = NULL, due = NULL,
                attempts = CASE WHEN p_nodes->failed.node->>'t' = 'RETRY' THEN substring(j.gen FROM '[0-9]+$')::integer
                                WHEN failed.action = 'after' THEN greatest(j.attempts - 1, 0)  -- a replay counts it again
                                ELSE j.attempts END
            WHERE j.instance_id = p_instance AND j.node = failed.node;
        ELSE
            DELETE FROM df.journal j
            WHERE j.instance_id = p_instance
              AND (j.node = failed.node OR failed.action = 'reset' AND df._is_within(j.node, failed.node, p_nodes));
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION df._rewind(text, jsonb, integer, text) IS 'Takes back what failed, from the journal of an instance or of one undo.';
REVOKE ALL ON FUNCTION df._rewind(text, jsonb, integer, text) FROM PUBLIC;

CREATE FUNCTION df._on_retry() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    nodes jsonb := (SELECT p.nodes FROM df.programs p WHERE p.owner = OLD.submitted_by AND p.hash = OLD.program);
    undo df.undos;
BEGIN
    IF OLD.status = 'failed' THEN
        PERFORM df._rewind(OLD.id, nodes, 0, '');
        DELETE FROM df.journal j WHERE j.instance_id = OLD.id AND j.node = -1;
        -- Cleanups of bodies that were cut off: what is run again owes them again.
        DELETE FROM df.undos u WHERE u.instance_id = OLD.id AND nodes->u.node->>'t' = 'FINALLY';
        NEW.policy := NULLIF(OLD.policy - 'deadline', '{}');
    ELSE
        FOR undo IN SELECT * FROM df.undos u WHERE u.instance_id = OLD.id AND u.state = 'failed' LOOP
            PERFORM df._rewind(OLD.id, nodes, (nodes->undo.node->>'r')::integer, undo.gen);
        END LOOP;
        UPDATE df.undos u SET state = 'ready', error = NULL, settled = NULL WHERE u.instance_id = OLD.id AND u.state = 'failed';
        -- Unless it is the deadline that the undos are about, the run may go on behind them.
        IF NOT EXISTS (SELECT FROM df.journal j WHERE j.instance_id = OLD.id AND j.node = -1 AND j.state = 'failed') THEN
            NEW.policy := NULLIF(OLD.policy - 'deadline', '{}');
        END IF;
    END IF;
    NEW.output := NULL;
    NEW.completed_at := NULL;
    NEW.epoch := OLD.epoch + 1;
    NEW.due := clock_timestamp();
    NEW.worker := NULL;
    NEW.setbacks := 0;
    PERFORM df._wake();
    RETURN NEW;
END $$;
COMMENT ON FUNCTION df._on_retry() IS 'Makes a failed instance due again, at the step that failed.';
REVOKE ALL ON FUNCTION df._on_retry() FROM PUBLIC;

CREATE TRIGGER instances_retry BEFORE UPDATE OF status ON df.instances
    FOR EACH ROW WHEN (OLD.status IN ('failed', 'stuck') AND NEW.status = 'running' AND NEW.worker IS NULL)
    EXECUTE FUNCTION df._on_retry();
