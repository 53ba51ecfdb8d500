-- 0028 strings: what a session sets must not change what a function means.
--
-- PostgreSQL reads the text of a function again in every session, with that session's standard_conforming_strings: with
-- `off`, which old applications still set, every backslash in a regular expression would be an escape. The functions
-- that a role calls, and those with backslashes that views and triggers call, read theirs with `on`. What runs inside
-- them does too. Functions of workers are left out: workers keep to the default, and each setting costs time.

DO $$
DECLARE
    entry regprocedure;
BEGIN
    FOR entry IN
        SELECT p.oid FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'df'::pg_catalog.regnamespace AND NOT p.prosecdef
          AND pg_catalog.array_to_string(p.proconfig, ',') LIKE '%search_path=%'
          AND (p.proname !~ '^_' OR p.proname = '_start' OR pg_catalog.strpos(p.prosrc, E'\\') > 0)
    LOOP
        EXECUTE pg_catalog.format('ALTER FUNCTION %s SET standard_conforming_strings = on', entry);
    END LOOP;
END $$;
