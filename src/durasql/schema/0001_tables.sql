-- 0001 tables: the one store. Programs, instances, journal, signals, variables, workers, settings.
--
-- Who writes what:
--   roles      insert into programs, instances, signals and vars through column grants and row-level security,
--              always as themselves; the identity columns are defaults nobody may name.
--   triggers   SECURITY DEFINER; do what follows from a legitimate row (validate, wake, cancel).
--   workers    write the journal and the engine's columns only through functions that check the claim.

DO $$
BEGIN
    -- Program hashes are made of UTF-8, JSON escapes need it, and workers speak nothing else.
    IF pg_catalog.getdatabaseencoding() <> 'UTF8' THEN
        RAISE EXCEPTION 'durasql needs a database with encoding UTF8; % has %',
            pg_catalog.current_database(), pg_catalog.getdatabaseencoding()
            USING ERRCODE = 'feature_not_supported',
                  HINT = 'CREATE DATABASE … ENCODING ''UTF8'' LOCALE ''C.UTF-8'' TEMPLATE template0';
    END IF;
END $$;

CREATE SCHEMA df;
COMMENT ON SCHEMA df IS 'durasql: durable SQL workflows';
REVOKE ALL ON SCHEMA df FROM PUBLIC;

CREATE TABLE df.settings (
    name text PRIMARY KEY,
    value text NOT NULL,
    description text NOT NULL
);
COMMENT ON TABLE df.settings IS 'Installation-wide settings; only the owner of schema df can change them.';
ALTER TABLE df.settings ENABLE ROW LEVEL SECURITY;

-- A program is a workflow's graph, validated and numbered, stored once per role and content.
-- `graph` is the canonical envelope, `hash` its SHA-256, `nodes` the numbered node table:
--   [{"t":"THEN","l":1,"r":2}, {"t":"SQL","q":"SELECT 1","n":"a","p":0}, …]
--   t type, q query, n result name, l/r/c/x left/right/condition/extras (node numbers), p parent
-- `code` is the bytecode that the first worker compiled; it never changes afterwards.
-- `unused_since` is when retention first found no instance of it; see 0023.
CREATE TABLE df.programs (
    owner regrole NOT NULL DEFAULT (quote_ident(current_user))::regrole,
    hash text NOT NULL,
    format integer NOT NULL DEFAULT 1,
    graph text NOT NULL,
    nodes jsonb NOT NULL,
    code text,
    created_at timestamptz NOT NULL DEFAULT now(),
    unused_since timestamptz,
    CONSTRAINT programs_pkey PRIMARY KEY (owner, hash)
);
COMMENT ON TABLE df.programs IS 'Validated workflow graphs and their bytecode, one row per role and content.';
ALTER TABLE df.programs ENABLE ROW LEVEL SECURITY;
CREATE POLICY programs_user_isolation ON df.programs
    USING (owner = (quote_ident(current_user))::regrole)
    WITH CHECK (owner = (quote_ident(current_user))::regrole);

-- PostgreSQL reads the CHECKs of a table anew for every statement, those of a domain once in a session. So what every start
-- and every step would pay for is a domain where the column is the engine's own.
--
-- Every claim carries the first two, so what roles write there by hand must stay within what a worker can take. Times
-- that neither Python nor PostgreSQL before 17 can reckon with would fail whoever looks for what is due.
CREATE DOMAIN df._variables AS jsonb
    CHECK (jsonb_typeof(VALUE) = 'object' AND octet_length(VALUE::text) <= 16777216);
CREATE DOMAIN df._search_path AS text CHECK (octet_length(VALUE) <= 65536);
CREATE DOMAIN df._moment AS timestamptz
    CHECK (VALUE BETWEEN '1970-01-01 00:00+00' AND '9999-01-01 00:00+00');
CREATE DOMAIN df._journal_state AS text
    CHECK (VALUE IN ('waiting', 'started', 'looping', 'done', 'failed', 'broken'));
