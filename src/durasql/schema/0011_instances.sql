-- 0011 instances: what a role does with its instances: look, wait, cancel, signal; and its variables.

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
