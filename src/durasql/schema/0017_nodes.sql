-- 0017 nodes: every node's story, derived from the program and the journal. Nothing is stored for it.
--
-- In: programs.nodes (what the workflow is) and journal (what finished). Out: df.nodes, df.instance_nodes and the marks
-- of df.explain, which therefore always agree.
--
-- The journal has no row for a node that has merely begun. A node is `running` when execution reaches it from the root
-- in the current generation of all loops around it and it has no finished row of that generation.

-- The heart. Arrays are indexed by node number + 1; parents always come before their children (pre-order).
--   p_begun      whether any worker ever took the instance up
--   p_forgiving  whether the run goes on after failures that nothing catches
--   generation   the counters of the loops around a node, outermost first ('' outside loops), as in the journal; a RETRY
--                counts its attempts as a loop does its rounds
--   stamp        df.nodes.status_details; templates carry '#i#' where the i-th counter goes
--   since        the node whose journal row tells when this node got its status
CREATE FUNCTION df._node_states(p_instance text, p_nodes jsonb, p_begun boolean, p_forgiving boolean DEFAULT false)
RETURNS TABLE (node integer, node_type text, query text, result_name text, left_node integer, right_node integer,
               status text, stamp text, inferred text, decider integer, since integer)
LANGUAGE plpgsql STABLE ROWS 20 SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    kinds text[]; queries text[]; names text[]; lefts integer[]; rights integer[]; conditions integer[];
    extras text[]; parents integer[]; states text[]; gens text[];
    total integer;
    entry record;
    k integer; p integer; i integer;
    counts boolean[];       -- is a loop, or counts like one
    loops boolean;
    loop_of integer[];      -- innermost loop around a node
    depth integer[];        -- number of loops around it
    latest integer[];       -- one loop's newest counters, while they are gathered
    newest text[];          -- per loop: its newest counters, itself included
    inside text[];          -- per loop: the generation of its body
    templates text[];
    current text;           -- generation in which node k runs or would run
    stamps text[];
    fresh boolean[];        -- has a row of the current generation
    ended boolean[];        -- … a finished one
    active boolean[];       -- reached
    verdicts boolean[];     -- per IF: the arm taken
    deciders integer[];     -- nearest finished ancestor of this generation, the node itself included
    sinces integer[];
    number integer;
    numbers integer[]; leaders integer[];   -- highest generation number among the ancestors, and whose it is