COMMENT ON DOMAIN df._variables IS 'Workflow variables: a JSON object of at most 16 MB.';
COMMENT ON DOMAIN df._search_path IS 'A search_path of at most 64 kB.';
COMMENT ON DOMAIN df._moment IS 'A time that every part of durasql can reckon with.';
COMMENT ON DOMAIN df._journal_state IS 'What a row of df.journal says about its node.';

-- One row is one run of a workflow. The first nine columns are the compatible face; the rest is the engine's.
--   due      when a worker should look at it (NULL: in a worker's hands, waiting for a signal only, or over)
--   program  names a row of df.programs, which retention keeps for as long as it is named (0023). No foreign key: it would
--            lock that one row in every start.
--   worker   who holds it
--   epoch    raised by every claim and by cancellation; a journal write must name the current one
--   setbacks workers lost in succession while they held it, without its journal having grown; lost_seq says how far it was
--   policy   what df.start was told about failures: {"max_attempts", "backoff", "max_backoff" (seconds), "on_failure", "deadline"}
--   key      only one instance of a role with this key is active (pending, running or paused) at a time
--
-- `paused` waits for df.resume. A failure that undid what had completed ends as `compensated`; when an undo failed, too, the
-- instance is `stuck` until somebody has it tried again with df.retry_instance.
CREATE TABLE df.instances (
    id varchar(8) NOT NULL DEFAULT lpad(to_hex((random() * 4294967295)::bigint), 8, '0'),
    label text,
    root_node varchar(8) NOT NULL DEFAULT '00000000',
    status text DEFAULT 'pending',
    submitted_by regrole NOT NULL DEFAULT (quote_ident(current_user))::regrole,
    database text,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    completed_at timestamptz,
    program text NOT NULL,
    search_path df._search_path,
    vars df._variables,
    cancel_reason text,
    output text,
    due timestamptz DEFAULT now(),
    worker integer,
    epoch bigint NOT NULL DEFAULT 0,
    setbacks integer NOT NULL DEFAULT 0,
    lost_seq bigint NOT NULL DEFAULT 0,
    policy jsonb,
    key text,
    pause_reason text,
    CONSTRAINT instances_pkey PRIMARY KEY (id),
    CONSTRAINT instances_identity_key UNIQUE (id, submitted_by),
    CONSTRAINT instances_id_format_chk CHECK (id ~ '^[0-9a-f]{8}$'),
    CONSTRAINT instances_root_node_format_chk CHECK (root_node ~ '^[0-9a-f]{8}$'),
    CONSTRAINT instances_status_chk
        CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled', 'paused', 'compensated', 'stuck')),
    CONSTRAINT instances_size_chk CHECK (octet_length(label) <= 65536
        AND octet_length(key) BETWEEN 1 AND 1024 AND octet_length(pause_reason) <= 65536)
) WITH (fillfactor = 80);
COMMENT ON TABLE df.instances IS 'Workflow runs; a role sees its own.';
CREATE INDEX idx_instances_status ON df.instances (status, created_at DESC, id);
CREATE INDEX idx_instances_created_at ON df.instances (created_at DESC, id);
CREATE INDEX idx_instances_label ON df.instances (label, created_at DESC, id) WHERE label IS NOT NULL;
-- The queue. The id makes every place in it one of its own, where a search can go on: see df._claim.
CREATE INDEX instances_due_idx ON df.instances (due, id) WHERE due IS NOT NULL;
CREATE UNIQUE INDEX instances_key_idx ON df.instances (submitted_by, key)
    WHERE key IS NOT NULL AND status IN ('pending', 'running', 'paused');
CREATE INDEX instances_worker_idx ON df.instances (worker) WHERE worker IS NOT NULL;
ALTER TABLE df.instances ENABLE ROW LEVEL SECURITY;
CREATE POLICY instances_user_isolation ON df.instances
    USING (submitted_by = (quote_ident(current_user))::regrole)
    WITH CHECK (submitted_by = (quote_ident(current_user))::regrole);

-- The journal: one row per node and current loop generation, replaced when the loop comes round again.
--   node     number of the node in programs.nodes
--   gen      counters of the enclosing loops, outermost first, joined by dots ('' outside loops, '3', '3.1');
--            for a LOOP node's own row (also when it is over) the last number is its own generation
--   seq      order of recording within the instance; replay reads rows in this order
--   state    waiting   armed wait: `due` is its deadline (NULL: none)
--            started   an at-least-once step was begun and may have taken effect
--            looping   a LOOP's progress
--            done      finished; `value` is the result
--            failed    finished; `value` is the error as a JSON object, see docs/runtime.md
--            broken    a break passed through; `value` is the break value
--   columns  names and types of an SQL result without rows, as JSON [["name","type"], …]
--   names    for a LOOP: the results bound inside it that its current generation began with
--   started_at  of leaves: when the step was sent to the server, or the wait began; recorded_at is when that was over
--   refs     instead of a value: the nodes whose values make it, one node (the same value) or a JOIN's branches
CREATE TABLE df.journal (
    instance_id varchar(8) NOT NULL,
    node integer NOT NULL,
    gen text NOT NULL DEFAULT '',
    seq bigint NOT NULL,
    state df._journal_state NOT NULL,
    value text,
    refs integer[],
    columns text,
    names text,
    due df._moment,
    attempts integer NOT NULL DEFAULT 1,
    started_at timestamptz,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT journal_pkey PRIMARY KEY (instance_id, node)
) WITH (fillfactor = 80);
COMMENT ON TABLE df.journal IS 'What each instance did: the only execution state.';
ALTER TABLE df.journal ENABLE ROW LEVEL SECURITY;

-- Tries that failed: of a df.retry, of a step under the run's own policy, and
-- the latest of a loop that goes on after failures. They go when the loop around comes round.
--   node     the RETRY or LOOP node, or the step itself
--   gen      counters of the loops and retries around it
--   attempt  from 1; of a loop the generation that failed
--   error    what went wrong, as in df.journal
--   next_at  when the next try was due; NULL when there was none
CREATE TABLE df.attempts (
    instance_id varchar(8) NOT NULL,
    node integer NOT NULL,
    gen text NOT NULL,
    attempt integer NOT NULL,
    error text NOT NULL,
    next_at timestamptz,
    failed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT attempts_pkey PRIMARY KEY (instance_id, node, attempt)
);
COMMENT ON TABLE df.attempts IS 'Tries that failed, and when the next one was due.';
ALTER TABLE df.attempts ENABLE ROW LEVEL SECURITY;

-- What has to be run if what completed turns out to have been in vain.
--   node   the UNDO node, or the FINALLY whose body was cut off
--   gen    the generation that it completed in
--   seq    order of completion, shared with df.journal
--   names  the results that it refers to, as they were then
--   settled when it was run, in the same count
--   state  ready   to be run when a failure leaves the scope it stands in
--          done    it was run
--          failed  it was tried and failed for good, with `error`
CREATE TABLE df.undos (
    instance_id varchar(8) NOT NULL,
    node integer NOT NULL,
    gen text NOT NULL,
    seq bigint NOT NULL,
    state text NOT NULL,
    names text,
    error text,
    settled bigint,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT undos_pkey PRIMARY KEY (instance_id, node, gen),
    CONSTRAINT undos_state_check CHECK (state IN ('ready', 'done', 'failed'))
);
COMMENT ON TABLE df.undos IS 'Undo steps that are due if their instance fails, and what became of them.';
ALTER TABLE df.undos ENABLE ROW LEVEL SECURITY;

-- The inbox. A row stays until a wait takes it; `name` is the signal's.
CREATE TABLE df.signals (
    instance_id varchar(8) NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    data text NOT NULL,
    sent_by regrole NOT NULL DEFAULT (quote_ident(current_user))::regrole,
    sent_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT signals_pkey PRIMARY KEY (instance_id, id),
    CONSTRAINT signals_size_chk CHECK (octet_length(name) <= 65536 AND octet_length(data) <= 16777216)
);
COMMENT ON TABLE df.signals IS 'Signals sent and not yet taken by a wait.';
ALTER TABLE df.signals ENABLE ROW LEVEL SECURITY;
CREATE POLICY signals_user_isolation ON df.signals
    USING (EXISTS (SELECT FROM df.instances i WHERE i.id = instance_id
                   AND i.submitted_by = (quote_ident(current_user))::regrole))
    WITH CHECK (EXISTS (SELECT FROM df.instances i WHERE i.id = instance_id));

CREATE TABLE df.vars (
    name text NOT NULL,
    value text,
    owner regrole NOT NULL DEFAULT (quote_ident(current_user))::regrole,
    CONSTRAINT vars_pkey PRIMARY KEY (owner, name)
);
COMMENT ON TABLE df.vars IS 'Workflow variables, per role; df.start takes a snapshot.';
ALTER TABLE df.vars ENABLE ROW LEVEL SECURITY;
CREATE POLICY vars_user_isolation ON df.vars
    USING (owner = (quote_ident(current_user))::regrole)
    WITH CHECK (owner = (quote_ident(current_user))::regrole);

-- A worker process. `token_hash` is the SHA-256 of a secret that only the worker knows. `lock_key` names the session lock
-- that shows it lives: anybody may take advisory locks, so nobody may know beforehand which one it will be.
CREATE TABLE df._workers (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    epoch_id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    role regrole NOT NULL,
    token_hash bytea NOT NULL,
    backend_pid integer NOT NULL,
    lock_key integer NOT NULL DEFAULT (random() * 2147483647)::integer,
    idle boolean NOT NULL DEFAULT false,
    draining boolean NOT NULL DEFAULT false,
    running integer NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL DEFAULT now(),
    heartbeat timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
COMMENT ON TABLE df._workers IS 'Worker processes and the hashes of their secrets; df.workers shows them.';
ALTER TABLE df._workers ENABLE ROW LEVEL SECURITY;

CREATE FUNCTION df.setting(name text) RETURNS text
LANGUAGE sql STABLE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT s.value FROM df.settings s WHERE s.name = $1 $$;
COMMENT ON FUNCTION df.setting(text) IS 'The value of one installation setting, or NULL.';

INSERT INTO df.settings (name, value, description) VALUES
    ('enable_superuser_instances', 'off', 'whether superusers may start workflows'),
    ('list_instances_max_limit', '1000', 'most rows one df.list_instances call may ask for'),
    ('retention_days', '30', 'days a finished instance is kept'),
    ('retention_count', '10000', 'finished instances kept at most, newest first'),
    ('reconcile_interval', '3600', 'seconds between retention passes; 0 turns them off'),
    ('max_new_transaction_starts', '2', 'df.start(transaction_mode => ''new'') launches at a time'),
    ('new_transaction_start_timeout', '5', 'seconds a launch waits for a free slot'),
    ('loop_min_interval', '0', 'seconds one loop iteration lasts at least'),
    ('loop_max_iterations', '0', 'iterations after which a loop fails; 0 means no limit'),
    ('max_result_bytes', '16777216', 'largest result of one step, as JSON'),
    ('http_max_request_bytes', '16777216', 'largest HTTP request body'),
    ('http_max_response_bytes', '16777216', 'largest HTTP response body'),
    ('http_max_timeout', '3600', 'longest HTTP timeout in seconds'),
    ('http_use_proxy', 'off', 'whether workers honour the proxy variables of their environment'),
    ('step_max_attempts', '1', 'tries of a failing step where neither df.retry nor df.start says anything; 1 means none again'),
    ('step_backoff', '1 s', 'pause before the second of these tries; it doubles each time'),
    ('step_max_backoff', '1 min', 'longest pause between these tries'),
    ('step_statement_timeout', '0', 'milliseconds one SQL step may take; 0 leaves it to the role''s own setting'),
    ('max_instance_bytes', '167772160', 'largest journal and inbox of one instance that a worker takes up again; at most 167772160'),
    ('max_workers_per_role', '200', 'workers that may be signed on as one role'),
    ('lease_seconds', '10', 'seconds without a heartbeat after which a worker counts as lost');
