-- 0006 dsl: the operator language as one text, for df.start($dsl$ 'SELECT 1' |=> 'a' ~> 'SELECT $a' $dsl$).
--
-- In: a text. Out: the envelope that PostgreSQL makes of it. PostgreSQL itself judges precedence and types: the text is
-- cut into tokens as PostgreSQL's scanner cuts them, every token is checked against a whitelist and written anew
-- with nothing left to look up (df's operators and builders, pg_catalog's types), and the result is evaluated.
-- So nothing but pure builders can run (S7), and mistakes are found here, with their place (P8).

-- ---------------------------------------------------------------------------------------------------------
-- Tokens
-- ---------------------------------------------------------------------------------------------------------

-- The end of a nested comment at the beginning of a text, or NULL if it is not closed in it.
CREATE FUNCTION df._block_comment(win text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    level integer := 0;
    at integer := 1;
    edge text[];
BEGIN
    LOOP
        edge := pg_catalog.regexp_match(pg_catalog.substr(win, at), '^(.*?)(/\*|\*/)');
        IF edge IS NULL THEN
            RETURN NULL;
        END IF;
        at := at + pg_catalog.length(edge[1]) + 2;
        level := level + CASE edge[2] WHEN '/*' THEN 1 ELSE -1 END;
        IF level = 0 THEN
            RETURN pg_catalog.left(win, at - 1);
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION df._block_comment(text) IS 'The nested comment that a text begins with.';

-- A run of operator characters is one token; a comment ends it, and it may end in + or - only if it holds a
-- character that standard operators do not have.
CREATE FUNCTION df._operator_run(win text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    run text := pg_catalog.substring(win, '^[~!@#^&|`?+*/%<>=-]+');
BEGIN
    run := COALESCE(pg_catalog.substring(run, '^(.+?)(?:--|/\*)'), run);
    IF run !~ '[~!@#^&|`?%]' THEN
        run := COALESCE(NULLIF(pg_catalog.regexp_replace(run, '[+-]+$', ''), ''), pg_catalog.left(run, 1));
    END IF;
    RETURN run;
END $$;
COMMENT ON FUNCTION df._operator_run(text) IS 'The operator that a text begins with, cut as PostgreSQL cuts it.';

-- The token at the beginning of a text: its kind, and its characters or NULL if it does not end in this text.
CREATE FUNCTION df._token(win text, OUT kind text, OUT token text)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    tag text;
BEGIN
    CASE
        WHEN win ~ '^[ \t\n\r\f]' THEN
            kind := 'space';
            token := pg_catalog.substring(win, '^[ \t\n\r\f]+');
        WHEN pg_catalog.left(win, 2) = '--' THEN
            kind := 'space';
            token := pg_catalog.substring(win, '^--[^\n\r]*');
        WHEN pg_catalog.left(win, 2) = '/*' THEN
            kind := 'comment';
            token := df._block_comment(win);
        WHEN win ~ '^[eE]''' THEN
            kind := 'string';
            token := pg_catalog.substring(win, '^[eE]''(?:[^''\\]|''''|\\.)*''');
        WHEN win ~ '^([uU]&)?''' THEN
            kind := 'string';
            token := pg_catalog.substring(win, '^(?:[uU]&)?''(?:[^'']|'''')*''');
        WHEN win ~ '^[bBxXnN]''' THEN
            kind := 'prefixed';
            token := pg_catalog.left(win, 2);
        WHEN win ~ '^\$(?:(?:[A-Za-z_]|[^\x01-\x7f])(?:[A-Za-z0-9_]|[^\x01-\x7f])*)?\$' THEN
            kind := 'dollar';
            tag := pg_catalog.substring(win, '^\$[^$]*\$');
            token := pg_catalog.left(win, NULLIF(pg_catalog.strpos(
                pg_catalog.substr(win, pg_catalog.length(tag) + 1), tag), 0) + 2 * pg_catalog.length(tag) - 1);
        WHEN win ~ '^"' THEN
            kind := 'quoted';
            token := pg_catalog.substring(win, '^"(?:[^"]|"")*"');
        WHEN win ~ '^[A-Za-z_]' THEN
            kind := 'word';
            token := pg_catalog.substring(win, '^[A-Za-z_][A-Za-z0-9_$]*');
        WHEN win ~ '^\.?[0-9]' THEN
            kind := 'number';
            token := pg_catalog.substring(win, '^(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[A-Za-z0-9_$]*');
        WHEN win ~ '^[~!@#^&|`?+*/%<>=-]' THEN
            kind := 'operator';
            token := df._operator_run(win);
        WHEN win ~ '^(::|:=)' THEN
            kind := 'symbol';
            token := pg_catalog.left(win, 2);
        ELSE
            kind := CASE WHEN win ~ '^[(),.;]' THEN 'symbol' ELSE 'stray' END;
            token := pg_catalog.left(win, 1);
    END CASE;
END $$;
COMMENT ON FUNCTION df._token(text) IS 'The token that a text begins with, cut as PostgreSQL''s scanner cuts it.';

-- One token of a long text. Looking at a small window, and at a larger one only when a token does not end in it, keeps
-- the cost of a text proportional to its length. `at` and `stop` count bytes from 1.
CREATE FUNCTION df._lex(source bytea, at integer, OUT kind text, OUT token text, OUT stop integer)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    most integer := pg_catalog.octet_length(source);
    size integer := 128;
    edge integer;
    win text;
BEGIN
    LOOP
        edge := LEAST(at - 1 + size, most);
        WHILE edge < most AND pg_catalog.get_byte(source, edge) & 192 = 128 LOOP
            edge := edge - 1;
        END LOOP;
        win := pg_catalog.convert_from(pg_catalog.substr(source, at, edge - at + 1), 'UTF8');
        SELECT t.kind, t.token INTO kind, token FROM df._token(win) t;
        EXIT WHEN edge = most OR pg_catalog.length(token) + 2 < pg_catalog.length(win);
        size := size * 8;
    END LOOP;
    stop := at + pg_catalog.octet_length(pg_catalog.convert_to(token, 'UTF8'));
END $$;
COMMENT ON FUNCTION df._lex(bytea, integer) IS 'The token at a place of a text in UTF-8, and where the next one begins.';

-- ---------------------------------------------------------------------------------------------------------
-- Mistakes
-- ---------------------------------------------------------------------------------------------------------

CREATE FUNCTION df._dsl_place(source bytea, at integer, OUT line integer, OUT col integer, OUT shown text)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    before text := pg_catalog.convert_from(pg_catalog.substr(source, 1, at - 1), 'UTF8');
    lead text := pg_catalog.regexp_replace(before, '^.*\n', '');
    whole text := lead || pg_catalog.substring(pg_catalog.convert_from(pg_catalog.substr(source, at), 'UTF8'), '^[^\r\n]*');
    cut integer := GREATEST(pg_catalog.length(lead) - 60, 0);
BEGIN
    line := pg_catalog.length(before) - pg_catalog.length(pg_catalog.replace(before, E'\n', '')) + 1;
    col := pg_catalog.length(lead) + 1;
    shown := pg_catalog.substr(whole, cut + 1, 100) || E'\n'
        || pg_catalog.regexp_replace(pg_catalog.substr(lead, cut + 1), '[^\t]', ' ', 'g') || '^';
END $$;
COMMENT ON FUNCTION df._dsl_place(bytea, integer) IS 'Line and column of a byte, and its line with a caret below.';

CREATE FUNCTION df._refuse_dsl(source bytea, at integer, message text, hint text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    place record := df._dsl_place(source, at);
BEGIN
    RAISE EXCEPTION 'Invalid durable function: line %, column %: %', place.line, place.col, message
        USING ERRCODE = 'syntax_error', DETAIL = place.shown,
              HINT = COALESCE(hint, 'A workflow consists of quoted steps, df functions and the operators ~> |=> & | ?> !> <~ @>.');
END $$;
COMMENT ON FUNCTION df._refuse_dsl(bytea, integer, text, text) IS 'Refuses a workflow text, pointing at the place.';

CREATE FUNCTION df._shown(token text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT CASE WHEN pg_catalog.length(token) > 30 THEN pg_catalog.left(token, 27) || '...' ELSE token END $$;
COMMENT ON FUNCTION df._shown(text) IS 'A token as error messages show it.';

-- Tokens that fit nowhere, whatever is expected.
CREATE FUNCTION df._refuse_token(source bytea, at integer, kind text, token text) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF token IS NULL THEN
        PERFORM df._refuse_dsl(source, at,
            CASE kind WHEN 'comment' THEN 'this comment is never closed' WHEN 'quoted' THEN 'this quoted name is never closed'
                      ELSE 'this string is never closed' END,
            CASE kind WHEN 'comment' THEN 'End it with */ (comments nest).' WHEN 'quoted' THEN 'End it with ".'
                      WHEN 'dollar' THEN 'End it with the tag it begins with.'
                      ELSE 'End it with ''; a quote inside the text is written twice.' END);
    ELSIF kind = 'stray' THEN
        PERFORM df._refuse_dsl(source, at, CASE WHEN token = '$' THEN '$ may only stand inside the text of a step'
            WHEN token ~ '[!-~]' THEN 'unexpected character ' || token
            ELSE pg_catalog.format('unexpected character U+%s', pg_catalog.lpad(pg_catalog.upper(pg_catalog.to_hex(pg_catalog.ascii(token))), 4, '0')) END,
            CASE WHEN pg_catalog.ascii(token) IN (8216, 8217, 8220, 8221) THEN 'Replace typographic quotes with plain ones.' END);
    ELSIF kind = 'prefixed' THEN
        PERFORM df._refuse_dsl(source, at, pg_catalog.format('%s…'' is not a text', pg_catalog.upper(token)), 'Remove the prefix.');
    ELSIF kind = 'number' AND token !~ '^(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$' THEN
        PERFORM df._refuse_dsl(source, at, pg_catalog.format('''%s'' is not a number', df._shown(token)), 'Write plain decimal digits.');
    ELSIF kind = 'operator' AND token NOT IN ('~>', '|=>', '&', '|', '?>', '!>', '<~', '@>', '||', '-', '=>') THEN
        PERFORM df._refuse_dsl(source, at, pg_catalog.format('unknown operator ''%s''', df._shown(token)), CASE
            WHEN token ~ '^(~>|\|=>|&|\||\?>|!>|<~|@>|-)+$'
            THEN 'PostgreSQL reads adjacent operator characters as one operator; put blanks between operators.'
            ELSE 'The operators are ~> |=> & | ?> !> <~ @>.' END);
    END IF;
END $$;
COMMENT ON FUNCTION df._refuse_token(bytea, integer, text, text) IS 'Refuses a token that no workflow text may hold.';

-- ---------------------------------------------------------------------------------------------------------
-- The whitelist
-- ---------------------------------------------------------------------------------------------------------

CREATE FUNCTION df._dsl_type(name text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT 'pg_catalog.' || CASE name
        WHEN 'text' THEN 'text' WHEN 'varchar' THEN 'text' WHEN 'json' THEN 'json' WHEN 'jsonb' THEN 'jsonb'
        WHEN 'int' THEN 'int4' WHEN 'integer' THEN 'int4' WHEN 'int4' THEN 'int4'
        WHEN 'bigint' THEN 'int8' WHEN 'int8' THEN 'int8' WHEN 'numeric' THEN 'numeric' WHEN 'decimal' THEN 'numeric'
        WHEN 'boolean' THEN 'bool' WHEN 'bool' THEN 'bool' END
$$;
COMMENT ON FUNCTION df._dsl_type(text) IS 'The type that a workflow text may cast to, or NULL.';

-- The function as it may be called, and what it takes. `parameters` is NULL for functions of any number of values.
CREATE FUNCTION df._dsl_function(name text, OUT call text, OUT parameters text[], OUT required integer)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF name ~ '^(pg_catalog\.)?jsonb?_build_(object|array)$' THEN
        call := 'pg_catalog.' || pg_catalog.regexp_replace(name, '^pg_catalog\.', '');
        required := 0;
    ELSIF name IN ('df.sql', 'df.seq', 'df.as', 'df.sleep', 'df.wait_for_schedule', 'df.wait_for_signal', 'df.loop', 'df.break', 'df.if',
                   'df.if_rows', 'df.join', 'df.join3', 'df.race', 'df.http', 'df.http_multipart', 'df.as_op', 'df.if_then_op',
                   'df.if_else_op', 'df.loop_prefix_op', 'df.retry', 'df.timeout', 'df.catch', 'df.finally', 'df.with_undo') THEN
        SELECT p.oid::regproc::text, p.proargnames, p.pronargs - p.pronargdefaults INTO STRICT call, parameters, required
        FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'df'::regnamespace AND p.proname = pg_catalog.substr(name, 4);
    END IF;
END $$;
COMMENT ON FUNCTION df._dsl_function(text) IS 'A function that a workflow text may call, with its parameters.';

CREATE FUNCTION df._refuse_function(source bytea, at integer, name text) RETURNS void
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF name IN ('df.setvar', 'df.unsetvar', 'df.clearvars', 'df.await_instance') THEN
        PERFORM df._refuse_dsl(source, at, pg_catalog.format(
            '%s cannot be used as a workflow step. Call %1$s before df.start().', name));
    ELSIF (SELECT d.call FROM df._dsl_function('df.' || name) d) IS NOT NULL THEN
        PERFORM df._refuse_dsl(source, at, 'unknown function ' || df._shown(name), pg_catalog.format('Did you mean df.%s?', name));
    ELSIF name ~ '^df\.' AND EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'df'::regnamespace
                                     AND p.proname = pg_catalog.substr(name, 4) AND p.proname !~ '^_') THEN
        PERFORM df._refuse_dsl(source, at, name || ' cannot be used as a workflow step', 'Call it from psql, or in the SQL of a step.');
    END IF;
    PERFORM df._refuse_dsl(source, at, 'unknown function ' || df._shown(name),
        'Only df builders and jsonb_build_object/array stand outside the quotes of a step.');
END $$;
COMMENT ON FUNCTION df._refuse_function(bytea, integer, text) IS 'Refuses a call of anything but a pure builder.';

-- In a workflow text || joins the literals of one step. It binds like ~>, so without parentheses it would glue text to
-- the whole workflow on its left.
CREATE FUNCTION df._concat(a text, b text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF a ~ '^\{"(node_type":"|condition": )' OR b ~ '^\{"(node_type":"|condition": )' THEN
        RAISE EXCEPTION '|| would glue text to a step: it binds like ~>, to all that stands on its left'
            USING ERRCODE = 'syntax_error',
                  HINT = 'put the concatenation in parentheses: ~> (''SELECT '' || ''1'')';
    END IF;
    RETURN a || b;
END $$;
COMMENT ON FUNCTION df._concat(text, text) IS 'Behind the operator || of workflow texts.';

CREATE OPERATOR df.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = df._concat);
COMMENT ON OPERATOR df.|| (text, text) IS 'joins the literals of one step';
