-- 0027 forks: copies of instances that go on from one of their steps.
--
-- In: the id of an instance and a node of it. Out: an instance of the same make whose journal holds what came before that
-- node. The caller adds the instance and a row of df.forks; the trigger on that row copies the journal.

-- A row is an instance that was forked: its owner puts it there, and the trigger copies what came before.
CREATE TABLE df.forks (
    instance_id varchar(8) NOT NULL,
    origin varchar(8) NOT NULL,
    node integer NOT NULL,
    forked_by regrole NOT NULL DEFAULT (quote_ident(current_user))::regrole,
    forked_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT forks_pkey PRIMARY KEY (instance_id)
);
COMMENT ON TABLE df.forks IS 'Which instances are copies, of which others and from which step.';
ALTER TABLE df.forks ENABLE ROW LEVEL SECURITY;
CREATE POLICY forks_user_isolation ON df.forks
    USING (forked_by = (quote_ident(current_user))::regrole)
    WITH CHECK (forked_by = (quote_ident(current_user))::regrole);

-- The generation in which a node runs, or would run next, by the rows of the loops and retries around it.
CREATE FUNCTION df._current_gen(p_instance text, p_nodes jsonb, p_node integer) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    path integer[] := '{}';
    at integer := (p_nodes->p_node->>'p')::integer;
    around text := '';
    own text;
BEGIN
    WHILE at IS NOT NULL LOOP
        IF p_nodes->at->>'t' IN ('LOOP', 'RETRY') THEN
            path := at || path;
        END IF;
        at := (p_nodes->at->>'p')::integer;
    END LOOP;
    FOREACH at IN ARRAY path LOOP
        SELECT j.gen INTO own FROM df.journal j WHERE j.instance_id = p_instance AND j.node = at AND df._outer_gen(j.gen) = around;
        around := CASE WHEN FOUND THEN own WHEN around = '' THEN '1' ELSE around || '.1' END;
    END LOOP;
    RETURN around;
END
$$;
COMMENT ON FUNCTION df._current_gen(text, jsonb, integer) IS 'The generation of the loops and retries around a node.';

-- Where in the journal a step began: everything with a smaller number came before it.
CREATE FUNCTION df._fork_point(p_instance text, p_nodes jsonb, p_node integer) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    around text := df._current_gen(p_instance, p_nodes, p_node);
    first bigint;
    rows_inside bigint;
    child integer := p_node;
    at integer := (p_nodes->p_node->>'p')::integer;
    known text;
BEGIN
    SELECT min(j.seq) FILTER (WHERE around = '' OR j.gen = around OR starts_with(j.gen, around || '.')), count(*) INTO first, rows_inside
    FROM df.journal j WHERE j.instance_id = p_instance AND j.node >= p_node AND df._is_within(j.node, p_node, p_nodes);
    WHILE at IS NOT NULL LOOP
        IF child::text = p_nodes->at->>'r' AND (p_nodes->at->>'t' = 'UNDO' OR p_nodes->at->>'t' = 'FINALLY' AND NOT EXISTS (
            SELECT FROM df.journal j WHERE j.instance_id = p_instance AND j.node = (p_nodes->at->>'l')::integer
              AND j.state IN ('done', 'failed', 'broken') AND j.seq < first)) THEN
            RAISE EXCEPTION 'cannot fork instance % at node %: it belongs to what is done when something fails',
                p_instance, df._node_id(p_node)
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = format('Fork at %s, whose undo or cleanup it is, or at a step before.', df._node_id(at));
        END IF;
        child := at;
        at := (p_nodes->at->>'p')::integer;
    END LOOP;
    IF first IS NOT NULL OR p_node = 0
       OR EXISTS (SELECT FROM df._nodes n WHERE n.instance_id = p_instance AND n.number = p_node AND n.status = 'running') THEN
        RETURN coalesce(first, 9223372036854775807);
    END IF;
    SELECT string_agg(n.id, ', ' ORDER BY n.number) INTO known
    FROM (SELECT n.id, n.number FROM df._nodes n
          WHERE n.instance_id = p_instance AND n.status IN ('completed', 'failed', 'running') ORDER BY n.number LIMIT 20) AS n;
    RAISE EXCEPTION 'cannot fork instance % at node %: %', p_instance, df._node_id(p_node),
        CASE WHEN rows_inside > 0 THEN 'what it did belongs to an earlier iteration of the loop around it, which is gone'
             ELSE 'it was never reached' END
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = format('What was reached: %s. SELECT * FROM df.instance_nodes(''%s'') shows them.', coalesce(known, '00000000'), p_instance);
END
$$;
COMMENT ON FUNCTION df._fork_point(text, jsonb, integer) IS 'The first journal entry of a step, or why nothing can be forked there.';

