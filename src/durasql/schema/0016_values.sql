-- 0016 values: what nodes came to, as views and functions show it.
--
-- In: the journal. Out: JSON with references followed, and verdicts about it.

-- Roles read the journal of their own instances: it is what the functions below work on.
CREATE POLICY journal_user_isolation ON df.journal FOR SELECT
    USING (EXISTS (SELECT FROM df.instances i WHERE i.id = instance_id
                   AND i.submitted_by = (quote_ident(current_user))::regrole));
CREATE POLICY attempts_user_isolation ON df.attempts FOR SELECT
    USING (EXISTS (SELECT FROM df.instances i WHERE i.id = instance_id
                   AND i.submitted_by = (quote_ident(current_user))::regrole));
CREATE POLICY undos_user_isolation ON df.undos FOR SELECT
    USING (EXISTS (SELECT FROM df.instances i WHERE i.id = instance_id
                   AND i.submitted_by = (quote_ident(current_user))::regrole));

CREATE FUNCTION df._node_id(number integer) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN lpad(to_hex($1), 8, '0');
COMMENT ON FUNCTION df._node_id(integer) IS 'The id that users see for a node number.';

-- The configuration of an IF, LOOP or JOIN names its children outside left and right; what the graph's author put
-- there stays in front.
CREATE FUNCTION df._stored_query(query text, condition integer, extras text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN children IS NULL THEN $1
        WHEN coalesce(kept, '{') ~ '^\s*\{\s*$' THEN '{' || children || '}'
        ELSE kept || ',' || children || '}'
    END
    FROM (SELECT regexp_replace($1, '\s*\}\s*$', '') AS kept,
                 CASE WHEN $2 IS NOT NULL THEN '"condition_node":"' || df._node_id($2) || '"'
                      WHEN $3 IS NOT NULL THEN '"extra_nodes":['
                           || (SELECT string_agg('"' || df._node_id(x::integer) || '"', ',' ORDER BY at)
                               FROM jsonb_array_elements_text($3::jsonb) WITH ORDINALITY AS e (x, at)) || ']'
                 END AS children) AS parts
$$;
COMMENT ON FUNCTION df._stored_query(text, integer, text) IS 'df.nodes.query of a node: its own text, plus the ids of condition or extra nodes.';

-- Follows `refs` to the value itself. A referenced row that has moved on to another generation has no value any more
-- that belongs to this one, so the result is NULL then.
CREATE FUNCTION df._node_value(p_instance text, p_node integer) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    here record;
    parts text;
    generation text;
    at integer := p_node;
BEGIN
    LOOP
        SELECT j.value, j.refs, j.gen INTO here FROM df.journal j WHERE j.instance_id = p_instance AND j.node = at;
        IF NOT FOUND OR NOT (coalesce(generation, '') IN ('', here.gen) OR starts_with(here.gen, generation || '.')) THEN
            RETURN NULL;
        END IF;
        IF here.refs IS NULL THEN
            RETURN here.value;
        END IF;
        EXIT WHEN array_length(here.refs, 1) > 1;
        at := here.refs[1];
        generation := here.gen;
    END LOOP;
    SELECT string_agg(df._node_value(p_instance, r.node), ',' ORDER BY r.at) INTO parts
    FROM unnest(here.refs) WITH ORDINALITY AS r (node, at);
    RETURN '[' || parts || ']';
END
$$;
COMMENT ON FUNCTION df._node_value(text, integer) IS 'The JSON text of a finished node''s result (or error object), references resolved.';

CREATE FUNCTION df._as_jsonb(value text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN value::jsonb;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    -- JSON that jsonb cannot hold, such as \u0000 or a number beyond numeric: one such result must not break a listing.
    RETURN to_jsonb(value);
END
$$;
COMMENT ON FUNCTION df._as_jsonb(text) IS 'JSON text as jsonb; text that jsonb cannot hold as a JSON string.';

CREATE FUNCTION df._truthy(value text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    judged json := value::json;
    word text;
BEGIN
    IF json_typeof(judged) = 'object' AND json_typeof(judged->'rows') = 'array' THEN
        IF json_array_length(judged->'rows') = 0 THEN
            RETURN coalesce((judged->>'affected')::numeric, 0) > 0;
        END IF;
        judged := coalesce((SELECT c.value FROM json_each(judged->'rows'->0) AS c LIMIT 1), judged);
    END IF;
    CASE json_typeof(judged)
        WHEN 'boolean' THEN RETURN judged::text = 'true';
        WHEN 'null' THEN RETURN false;
        WHEN 'number' THEN RETURN (judged::text)::numeric <> 0;
        WHEN 'array' THEN RETURN json_array_length(judged) > 0;
        WHEN 'object' THEN RETURN EXISTS (SELECT FROM json_each(judged));
        ELSE NULL;
    END CASE;
    word := lower(regexp_replace(judged#>>'{}', '^\s+|\s+$', '', 'g'));
    RETURN word NOT IN ('', 'false', 'f', 'no')
        AND word !~ '^[+-]?(0+\.?0*|\.0+)(e[+-]?[0-9]+)?$';
END
$$;
COMMENT ON FUNCTION df._truthy(text) IS 'Whether a result, as JSON text, makes a condition true.';

-- Which arm a df.if_rows takes that is still running. The named result is the latest one recorded under that name that
-- the node can see, i.e. not one of another branch of a JOIN or RACE around it.
CREATE FUNCTION df._rows_verdict(p_instance text, p_nodes jsonb, p_node integer) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE around (node) AS (
        SELECT (p_nodes->p_node->>'p')::integer
        UNION ALL
        SELECT (p_nodes->a.node->>'p')::integer FROM around a WHERE a.node IS NOT NULL
    ), climb (bound, seq, node) AS (
        SELECT j.node, j.seq, j.node FROM df.journal j
        WHERE j.instance_id = p_instance AND j.state = 'done'
          AND p_nodes->j.node->>'n' = (p_nodes->p_node->>'q')::jsonb->>'result_name'
        UNION ALL
        SELECT c.bound, c.seq, (p_nodes->c.node->>'p')::integer FROM climb c
        WHERE c.node NOT IN (SELECT a.node FROM around a WHERE a.node IS NOT NULL)
    )
    SELECT (df._node_value(p_instance, c.bound)::json->>'row_count')::bigint > 0
    FROM climb c
    WHERE c.node IN (SELECT a.node FROM around a) AND p_nodes->c.node->>'t' NOT IN ('JOIN', 'RACE')
    ORDER BY c.seq DESC LIMIT 1
$$;
COMMENT ON FUNCTION df._rows_verdict(text, jsonb, integer) IS 'Whether the result that a df.if_rows node names has rows.';