BEGIN
    SELECT array_agg(v->>'t' ORDER BY at), array_agg(v->>'q' ORDER BY at), array_agg(v->>'n' ORDER BY at),
           array_agg((v->>'l')::integer ORDER BY at), array_agg((v->>'r')::integer ORDER BY at),
           array_agg((v->>'c')::integer ORDER BY at), array_agg(v->>'x' ORDER BY at),
           array_agg((v->>'p')::integer + 1 ORDER BY at), count(*)
    INTO kinds, queries, names, lefts, rights, conditions, extras, parents, total
    FROM jsonb_array_elements(p_nodes) WITH ORDINALITY AS e (v, at);

    states := array_fill(NULL::text, ARRAY[total]);
    gens := states;
    FOR entry IN SELECT j.node AS number, j.state, j.gen FROM df.journal j WHERE j.instance_id = p_instance AND j.node >= 0 LOOP
        states[entry.number + 1] := entry.state;
        gens[entry.number + 1] := entry.gen;
    END LOOP;

    SELECT array_agg(t.kind IN ('LOOP', 'RETRY') ORDER BY t.at) INTO counts FROM unnest(kinds) WITH ORDINALITY AS t (kind, at);
    loops := true = ANY (counts);
    loop_of := array_fill(NULL::integer, ARRAY[total]);
    depth := array_fill(0, ARRAY[total]);
    newest := array_fill(NULL::text, ARRAY[total]);
    inside := newest;
    templates := newest;
    stamps := newest;
    fresh := array_fill(false, ARRAY[total]);
    ended := fresh;
    active := fresh;
    verdicts := array_fill(NULL::boolean, ARRAY[total]);
    deciders := loop_of;
    sinces := loop_of;
    numbers := loop_of;
    leaders := loop_of;

    IF loops THEN
        FOR k IN 2..total LOOP
            p := parents[k];
            IF counts[p] THEN
                loop_of[k] := p;
                depth[k] := depth[p] + 1;
            ELSE
                loop_of[k] := loop_of[p];
                depth[k] := depth[p];
            END IF;
        END LOOP;
        -- Bottom-up: a loop has come as far as its own row and the rows inside it say.
        FOR k IN REVERSE total..1 LOOP
            i := CASE WHEN counts[k] THEN k ELSE loop_of[k] END;
            CONTINUE WHEN i IS NULL;
            latest := NULL;
            IF gens[k] <> '' THEN
                latest := (string_to_array(gens[k], '.')::integer[])[1:depth[i] + 1];
            END IF;
            latest := greatest(latest, newest[i]::integer[]);
            newest[i] := latest::text;
            IF i = k AND loop_of[k] IS NOT NULL AND latest IS NOT NULL THEN
                i := loop_of[k];
                newest[i] := greatest(newest[i]::integer[], latest[1:depth[k]])::text;
            END IF;
        END LOOP;
    END IF;

    -- Top-down: what is reached, what it says, what is ruled out.
    FOR k IN 1..total LOOP
        p := parents[k];
        current := CASE WHEN loop_of[k] IS NULL THEN '' ELSE inside[loop_of[k]] END;
        IF counts[k] THEN
            latest := coalesce(newest[k]::integer[], '{}');
            number := 1;
            IF latest[1:depth[k]] = string_to_array(current, '.')::integer[] THEN
                number := coalesce(latest[depth[k] + 1], 1);
            END IF;
            inside[k] := CASE WHEN current = '' THEN '' ELSE current || '.' END || number;
            fresh[k] := coalesce(regexp_replace(gens[k], '\.?[0-9]+$', '') = current, false);
        ELSE
            fresh[k] := coalesce(gens[k] = current, false);
        END IF;

        IF p IS NULL THEN
            active[k] := p_begun;
            templates[k] := p_instance || CASE WHEN counts[k] THEN '::#1#' ELSE '::1' END;
        ELSE
            templates[k] := templates[p];
            IF counts[k] THEN
                templates[k] := templates[p] || '::' || df._node_id(k - 1) || '::#' || depth[k] + 1 || '#';
            ELSIF kinds[p] IN ('JOIN', 'RACE') THEN
                templates[k] := templates[p] || '::' || df._node_id(k - 1) || '::1';
            END IF;
            deciders[k] := deciders[p];
            active[k] := active[p];
            sinces[k] := sinces[p];
            CASE kinds[p]
                WHEN 'IF' THEN
                    IF k - 1 IS DISTINCT FROM conditions[p] THEN
                        active[k] := fresh[k] OR coalesce(verdicts[p] = (k - 1 = lefts[p]), false);
                        sinces[k] := coalesce(conditions[p], sinces[p]);
                    END IF;
                WHEN 'THEN', 'LOOP' THEN
                    IF k - 1 <> lefts[p] THEN
                        active[k] := fresh[lefts[p] + 1] AND (states[lefts[p] + 1] = 'done' OR states[lefts[p] + 1] = 'failed'
                            AND (kinds[p] = 'LOOP' AND queries[p] IS NOT NULL OR kinds[p] = 'THEN' AND p_forgiving));
                        sinces[k] := lefts[p];
                    ELSIF kinds[p] = 'LOOP' AND fresh[p] AND states[p] = 'looping' THEN
                        sinces[k] := p - 1;
                    END IF;
                WHEN 'RETRY' THEN
                    IF fresh[p] AND states[p] IN ('looping', 'waiting') THEN
                        sinces[k] := p - 1;
                    END IF;
                WHEN 'CATCH', 'FINALLY' THEN
                    IF k - 1 <> lefts[p] THEN
                        active[k] := fresh[lefts[p] + 1]
                            AND (states[lefts[p] + 1] = 'failed' OR kinds[p] = 'FINALLY' AND states[lefts[p] + 1] IN ('done', 'broken'));
                        sinces[k] := lefts[p];
                    END IF;
                WHEN 'UNDO' THEN
                    IF k - 1 <> lefts[p] THEN
                        -- It is run when something else fails, whatever that has decided; it has begun when anything in it has.
                        active[k] := false;
                        FOR i IN k..total LOOP
                            EXIT WHEN i > k AND parents[i] < k;
                            active[k] := active[k] OR gens[i] = current OR current = '' AND gens[i] IS NOT NULL
                                OR starts_with(gens[i], current || '.');
                        END LOOP;
                        active[k] := coalesce(active[k], false);
                        IF active[k] THEN
                            deciders[k] := NULL;
                        END IF;
                    END IF;
                ELSE NULL;
            END CASE;
        END IF;

        ended[k] := states[k] IN ('done', 'failed', 'broken');

        node := k - 1;
        node_type := kinds[k];
        query := df._stored_query(queries[k], conditions[k], extras[k]);
        result_name := names[k];
        left_node := lefts[k];
        right_node := rights[k];
        status := CASE
            WHEN ended[k] AND (fresh[k] OR NOT active[k]) THEN CASE states[k] WHEN 'failed' THEN 'failed' ELSE 'completed' END
            WHEN active[k] THEN 'running'
            ELSE 'pending'
        END;
        stamp := NULL;
        IF status <> 'pending' OR gens[k] IS NOT NULL THEN
            stamp := templates[k];
            IF loops THEN
                latest := string_to_array(
                    CASE WHEN status = 'running' THEN coalesce(inside[k], current) ELSE gens[k] END, '.');
                FOR i IN 1..coalesce(array_length(latest, 1), 0) LOOP
                    stamp := replace(stamp, '#' || i || '#', latest[i]::text);
                END LOOP;
                stamp := regexp_replace(stamp, '#\d+#', '1', 'g');
            END IF;
        END IF;
        stamps[k] := stamp;

        -- The nearest ancestor with the highest generation number: whoever will run this node again.
        IF loops AND p IS NOT NULL THEN
            numbers[k] := numbers[p];
            leaders[k] := leaders[p];
            number := substring(stamps[p] FROM '[0-9]+$')::integer;
            IF number >= coalesce(numbers[p], 0) THEN
                numbers[k] := number;
                leaders[k] := p - 1;
            END IF;
        END IF;

        inferred := status;
        decider := NULL;
        IF status IN ('pending', 'running') THEN
            IF deciders[k] IS NOT NULL THEN
                inferred := 'skipped';
                decider := deciders[k];
            END IF;
        ELSIF NOT fresh[k] THEN
            inferred := CASE WHEN deciders[k] IS NULL THEN 'pending' ELSE 'skipped' END;
            decider := coalesce(deciders[k], leaders[k]);
        ELSE
            deciders[k] := k - 1;
        END IF;

        since := CASE WHEN fresh[k] AND states[k] <> 'looping' OR status IN ('completed', 'failed') THEN k - 1
                      WHEN status = 'running' THEN
                          CASE WHEN fresh[k] THEN k - 1 ELSE sinces[k] END
                 END;

        -- Only a running IF whose condition is known has an arm to be found out; a finished one's arms have rows.
        IF kinds[k] = 'IF' AND active[k] AND NOT (fresh[k] AND ended[k]) THEN
            IF conditions[k] IS NULL THEN
                verdicts[k] := df._rows_verdict(p_instance, p_nodes, k - 1);
            ELSIF states[conditions[k] + 1] = 'done'
                AND current = (CASE WHEN counts[conditions[k] + 1]
                    THEN regexp_replace(gens[conditions[k] + 1], '\.?[0-9]+$', '')
                    ELSE gens[conditions[k] + 1] END) THEN
                verdicts[k] := df._truthy(df._node_value(p_instance, conditions[k]));
            END IF;
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION df._node_states(text, jsonb, boolean, boolean) IS
    'Status, stamp and inferred status of every node of an instance, derived from its journal.';

