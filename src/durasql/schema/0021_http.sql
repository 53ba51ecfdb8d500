-- 0021 http: which addresses HTTP steps may reach, and what a worker must know before it sends.
--
-- Rules are read by `rule`, lowest first, and the first that fits decides. A rule without a scheme, port or role fits
-- any. Without a fitting rule, public addresses may be reached and private and reserved ones may not. Only the owner of
-- schema df, and roles to whom the owner grants the table, can change rules; workers see them within a request.

CREATE TABLE df.http_policy (
    rule integer NOT NULL,
    effect text NOT NULL,
    host text NOT NULL,
    scheme text,
    port integer,
    role regrole,
    private boolean NOT NULL DEFAULT false,
    note text,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by regrole NOT NULL DEFAULT (quote_ident(current_user))::regrole,
    CONSTRAINT http_policy_pkey PRIMARY KEY (rule),
    CONSTRAINT http_policy_effect_check CHECK (effect IN ('allow', 'deny')),
    CONSTRAINT http_policy_scheme_check CHECK (scheme IN ('http', 'https')),
    CONSTRAINT http_policy_port_check CHECK (port BETWEEN 1 AND 65535),
    CONSTRAINT http_policy_host_check CHECK (host ~ '^[a-z0-9*._:/-]+$')
);
COMMENT ON TABLE df.http_policy IS 'Ordered allow and deny rules of outbound HTTP; the first that fits decides.';
COMMENT ON COLUMN df.http_policy.host IS 'A host name, a pattern in which * stands for anything, an IP address, or a range such as 10.0.0.0/8.';
COMMENT ON COLUMN df.http_policy.private IS
    'Whether an allowed name may lead to private, loopback and carrier addresses. Others only open when named by address.';
ALTER TABLE df.http_policy ENABLE ROW LEVEL SECURITY;
CREATE POLICY http_policy_concerns ON df.http_policy FOR SELECT
    USING (role IS NULL OR role = (quote_ident(current_user))::regrole);
CREATE POLICY http_policy_admin ON df.http_policy
    USING (has_table_privilege('df.http_policy', 'DELETE'))
    WITH CHECK (has_table_privilege('df.http_policy', 'DELETE'));

INSERT INTO df.settings (name, value, description) VALUES
    ('installation_id', gen_random_uuid()::text, 'part of every Idempotency-Key; never change it');

