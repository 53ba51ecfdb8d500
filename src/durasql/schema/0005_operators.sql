-- 0005 operators: the language in psql. Behind each stands a builder.

CREATE FUNCTION df.as_op(fut text, name text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF fut IS NULL OR name IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN df._name(fut, name);
END $$;
COMMENT ON FUNCTION df.as_op(text, text) IS 'Behind the operator |=>';

-- Half an if: the operands stay as they were written until !> completes it.
CREATE FUNCTION df.if_then_op(condition text, then_branch text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN '{"condition": ' || COALESCE(df._quoted(condition), 'null') || ', "_partial_if": true, "then_branch": '
        || COALESCE(df._quoted(then_branch), 'null') || '}';
END $$;
COMMENT ON FUNCTION df.if_then_op(text, text) IS 'Behind the operator ?>';

CREATE FUNCTION df.if_else_op(partial_if text, else_branch text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    half jsonb := partial_if::jsonb;
BEGIN
    IF pg_catalog.jsonb_typeof(half) <> 'object' OR NOT half ? '_partial_if' THEN
        RAISE EXCEPTION 'Invalid if-then-else: left side of !> must be a ?> expression'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Write condition ?> step !> other_step. All operators bind equally and to the left:'
                      ' put parentheses around a step between ?> and !> that has operators of its own.';
    END IF;
    RETURN df.if(half ->> 'condition', half ->> 'then_branch', else_branch);
END $$;
COMMENT ON FUNCTION df.if_else_op(text, text) IS 'Behind the operator !>';

CREATE FUNCTION df.loop_prefix_op(body text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM df._require(body, 'df.loop', 'body');
    RETURN df._loop(body, NULL, false);
END $$;
COMMENT ON FUNCTION df.loop_prefix_op(text) IS 'Behind the prefix operator @>';

-- In public, where psql's default search_path finds them, and once more in df: the text of a workflow is evaluated
-- with these, which nobody but the owner can shadow. Where there is no schema public, df on the search_path does.
DO $$
DECLARE
    place text;
BEGIN
    FOR place IN SELECT n.nspname FROM pg_catalog.pg_namespace n WHERE n.nspname IN ('public', 'df') LOOP
        EXECUTE pg_catalog.format('CREATE OPERATOR %I.~> (LEFTARG = text, RIGHTARG = text, FUNCTION = df.seq)', place);
        EXECUTE pg_catalog.format('CREATE OPERATOR %I.|=> (LEFTARG = text, RIGHTARG = text, FUNCTION = df.as_op)', place);
        EXECUTE pg_catalog.format('CREATE OPERATOR %I.& (LEFTARG = text, RIGHTARG = text, FUNCTION = df.join)', place);
        EXECUTE pg_catalog.format('CREATE OPERATOR %I.| (LEFTARG = text, RIGHTARG = text, FUNCTION = df.race)', place);
        EXECUTE pg_catalog.format('CREATE OPERATOR %I.?> (LEFTARG = text, RIGHTARG = text, FUNCTION = df.if_then_op)', place);
        EXECUTE pg_catalog.format('CREATE OPERATOR %I.!> (LEFTARG = text, RIGHTARG = text, FUNCTION = df.if_else_op)', place);
        EXECUTE pg_catalog.format('CREATE OPERATOR %I.@> (RIGHTARG = text, FUNCTION = df.loop_prefix_op)', place);
        EXECUTE pg_catalog.format('COMMENT ON OPERATOR %I.~> (text, text) IS ''a, then b''', place);
        EXECUTE pg_catalog.format('COMMENT ON OPERATOR %I.|=> (text, text) IS ''names the result of what stands to the left''', place);
        EXECUTE pg_catalog.format('COMMENT ON OPERATOR %I.& (text, text) IS ''a and b at the same time''', place);
        EXECUTE pg_catalog.format('COMMENT ON OPERATOR %I.| (text, text) IS ''a or b, whichever finishes first''', place);
        EXECUTE pg_catalog.format('COMMENT ON OPERATOR %I.?> (text, text) IS ''if a then b; !> completes it''', place);
        EXECUTE pg_catalog.format('COMMENT ON OPERATOR %I.!> (text, text) IS ''else b''', place);
        EXECUTE pg_catalog.format('COMMENT ON OPERATOR %I.@> (NONE, text) IS ''repeats for ever''', place);
    END LOOP;
END $$;