CREATE FUNCTION df.fork(instance_id text, node text) RETURNS text
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    origin df.instances;
    known integer;
    made text;
BEGIN
    PERFORM df._require_instance(instance_id);
    SELECT * INTO STRICT origin FROM df.instances i WHERE i.id = fork.instance_id;
    IF origin.submitted_by <> quote_ident(current_user)::regrole THEN
        RAISE EXCEPTION 'instance % was started by role %', instance_id, origin.submitted_by
            USING ERRCODE = 'insufficient_privilege', HINT = 'A copy runs as whoever forks it, so only that role can.';
    END IF;
    SELECT jsonb_array_length(p.nodes) INTO known FROM df.programs p WHERE p.owner = origin.submitted_by AND p.hash = origin.program;
    IF node !~ '^[0-9A-Fa-f]{8}$' OR ('x0' || substr(node, 2))::bit(32)::integer >= known OR left(node, 1) <> '0' THEN
        RAISE EXCEPTION 'instance % has no node %', instance_id, left(node, 50)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = format('Node ids are those of df.instance_nodes, 00000000 to %s.', df._node_id(known - 1));
    END IF;
    PERFORM df._admit(origin.database);
    made := df._insert_governed(origin.label, origin.database, origin.program, origin.search_path, origin.vars,
        -- As much time as the first one had.
        CASE WHEN origin.policy ? 'deadline'
             THEN origin.policy || jsonb_build_object('deadline', df._deadline(
                 now() + ((origin.policy->>'deadline')::timestamptz - origin.created_at)))
             ELSE origin.policy END, NULL, NULL);
    INSERT INTO df.forks (instance_id, origin, node) VALUES (made, origin.id, ('x' || node)::bit(32)::integer);
    PERFORM df._wake();
    RETURN made;
END
$$;
COMMENT ON FUNCTION df.fork(text, text) IS
    'Starts a copy of an instance that goes on from one of its steps, with everything before it as it was; returns the new id.';

-- The copied rows must be read by whoever claims the instance first, as if a worker had been there before: hence its epoch.
CREATE FUNCTION df._on_fork() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    copy df.instances;
    nodes jsonb;
    around integer[] := '{}';
    at integer := NEW.node;
    first bigint;
BEGIN
    SELECT * INTO copy FROM df.instances i
    WHERE i.id = NEW.instance_id AND i.submitted_by = NEW.forked_by AND i.status = 'pending' AND i.epoch = 0 FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'instance % is not one that can become a copy', NEW.instance_id
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Use df.fork(), which starts one.';
    END IF;
    -- Nobody writes the origin's journal while it is copied.
    PERFORM FROM df.instances i
    WHERE i.id = NEW.origin AND i.submitted_by = NEW.forked_by AND i.program = copy.program FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'Instance not found or access denied: %', NEW.origin USING ERRCODE = 'no_data_found';
    END IF;
    SELECT p.nodes INTO nodes FROM df.programs p WHERE p.owner = copy.submitted_by AND p.hash = copy.program;
    first := df._fork_point(NEW.origin, nodes, NEW.node);
    LOOP
        at := (nodes->at->>'p')::integer;
        EXIT WHEN at IS NULL;
        around := around || at;
    END LOOP;
    PERFORM df._copy_history(NEW.origin, NEW.instance_id, nodes, NEW.node, around, first);
    UPDATE df.instances i SET epoch = 1 WHERE i.id = NEW.instance_id;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION df._on_fork() IS 'Gives a forked instance the history of its origin.';