-- The host of a rule in the form in which it is stored and compared.
CREATE FUNCTION df._http_host(p_host text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    plain text := btrim(lower(p_host), '[] ');
BEGIN
    IF plain IS NULL OR plain = '' THEN
        RAISE EXCEPTION 'a rule needs a host' USING ERRCODE = 'invalid_parameter_value',
            HINT = 'A name, a pattern such as *.example.com, an address, or a range such as 10.0.0.0/8.';
    END IF;
    IF plain ~ '^[0-9.]+(/[0-9]+)?$' OR plain ~ '^[0-9a-f:.]*:[0-9a-f:.]*(/[0-9]+)?$' THEN
        BEGIN
            RETURN network(plain::inet)::text;
        EXCEPTION WHEN OTHERS THEN
            RAISE EXCEPTION 'not an IP address or range: %', p_host USING ERRCODE = 'invalid_parameter_value';
        END;
    END IF;
    IF plain !~ '^[a-z0-9*_-]+(\.[a-z0-9*_-]+)*$' THEN
        RAISE EXCEPTION 'not a host name or pattern: %', p_host USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Give the host alone, without scheme, port or path. Write international names in their xn-- form.';
    END IF;
    RETURN plain;
END
$$;
COMMENT ON FUNCTION df._http_host(text) IS 'The host of a policy rule in its stored form, or an error.';

-- Adds a rule at a place in the order: rules from there on move back by one.
CREATE FUNCTION df._http_rule(p_effect text, p_host text, p_scheme text, p_port integer, p_role text, p_private boolean,
                              p_before integer, p_note text)
RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_host text := df._http_host(p_host);
    v_rule integer;
BEGIN
    LOCK TABLE df.http_policy IN SHARE ROW EXCLUSIVE MODE;
    SELECT coalesce(max(p.rule), 0) + 1 INTO v_rule FROM df.http_policy p;
    IF p_before IS NOT NULL THEN
        v_rule := least(v_rule, greatest(p_before, 1));
        -- Twice, through negative numbers, because the primary key is checked row by row.
        UPDATE df.http_policy p SET rule = -p.rule WHERE p.rule >= v_rule;
        UPDATE df.http_policy p SET rule = 1 - p.rule WHERE p.rule < 0;
    END IF;
    INSERT INTO df.http_policy (rule, effect, host, scheme, port, role, private, note)
    VALUES (v_rule, p_effect, v_host, lower(p_scheme), p_port, quote_ident(p_role)::regrole,
            coalesce(p_private, v_host = 'localhost' OR v_host LIKE '%.localhost'), p_note);
    RETURN v_rule;
END
$$;
COMMENT ON FUNCTION df._http_rule(text, text, text, integer, text, boolean, integer, text) IS 'Adds a policy rule.';
REVOKE ALL ON FUNCTION df._http_rule(text, text, text, integer, text, boolean, integer, text) FROM PUBLIC;

CREATE FUNCTION df.http_allow(host text, scheme text DEFAULT NULL, port integer DEFAULT NULL, role text DEFAULT NULL,
                              private boolean DEFAULT NULL, before integer DEFAULT NULL, note text DEFAULT NULL)
RETURNS integer
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$ SELECT df._http_rule('allow', $1, $2, $3, $4, $5, $6, $7) $$;
COMMENT ON FUNCTION df.http_allow(text, text, integer, text, boolean, integer, text) IS
    'Lets HTTP steps reach a host, pattern, address or range; appended, or put in front of rule `before`. Returns its number.';
REVOKE ALL ON FUNCTION df.http_allow(text, text, integer, text, boolean, integer, text) FROM PUBLIC;

CREATE FUNCTION df.http_deny(host text, scheme text DEFAULT NULL, port integer DEFAULT NULL, role text DEFAULT NULL,
                             before integer DEFAULT NULL, note text DEFAULT NULL)
RETURNS integer
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$ SELECT df._http_rule('deny', $1, $2, $3, $4, false, $5, $6) $$;
COMMENT ON FUNCTION df.http_deny(text, text, integer, text, integer, text) IS
    'Keeps HTTP steps from a host, pattern, address or range; appended, or put in front of rule `before`. Returns its number.';
REVOKE ALL ON FUNCTION df.http_deny(text, text, integer, text, integer, text) FROM PUBLIC;

CREATE FUNCTION df.http_remove(rule integer) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    LOCK TABLE df.http_policy IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM df.http_policy p WHERE p.rule = $1;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION df.http_remove(integer) IS 'Removes a policy rule; false if there is none of this number.';
REVOKE ALL ON FUNCTION df.http_remove(integer) FROM PUBLIC;

CREATE FUNCTION df.http_policy_list()
RETURNS TABLE (rule integer, effect text, host text, scheme text, port integer, role text, private boolean, note text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.rule, p.effect, p.host, p.scheme, p.port, r.rolname::text, p.private, p.note
    FROM df.http_policy p LEFT JOIN pg_roles r ON r.oid = p.role
    ORDER BY p.rule
$$;
COMMENT ON FUNCTION df.http_policy_list() IS 'The rules of outbound HTTP in the order in which they are read.';

-- What a worker asks before every request. `p_function` is 'HTTP' or 'HTTP_MULTIPART'; `p_seen` is the digest of the
-- rules that the worker knows, so that unchanged rules need not travel. The answer is for roles that the session's login
-- may serve; EXECUTE is looked up by the role's OID, so names that need quoting are no matter.
CREATE FUNCTION df._http_standing(p_role text, p_function text, p_seen text)
RETURNS TABLE (may_execute boolean, digest text, rules text, installation text,
               max_request bigint, max_response bigint, max_timeout integer, use_proxy boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_role regrole := quote_ident(p_role)::regrole;
    v_rules text;
    v_digest text;
BEGIN
    IF NOT df._serves(quote_ident(session_user)::regrole, v_role) THEN
        RAISE EXCEPTION 'not allowed to serve role %', p_role USING ERRCODE = 'insufficient_privilege';
    END IF;
    v_rules := df._http_rules_of(v_role);
    v_digest := md5(v_rules);
    RETURN QUERY SELECT
        has_function_privilege(v_role::oid,
                               CASE p_function WHEN 'HTTP' THEN 'df.http(text,text,text,jsonb,integer)'
                                               ELSE 'df.http_multipart(text,text,jsonb,jsonb,integer)' END,
                               'EXECUTE'),
        v_digest,
        CASE WHEN v_digest IS DISTINCT FROM p_seen THEN v_rules END,
        df.setting('installation_id'),
        df.setting('http_max_request_bytes')::bigint,
        df.setting('http_max_response_bytes')::bigint,
        df.setting('http_max_timeout')::integer,
        df.setting('http_use_proxy')::boolean;
END
$$;
COMMENT ON FUNCTION df._http_standing(text, text, text) IS
    'Whether a role may send HTTP requests at this moment, and the rules and limits that hold for it.';

-- A rule for a group role holds for its members; a superuser is a member of everything only in name.
CREATE FUNCTION df._http_rules_of(p_role regrole) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(json_agg(json_build_array(p.rule, p.effect = 'allow', p.host, p.scheme, p.port, p.private)
                             ORDER BY p.rule), '[]'::json)::text
    FROM df.http_policy p
    WHERE p.role IS NULL OR p.role = p_role
       OR (pg_has_role(p_role::oid, p.role::oid, 'MEMBER')
           AND NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.oid = p_role))
$$;
COMMENT ON FUNCTION df._http_rules_of(regrole) IS 'The rules that concern a role, in order, as JSON.';
REVOKE ALL ON FUNCTION df._http_rules_of(regrole) FROM PUBLIC;
