-- 0004 http builders: HTTP steps, and what is refused before one is built.

-- Only the scheme is judged here. A URL that holds {variables}, or begins with a $name (L15), is judged when it
-- is known; and every URL again before it is dialled.
CREATE FUNCTION df._check_url(url text) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    scheme text := pg_catalog.split_part(url, '://', 1);
BEGIN
    IF pg_catalog.strpos(url, '{') = 0 AND url !~ '^\$[A-Za-z_]' AND pg_catalog.lower(scheme) NOT IN ('http', 'https') THEN
        RAISE EXCEPTION 'Blocked: unsupported URL scheme ''%''. Only http and https are allowed.', scheme
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = CASE WHEN pg_catalog.strpos(url, '://') = 0 THEN pg_catalog.format('did you mean ''https://%s''?', url)
                              ELSE 'Use an http:// or https:// URL.' END;
    END IF;
END $$;
COMMENT ON FUNCTION df._check_url(text) IS 'Refuses a URL whose scheme is neither http nor https.';

-- Header values that could not be sent are refused instead of dropped (S5).
CREATE FUNCTION df._check_headers(headers jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    name text;
    value jsonb;
BEGIN
    IF pg_catalog.jsonb_typeof(headers) = 'null' THEN
        RETURN;
    ELSIF pg_catalog.jsonb_typeof(headers) <> 'object' THEN
        RAISE EXCEPTION 'headers must be a JSON object of header names and string values'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'For example ''{"Accept": "application/json"}''.';
    END IF;
    FOR name, value IN SELECT h.key, h.value FROM pg_catalog.jsonb_each(headers) h LOOP
        IF name !~ '^[!#$%&''*+.^_`|~0-9A-Za-z-]+$' THEN
            RAISE EXCEPTION 'Invalid HTTP header name ''%''', name USING ERRCODE = 'invalid_parameter_value';
        ELSIF pg_catalog.jsonb_typeof(value) <> 'string' THEN
            RAISE EXCEPTION 'HTTP header ''%'' must be a string', name
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = pg_catalog.format('write the value of ''%s'' in double quotes', name);
        ELSIF value #>> '{}' ~ '[\r\n]' THEN
            RAISE EXCEPTION 'HTTP header ''%'' must not contain line breaks', name
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION df._check_headers(jsonb) IS 'Refuses HTTP headers that could not be sent.';

CREATE FUNCTION df._check_http(builder text, url text, method text, timeout_seconds integer, methods text[], message text)
RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    PERFORM df._require(url, builder, 'url');
    PERFORM df._require(method, builder, 'method');
    PERFORM df._require(timeout_seconds, builder, 'timeout_seconds');
    PERFORM df._check_url(url);
    IF pg_catalog.upper(method) <> ALL (methods) THEN
        RAISE EXCEPTION '%', pg_catalog.format(message, pg_catalog.upper(method)) USING ERRCODE = 'invalid_parameter_value';
    ELSIF timeout_seconds <= 0 THEN
        RAISE EXCEPTION 'Timeout must be positive' USING ERRCODE = 'invalid_parameter_value';
    END IF;
END $$;
COMMENT ON FUNCTION df._check_http(text, text, text, integer, text[], text) IS 'The checks that both HTTP builders share.';

CREATE FUNCTION df.http(
    url text, method text DEFAULT 'POST', body text DEFAULT NULL, headers jsonb DEFAULT NULL,
    timeout_seconds integer DEFAULT 30
) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM df._check_http('df.http', url, method, timeout_seconds, '{GET,POST,PUT,DELETE,PATCH}',
        'Invalid HTTP method: %s. Must be GET, POST, PUT, DELETE, or PATCH');
    PERFORM df._check_headers(headers);
    RETURN '{"node_type":"HTTP","query":' || df._quoted('{"url":' || df._quoted(url)
        || ',"method":"' || pg_catalog.upper(method) || '","body":' || COALESCE(df._quoted(body), 'null')
        || ',"headers":' || COALESCE(df._compact(headers), 'null')
        || ',"timeout_seconds":' || timeout_seconds::text || '}') || '}';
END $$;
COMMENT ON FUNCTION df.http(text, text, text, jsonb, integer) IS 'An HTTP request.';

CREATE FUNCTION df.http_multipart(
    url text, method text DEFAULT 'POST', parts jsonb DEFAULT NULL, headers jsonb DEFAULT NULL,
    timeout_seconds integer DEFAULT 30
) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM df._check_http('df.http_multipart', url, method, timeout_seconds, '{POST,PUT,PATCH}',
        'Invalid HTTP method for multipart: %s. Must be POST, PUT, or PATCH');
    IF COALESCE(pg_catalog.jsonb_typeof(parts), 'null') = 'null' THEN
        RAISE EXCEPTION 'parts is required and cannot be NULL' USING ERRCODE = 'null_value_not_allowed';
    ELSIF pg_catalog.jsonb_typeof(parts) <> 'array' THEN
        RAISE EXCEPTION 'parts must be a JSON array of part objects' USING ERRCODE = 'invalid_parameter_value';
    ELSIF parts = '[]' THEN
        RAISE EXCEPTION 'parts must contain at least one part' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM df._check_headers(headers);
    RETURN '{"node_type":"HTTP_MULTIPART","query":' || df._quoted('{"url":' || df._quoted(url)
        || ',"method":"' || pg_catalog.upper(method) || '","parts":' || df._compact(parts)
        || ',"headers":' || COALESCE(df._compact(headers), 'null')
        || ',"timeout_seconds":' || timeout_seconds::text || '}') || '}';
END $$;
COMMENT ON FUNCTION df.http_multipart(text, text, jsonb, jsonb, integer) IS 'A multipart/form-data upload.';
