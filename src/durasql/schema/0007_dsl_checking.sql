-- 0007 dsl checking: what may stand in the text of a workflow; only that is evaluated.

-- All tokens that count, one array element each: kind, text, place; `breaks` tells that a line ends before the token and
-- nothing but blanks and line comments stands in between, which is where PostgreSQL continues a string.
CREATE FUNCTION df._dsl_tokens(source bytea, OUT kinds text[], OUT tokens text[], OUT places integer[], OUT breaks boolean[])
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    at integer := 1;
    most integer := pg_catalog.octet_length(source);
    found_break boolean := false;
    blocked boolean := false;
    lexed record;
BEGIN
    kinds := '{}'; tokens := '{}'; places := '{}'; breaks := '{}';
    WHILE at <= most LOOP
        lexed := df._lex(source, at);
        IF lexed.kind = 'space' THEN
            found_break := found_break OR lexed.token ~ '^[ \t\f]*[\n\r]';
        ELSIF lexed.kind = 'comment' AND lexed.token IS NOT NULL THEN
            blocked := true;
        ELSE
            PERFORM df._refuse_token(source, at, lexed.kind, lexed.token);
            kinds := kinds || lexed.kind;
            tokens := tokens || lexed.token;
            places := places || at;
            breaks := breaks || (found_break AND NOT blocked);
            found_break := false;
            blocked := false;
        END IF;
        at := lexed.stop;
    END LOOP;
    WHILE kinds[pg_catalog.cardinality(kinds)] = 'symbol' AND tokens[pg_catalog.cardinality(kinds)] = ';' LOOP
        kinds := kinds[:pg_catalog.cardinality(kinds) - 1];
    END LOOP;
END $$;
COMMENT ON FUNCTION df._dsl_tokens(bytea) IS 'The tokens of a workflow text without blanks, comments and a closing semicolon.';

-- A name of one or two words, or one that PostgreSQL would fold, as one text; `next` is the token after it.
CREATE FUNCTION df._dsl_name(kinds text[], tokens text[], at integer, OUT name text, OUT next integer)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    next := at;
    LOOP
        name := COALESCE(name || '.', '') || CASE kinds[next]
            WHEN 'word' THEN pg_catalog.lower(tokens[next] COLLATE "C")
            WHEN 'quoted' THEN pg_catalog.replace(pg_catalog.substr(tokens[next], 2, pg_catalog.length(tokens[next]) - 2), '""', '"') END;
        next := next + 1;
        EXIT WHEN name IS NULL OR kinds[next] IS DISTINCT FROM 'symbol' OR tokens[next] <> '.';
        next := next + 1;
    END LOOP;
END $$;
COMMENT ON FUNCTION df._dsl_name(text[], text[], integer) IS 'The possibly qualified name at a place, NULL if there is none.';

-- The heart: a workflow text as an SQL expression in which every name is qualified. A pushdown over the open parentheses:
-- `open_call` is NULL for a mere group, 'CAST' for a cast, else the function.
-- `probes` are the calls and result names in it, innermost first, each an expression of its own, with their places.
CREATE FUNCTION df._dsl_expression(source bytea, OUT expression text, OUT probes text[], OUT probe_places integer[])
LANGUAGE plpgsql STABLE AS $$
DECLARE
    kinds text[]; tokens text[]; places integer[]; breaks boolean[];
    made text[] := '{}';
    open_call text[] := '{}';
    open_parameters text[] := '{}';
    open_required integer[] := '{}';
    open_given integer[] := '{}';
    open_named boolean[] := '{}';
    open_place integer[] := '{}';
    open_made integer[] := '{}';
    depth integer := 0;
    want_operand boolean := true;
    begins_argument boolean := false;
    i integer := 1;
    total integer;
    kind text; token text; place integer;
    named record;
    callee record;
    type_name text;
