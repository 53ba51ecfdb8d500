-- What `durasql check --dsn` asks besides planning; used by store/explaining.py.

-- name: user
SELECT current_user

-- name: has_variables
SELECT CASE WHEN pg_catalog.to_regclass('df.vars') IS NULL THEN false
            ELSE pg_catalog.has_table_privilege('df.vars', 'SELECT') END

-- name: variables
SELECT v.name, v.value FROM df.vars v
WHERE v.owner = (pg_catalog.quote_ident(current_user))::regrole AND v.value IS NOT NULL

-- name: relations
SELECT c.oid::pg_catalog.regclass::pg_catalog.text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p') AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema')
  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
ORDER BY 1 LIMIT 10000

-- name: columns
SELECT c.relname, a.attname
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p') AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema')
  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
ORDER BY 1, 2 LIMIT 50000

-- name: functions
SELECT DISTINCT CASE WHEN pg_catalog.pg_function_is_visible(p.oid) THEN p.proname::pg_catalog.text
                     ELSE n.nspname || '.' || p.proname END
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE pg_catalog.has_schema_privilege(n.oid, 'USAGE')
ORDER BY 1 LIMIT 20000
