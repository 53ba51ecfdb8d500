-- 0022 secrets: values that only workers and operators can read, for {secret:name} in HTTP steps.
--
-- The table holds ciphertexts. They are made and opened outside the database, with a key that the database never sees,
-- and each is bound to its role and name: a dump reveals nothing, and a ciphertext copied elsewhere does not open.

CREATE TABLE df.secrets (
    owner regrole NOT NULL DEFAULT (quote_ident(current_user))::regrole,
    name text NOT NULL,
    ciphertext text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT secrets_pkey PRIMARY KEY (owner, name),
    CONSTRAINT secrets_name_check CHECK (name ~ '^[A-Za-z_][A-Za-z0-9_.-]*$' AND length(name) <= 200),
    -- A value that was not encrypted cannot be stored by mistake.
    CONSTRAINT secrets_ciphertext_check CHECK (ciphertext ~ '^dq1:[0-9a-f]{8}:[A-Za-z0-9+/]{38,}={0,2}$')
);
COMMENT ON TABLE df.secrets IS 'Encrypted values per role, named {secret:name} in HTTP steps.';
ALTER TABLE df.secrets ENABLE ROW LEVEL SECURITY;
CREATE POLICY secrets_user_isolation ON df.secrets
    USING (owner = (quote_ident(current_user))::regrole)
    WITH CHECK (owner = (quote_ident(current_user))::regrole);

-- See df._on_unsetvar: no role may delete from a table, so it marks the row, and the row goes.
CREATE FUNCTION df._no_secret() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT 'dq1:00000000:' || repeat('A', 40) $$;
COMMENT ON FUNCTION df._no_secret() IS 'In place of the ciphertext of a secret that is to be removed.';

CREATE FUNCTION df._on_remove_secret() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM df.secrets s WHERE s.owner = NEW.owner AND s.name = NEW.name;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION df._on_remove_secret() IS 'Removes a secret that was marked.';
REVOKE ALL ON FUNCTION df._on_remove_secret() FROM PUBLIC;

CREATE TRIGGER secrets_remove AFTER UPDATE OF ciphertext ON df.secrets
    FOR EACH ROW WHEN (NEW.ciphertext = df._no_secret()) EXECUTE FUNCTION df._on_remove_secret();

CREATE FUNCTION df.put_secret(name text, ciphertext text, role text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    v_owner regrole := coalesce(quote_ident(put_secret.role), quote_ident(current_user))::regrole;
BEGIN
    UPDATE df.secrets s SET ciphertext = put_secret.ciphertext, updated_at = clock_timestamp()
    WHERE s.owner = v_owner AND s.name = put_secret.name;
    IF NOT FOUND AND put_secret.role IS NULL THEN
        INSERT INTO df.secrets (name, ciphertext) VALUES (put_secret.name, put_secret.ciphertext);
    ELSIF NOT FOUND THEN
        -- Only the owner of the table has INSERT on column owner.
        INSERT INTO df.secrets (owner, name, ciphertext) VALUES (v_owner, put_secret.name, put_secret.ciphertext);
    END IF;
    RETURN 'OK';
END
$$;
COMMENT ON FUNCTION df.put_secret(text, text, text) IS
    'Stores a secret that durasql encrypted, for the calling role; the owner of schema df may name another. See durasql secret set.';

CREATE FUNCTION df.remove_secret(name text, role text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE df.secrets s SET ciphertext = df._no_secret()
    WHERE s.owner = coalesce(quote_ident(remove_secret.role), quote_ident(current_user))::regrole
      AND s.name = remove_secret.name;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION df.remove_secret(text, text) IS 'Removes a secret; false if there is none of this name.';

CREATE FUNCTION df.list_secrets()
RETURNS TABLE (role text, name text, key_id text, created_at timestamptz, updated_at timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT r.rolname::text, s.name, split_part(s.ciphertext, ':', 2), s.created_at, s.updated_at
    FROM df.secrets s LEFT JOIN pg_roles r ON r.oid = s.owner
    ORDER BY r.rolname, s.name
$$;
COMMENT ON FUNCTION df.list_secrets() IS
    'Names of the secrets that the caller may use (all of them for the owner of schema df), never their values.';

CREATE FUNCTION df._secrets_of(p_role text, p_names text[]) RETURNS TABLE (name text, ciphertext text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_role regrole := quote_ident(p_role)::regrole;
BEGIN
    IF NOT df._serves(quote_ident(session_user)::regrole, v_role) THEN
        RAISE EXCEPTION 'not allowed to serve role %', p_role USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN QUERY SELECT s.name, s.ciphertext FROM df.secrets s WHERE s.owner = v_role AND s.name = ANY (p_names);
END
$$;
COMMENT ON FUNCTION df._secrets_of(text, text[]) IS 'Ciphertexts of a role''s secrets, for the worker that serves it.';