BEGIN
    probes := '{}';
    probe_places := '{}';
    SELECT t.kinds, t.tokens, t.places, t.breaks INTO kinds, tokens, places, breaks FROM df._dsl_tokens(source) t;
    total := pg_catalog.cardinality(kinds);
    WHILE i <= total LOOP
        kind := kinds[i]; token := tokens[i]; place := places[i];
        IF want_operand THEN
            named := df._dsl_name(kinds, tokens, i);
            IF begins_argument AND named.name IS NOT NULL AND tokens[named.next] IN ('=>', ':=') THEN
                IF open_parameters[depth] IS NULL OR named.name <> ALL (open_parameters[depth]::text[]) THEN
                    PERFORM df._refuse_dsl(source, place, pg_catalog.format('%s has no parameter %s', open_call[depth], df._shown(named.name)),
                        'Its parameters: ' || pg_catalog.array_to_string(open_parameters[depth]::text[], ', '));
                END IF;
                made := made || (pg_catalog.quote_ident(named.name) || ' =>');
                open_named[depth] := true;
                begins_argument := false;
                i := named.next + 1;
                CONTINUE;
            ELSIF begins_argument AND open_named[depth] AND token <> ')' THEN
                PERFORM df._refuse_dsl(source, place, 'positional argument cannot follow named argument', 'Name this one too.');
            END IF;
            IF kind = 'string' THEN
                IF tokens[i - 1] = '|=>' AND kinds[i - 1] = 'operator' THEN
                    probes := probes || pg_catalog.format('df.as(''x'', %s)', token);
                    probe_places := probe_places || place;
                END IF;
                made := made || token;
                want_operand := false;
            ELSIF kind = 'dollar' THEN
                made := made || pg_catalog.quote_literal(pg_catalog.regexp_replace(
                    pg_catalog.left(token, -pg_catalog.length(pg_catalog.substring(token, '^\$[^$]*\$'))), '^\$[^$]*\$', ''));
                want_operand := false;
            ELSIF kind = 'number' OR named.name IN ('null', 'true', 'false') AND kind = 'word' AND named.next = i + 1 THEN
                made := made || token;
                want_operand := false;
            ELSIF kind = 'operator' AND token IN ('@>', '-') THEN
                made := made || CASE token WHEN '@>' THEN 'OPERATOR(df.@>)' ELSE '-' END;
            ELSIF token = '(' AND kind = 'symbol' OR kind = 'word' AND named.name = 'cast' AND tokens[i + 1] = '(' THEN
                depth := depth + 1;
                open_call[depth] := CASE WHEN token = '(' THEN NULL ELSE 'CAST' END;
                open_parameters[depth] := NULL;
                open_place[depth] := place;
                open_given[depth] := 1;
                open_named[depth] := false;
                made := made || CASE WHEN token = '(' THEN '(' ELSE 'CAST(' END;
                i := CASE WHEN token = '(' THEN i ELSE i + 1 END;
            ELSIF named.name IS NOT NULL AND kinds[named.next] = 'symbol' AND tokens[named.next] = '(' THEN
                callee := df._dsl_function(named.name);
                IF callee.call IS NULL THEN
                    PERFORM df._refuse_function(source, place, named.name);
                END IF;
                depth := depth + 1;
                open_call[depth] := named.name;
                open_parameters[depth] := callee.parameters::text;
                open_required[depth] := callee.required;
                open_place[depth] := place;
                open_given[depth] := 0;
                open_named[depth] := false;
                made := made || (callee.call || '(');
                open_made[depth] := pg_catalog.cardinality(made);
                begins_argument := true;
                i := named.next + 1;
                IF tokens[i] = ')' AND kinds[i] = 'symbol' THEN
                    want_operand := false;
                ELSE
                    open_given[depth] := 1;
                END IF;
                CONTINUE;
            ELSIF named.name IS NOT NULL AND kinds[named.next] IN ('string', 'dollar')
                  AND df._dsl_type(pg_catalog.regexp_replace(named.name, '^pg_catalog\.', '')) IS NOT NULL THEN
                made := made || df._dsl_type(pg_catalog.regexp_replace(named.name, '^pg_catalog\.', ''));
                i := named.next;
                CONTINUE;
            ELSIF named.name IS NOT NULL THEN
                PERFORM df._refuse_dsl(source, place, pg_catalog.format('unexpected word %s', df._shown(token)),
                    'Put the SQL of a step in quotes.');
            ELSE
                PERFORM df._refuse_dsl(source, place, pg_catalog.format('expected a step, found %s', df._shown(token)));
            END IF;
            begins_argument := false;
        ELSIF kind = 'operator' AND token IN ('~>', '|=>', '&', '|', '?>', '!>', '<~', '||') THEN
            made := made || pg_catalog.format('OPERATOR(df.%s)', token);
            want_operand := true;
        ELSIF kind = 'symbol' AND token = '::' OR kind = 'word' AND pg_catalog.lower(token) = 'as' AND open_call[depth] = 'CAST' AND depth > 0 THEN
            named := df._dsl_name(kinds, tokens, i + 1);
            type_name := df._dsl_type(pg_catalog.regexp_replace(named.name, '^pg_catalog\.', ''));
            IF type_name IS NULL THEN
                PERFORM df._refuse_dsl(source, COALESCE(places[i + 1], place), 'unknown type ' || COALESCE(df._shown(named.name), ''),
                    'The types are text, json, jsonb, integer, bigint, numeric and boolean.');
            END IF;
            made := made || CASE token WHEN '::' THEN '::' || type_name ELSE 'AS ' || type_name END;
            i := named.next;
            IF token <> '::' THEN
                IF tokens[i] IS DISTINCT FROM ')' OR kinds[i] <> 'symbol' THEN
                    PERFORM df._refuse_dsl(source, COALESCE(places[i], place), 'expected ) after the type');
                END IF;
                made := made || ')'::text;
                depth := depth - 1;
                i := i + 1;
            END IF;
            CONTINUE;
        ELSIF kind = 'symbol' AND token = ')' AND depth > 0 THEN
            IF open_call[depth] = 'CAST' THEN
                PERFORM df._refuse_dsl(source, place, 'CAST needs AS and a type');
            ELSIF open_parameters[depth] IS NOT NULL AND NOT open_named[depth]
                  AND open_given[depth] NOT BETWEEN open_required[depth] AND pg_catalog.cardinality(open_parameters[depth]::text[]) THEN
                PERFORM df._refuse_dsl(source, open_place[depth], pg_catalog.format('%s takes %s, not %s', open_call[depth],
                    pg_catalog.array_to_string(open_parameters[depth]::text[], ', '),
                    CASE open_given[depth] WHEN 1 THEN '1 argument' ELSE open_given[depth] || ' arguments' END));
            END IF;
            made := made || ')'::text;
            IF open_call[depth] IS NOT NULL AND pg_catalog.cardinality(probes) < 500 THEN
                probes := probes || pg_catalog.array_to_string(made[open_made[depth]:], ' ');
                probe_places := probe_places || open_place[depth];
            END IF;
            depth := depth - 1;
            begins_argument := false;
        ELSIF kind = 'symbol' AND token = ',' AND depth > 0 AND open_call[depth] IS NOT NULL AND open_call[depth] <> 'CAST' THEN
            made := made || ','::text;
            open_given[depth] := open_given[depth] + 1;
            want_operand := true;
            begins_argument := true;
        ELSIF kind = 'string' AND kinds[i - 1] = 'string' AND breaks[i] AND pg_catalog.left(token, 1) = '''' THEN
            made := made || (E'\n' || token);
        ELSE
            PERFORM df._refuse_dsl(source, place, pg_catalog.format('expected an operator%s, found %s',
                CASE WHEN depth > 0 THEN ' or )' ELSE '' END, df._shown(token)),
                CASE WHEN token = '@>' THEN '@> stands before its body: write a ~> @> (body).'
                     WHEN kind IN ('string', 'dollar') THEN 'Write ~> between steps that follow one another.'
                     WHEN token = ')' THEN 'There is no ( that it closes.' END);
        END IF;
        i := i + 1;
    END LOOP;
    IF want_operand THEN
        PERFORM df._refuse_dsl(source, pg_catalog.octet_length(source) + 1, 'unexpected end of the workflow: a step is missing');
    ELSIF depth > 0 THEN
        PERFORM df._refuse_dsl(source, open_place[depth], 'this parenthesis is never closed', 'Add the missing ).');
    END IF;
    expression := pg_catalog.array_to_string(made, ' ');
END $$;
COMMENT ON FUNCTION df._dsl_expression(bytea) IS 'A workflow text as an SQL expression that can reach nothing but pure builders.';

-- Operator language begins with a literal, the prefix operator or a df function; no SQL statement does.
CREATE FUNCTION df._is_dsl(fut text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    opening text := pg_catalog.left(pg_catalog.ltrim(fut, E' \t\n\r\f('), 200);
    source bytea;
    at integer := 1;
    lexed record;
BEGIN
    IF opening ~ '^(--|/\*)' THEN
        source := pg_catalog.convert_to(fut, 'UTF8');
        LOOP
            lexed := df._lex(source, at);
            EXIT WHEN lexed.token IS NULL OR lexed.kind NOT IN ('space', 'comment') AND lexed.token <> '(';
            at := lexed.stop;
        END LOOP;
        opening := pg_catalog.left(pg_catalog.convert_from(pg_catalog.substr(source, at), 'UTF8'), 200);
    END IF;
    RETURN opening ~* '^([ebxn]?''|u&''|\$(([a-z_]|[^\x01-\x7f])([a-z0-9_]|[^\x01-\x7f])*)?\$|@>|("df"|df)\s*\.)';
END $$;
COMMENT ON FUNCTION df._is_dsl(text) IS 'Whether a text is operator language rather than one SQL statement.';

-- The innermost part of a workflow that raises the same error by itself. The parts are pure, so trying them is safe.
CREATE FUNCTION df._dsl_culprit(probes text[], probe_places integer[], state text, message text) RETURNS integer
LANGUAGE plpgsql STABLE AS $$
BEGIN
    FOR i IN 1..pg_catalog.cardinality(probes) LOOP
        BEGIN
            EXECUTE 'SELECT ' || probes[i];
        EXCEPTION WHEN OTHERS THEN
            IF SQLSTATE = state AND SQLERRM = message THEN
                RETURN probe_places[i];
            END IF;
        END;
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION df._dsl_culprit(text[], integer[], text, text) IS 'Where in a workflow text an error comes from, or NULL.';

-- standard_conforming_strings is pinned because literals are handed on as they were written.
CREATE FUNCTION df._evaluate_dsl(fut text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
AS $$
DECLARE
    source bytea := pg_catalog.convert_to(fut, 'UTF8');
    parsed record;
    place record;
    culprit integer;
    made_type regtype;
    made text;
    state text; message text; detail text; hint text;
BEGIN
    parsed := df._dsl_expression(source);
    BEGIN
        EXECUTE 'SELECT pg_catalog.pg_typeof(v), v::text FROM (SELECT ' || parsed.expression || ' AS v) AS built'
            INTO made_type, made;
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    END;
    IF state = '54001' OR state = '42601' AND message LIKE 'memory exhausted%' THEN
        RAISE EXCEPTION 'Invalid durable function graph: root: Graph exceeds maximum nesting depth of 256. Simplify the workflow or break it into multiple instances.'
            USING ERRCODE = 'program_limit_exceeded';
    ELSIF state IS NOT NULL THEN
        culprit := df._dsl_culprit(parsed.probes, parsed.probe_places, state, message);
        IF culprit IS NOT NULL THEN
            place := df._dsl_place(source, culprit);
            detail := pg_catalog.concat_ws(E'\n', NULLIF(detail, ''),
                pg_catalog.format('At line %s, column %s:', place.line, place.col), place.shown);
        END IF;
        PERFORM df._raise(state, message, detail, hint);
    ELSIF made IS NULL THEN
        RAISE EXCEPTION 'Expression returned NULL' USING ERRCODE = 'null_value_not_allowed',
            HINT = 'A builder gives NULL when one of its arguments is NULL.';
    ELSIF made_type <> 'text'::regtype THEN
        RAISE EXCEPTION 'Invalid durable function: the workflow is a value of type %, not a step', made_type
            USING ERRCODE = 'datatype_mismatch', HINT = 'Put the SQL of a step in quotes.';
    END IF;
    RETURN made;
END $$;
COMMENT ON FUNCTION df._evaluate_dsl(text) IS 'What a workflow text evaluates to: an envelope, or the text of a single SQL step.';