-- Views run with their owner's rights, so row-level security must be said again: whoever it does not bind (the owner,
-- superusers, BYPASSRLS) sees everything, anybody else their own instances.
CREATE VIEW df._nodes WITH (security_barrier) AS
SELECT df._node_id(s.node)::varchar(8) AS id,
       i.id AS instance_id,
       s.node_type,
       s.query,
       s.result_name,
       df._node_id(s.left_node)::varchar(8) AS left_node,
       df._node_id(s.right_node)::varchar(8) AS right_node,
       s.status,
       CASE s.status
           WHEN 'completed' THEN df._as_jsonb(CASE WHEN o.refs IS NULL THEN o.value ELSE df._node_value(i.id, s.node) END)
           WHEN 'failed' THEN to_jsonb(CASE WHEN o.refs IS NULL THEN o.value
                                            ELSE df._node_value(i.id, s.node) END::json->>'message')
       END AS result,
       CASE s.status WHEN 'failed' THEN CASE WHEN o.refs IS NULL THEN o.value
                                             ELSE df._node_value(i.id, s.node) END::json->>'message' END AS error,
       i.submitted_by,
       i.database,
       i.created_at,
       coalesce(j.recorded_at, i.created_at) AS updated_at,
       CASE WHEN s.stamp IS NOT NULL THEN jsonb_build_object('execution_id', s.stamp) END AS status_details,
       s.node AS number,
       s.inferred AS inferred_status,
       df._node_id(s.decider) AS inferred_status_from_ancestor_id