REVOKE ALL ON FUNCTION df._on_fork() FROM PUBLIC;

CREATE TRIGGER forks_copy BEFORE INSERT ON df.forks FOR EACH ROW EXECUTE FUNCTION df._on_fork();

-- Waits are not copied, they begin anew. Loops and retries around the step, and those beside it whose current generation had
-- begun before it, go on in that generation.
CREATE FUNCTION df._copy_history(p_origin text, p_copy text, p_nodes jsonb, p_node integer, p_around integer[], p_first bigint)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    since timestamptz := coalesce((SELECT min(j.recorded_at) FROM df.journal j WHERE j.instance_id = p_origin AND j.seq = p_first), 'infinity');
BEGIN
    INSERT INTO df.journal (instance_id, node, gen, seq, state, value, refs, columns, names, attempts, started_at, recorded_at)
    SELECT p_copy, j.node, j.gen, j.seq, j.state, j.value, j.refs, j.columns, j.names, j.attempts, j.started_at, j.recorded_at
    FROM df.journal j
    WHERE j.instance_id = p_origin AND j.node >= 0 AND j.seq < p_first AND j.state IN ('done', 'failed', 'broken', 'looping')
      AND j.node <> ALL (p_around) AND NOT df._is_within(j.node, p_node, p_nodes);
    INSERT INTO df.journal (instance_id, node, gen, seq, state, names, attempts, recorded_at)
    SELECT p_copy, j.node, j.gen, 0, 'looping', j.names,
           CASE p_nodes->j.node->>'t' WHEN 'RETRY' THEN substring(j.gen FROM '[0-9]+$')::integer ELSE j.attempts END, j.recorded_at
    FROM df.journal j
    WHERE j.instance_id = p_origin AND p_nodes->j.node->>'t' IN ('LOOP', 'RETRY') AND j.node >= 0
      AND (j.node = ANY (p_around)
           OR j.seq >= p_first AND NOT df._is_within(j.node, p_node, p_nodes)
              AND EXISTS (SELECT FROM df.journal b
                          WHERE b.instance_id = p_origin AND b.node > j.node AND b.seq < p_first
                            AND (b.gen = j.gen OR starts_with(b.gen, j.gen || '.')) AND df._is_within(b.node, j.node, p_nodes)))
    ON CONFLICT DO NOTHING;
    INSERT INTO df.attempts (instance_id, node, gen, attempt, error, next_at, failed_at)
    SELECT p_copy, a.node, a.gen, a.attempt, a.error, a.next_at, a.failed_at FROM df.attempts a
    WHERE a.instance_id = p_origin AND a.failed_at < since AND NOT df._is_within(a.node, p_node, p_nodes);
    -- What was undone after the step had completed when the step began.
    INSERT INTO df.undos (instance_id, node, gen, seq, state, names, settled, recorded_at)
    SELECT p_copy, u.node, u.gen, u.seq, CASE WHEN u.state = 'done' AND u.settled < p_first THEN 'done' ELSE 'ready' END,
           u.names, CASE WHEN u.state = 'done' AND u.settled < p_first THEN u.settled END, u.recorded_at
    FROM df.undos u
    WHERE u.instance_id = p_origin AND u.seq < p_first AND NOT df._is_within(u.node, p_node, p_nodes);
END
$$;
COMMENT ON FUNCTION df._copy_history(text, text, jsonb, integer, integer[], bigint) IS 'Copies what an instance had done before a step.';
REVOKE ALL ON FUNCTION df._copy_history(text, text, jsonb, integer, integer[], bigint) FROM PUBLIC;
