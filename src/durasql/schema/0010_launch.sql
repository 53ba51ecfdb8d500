-- 0010 launch: df.start(transaction_mode => 'new'), the same start in a second session of the same role.

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