FROM df.instances i
JOIN df.programs p ON p.owner = i.submitted_by AND p.hash = i.program
CROSS JOIN LATERAL df._node_states(
    i.id, p.nodes,
    i.status IN ('running', 'completed') OR i.epoch > CASE i.status WHEN 'cancelled' THEN 1 ELSE 0 END
        AND (i.status <> 'failed' OR EXISTS (SELECT FROM df.journal b WHERE b.instance_id = i.id)),
    coalesce(i.policy->>'on_failure' = 'continue', false)) AS s
LEFT JOIN df.journal o ON o.instance_id = i.id AND o.node = s.node
LEFT JOIN df.journal j ON j.instance_id = i.id AND j.node = s.since
WHERE i.submitted_by = (SELECT quote_ident(current_user)::regrole)
   OR NOT (SELECT row_security_active('df.instances'::regclass));
COMMENT ON VIEW df._nodes IS 'df.nodes with node numbers and inferred status; the base of df.instance_nodes and df.explain.';

CREATE VIEW df.nodes AS
SELECT id, instance_id, node_type, query, result_name, left_node, right_node, status, result, error, submitted_by,
       database, created_at, updated_at, status_details
FROM df._nodes;
COMMENT ON VIEW df.nodes IS 'Every node of every instance, with what became of it; ask with WHERE instance_id = ….';

-- From PostgreSQL 15 on views can ask as their user, under the tables' own row-level security. Then they need no barrier of
-- their own, and a dashboard that joins them with df.instances looks only at the instances it asks for.
DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 150000 THEN
        ALTER VIEW df._nodes SET (security_invoker = true, security_barrier = false);
        ALTER VIEW df.nodes SET (security_invoker = true);
    END IF;
END $$;

CREATE FUNCTION df.instance_nodes(instance_id_param text)
RETURNS TABLE (node_id text, node_type text, query text, result_name text, left_node text, right_node text,
               status text, result text, status_details text, inferred_status text,
               inferred_status_from_ancestor_id text, updated_at timestamptz)
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    SELECT n.id, n.node_type, n.query, n.result_name, n.left_node, n.right_node, n.status, n.result::text,
           n.status_details::text, n.inferred_status, n.inferred_status_from_ancestor_id, n.updated_at
    FROM df._nodes n WHERE n.instance_id = instance_id_param
$$;
COMMENT ON FUNCTION df.instance_nodes(text) IS 'Every node of one instance with its stored and its inferred status.';

CREATE FUNCTION df.instance_nodes(instance_id_param text, _last_n_executions integer)
RETURNS TABLE (execution_id bigint, node_id text, node_type text, query text, result_name text, left_node text,
               right_node text, status text, result text, updated_at timestamptz)
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 1::bigint, n.id, n.node_type, n.query, n.result_name, n.left_node, n.right_node, n.status, n.result::text,
           n.updated_at
    FROM df._nodes n WHERE n.instance_id = instance_id_param
$$;
COMMENT ON FUNCTION df.instance_nodes(text, integer) IS 'Compatibility form of df.instance_nodes(text); the second argument is ignored.';
