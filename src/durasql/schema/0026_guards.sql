-- 0026 guards: how a workflow deals with failures. Builders from text to text, like those of 0003.
--
-- In: operands, durations and names of failures. Out: envelopes of RETRY, TIMEOUT, CATCH, FINALLY and UNDO nodes. A guard
-- without its configuration would silently guard nothing, so df.start accepts exactly what these builders write.

-- ---------------------------------------------------------------------------------------------------------
-- Names of failures
-- ---------------------------------------------------------------------------------------------------------

-- PL/pgSQL knows the names of its own version only; the same text has to mean the same on every server.
CREATE FUNCTION df._conditions() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT '
sql_statement_not_yet_complete:03000 connection_exception:08000
sqlclient_unable_to_establish_sqlconnection:08001 connection_does_not_exist:08003
sqlserver_rejected_establishment_of_sqlconnection:08004 connection_failure:08006
transaction_resolution_unknown:08007 protocol_violation:08P01 triggered_action_exception:09000
feature_not_supported:0A000 invalid_transaction_initiation:0B000 locator_exception:0F000
invalid_locator_specification:0F001 invalid_grantor:0L000 invalid_grant_operation:0LP01
invalid_role_specification:0P000 diagnostics_exception:0Z000
stacked_diagnostics_accessed_without_active_handler:0Z002 invalid_argument_for_xquery:10608
case_not_found:20000 cardinality_violation:21000 data_exception:22000 string_data_right_truncation:22001
null_value_no_indicator_parameter:22002 numeric_value_out_of_range:22003
null_value_not_allowed:22004,39004 error_in_assignment:22005 invalid_datetime_format:22007
datetime_field_overflow:22008 invalid_time_zone_displacement_value:22009 escape_character_conflict:2200B
invalid_use_of_escape_character:2200C invalid_escape_octet:2200D zero_length_character_string:2200F
most_specific_type_mismatch:2200G sequence_generator_limit_exceeded:2200H not_an_xml_document:2200L
invalid_xml_document:2200M invalid_xml_content:2200N invalid_xml_comment:2200S
invalid_xml_processing_instruction:2200T invalid_indicator_parameter_value:22010 substring_error:22011
division_by_zero:22012 invalid_preceding_or_following_size:22013
invalid_argument_for_ntile_function:22014 interval_field_overflow:22015
invalid_argument_for_nth_value_function:22016 invalid_character_value_for_cast:22018
invalid_escape_character:22019 invalid_regular_expression:2201B invalid_argument_for_logarithm:2201E
invalid_argument_for_power_function:2201F invalid_argument_for_width_bucket_function:2201G
invalid_row_count_in_limit_clause:2201W invalid_row_count_in_result_offset_clause:2201X
character_not_in_repertoire:22021 indicator_overflow:22022 invalid_parameter_value:22023
unterminated_c_string:22024 invalid_escape_sequence:22025 string_data_length_mismatch:22026
trim_error:22027 array_subscript_error:2202E invalid_tablesample_repeat:2202G
invalid_tablesample_argument:2202H duplicate_json_object_key_value:22030
invalid_argument_for_sql_json_datetime_function:22031 invalid_json_text:22032
invalid_sql_json_subscript:22033 more_than_one_sql_json_item:22034 no_sql_json_item:22035
non_numeric_sql_json_item:22036 non_unique_keys_in_a_json_object:22037
singleton_sql_json_item_required:22038 sql_json_array_not_found:22039 sql_json_member_not_found:2203A
sql_json_number_not_found:2203B sql_json_object_not_found:2203C too_many_json_array_elements:2203D
too_many_json_object_members:2203E sql_json_scalar_required:2203F
sql_json_item_cannot_be_cast_to_target_type:2203G floating_point_exception:22P01
invalid_text_representation:22P02 invalid_binary_representation:22P03 bad_copy_file_format:22P04
untranslatable_character:22P05 nonstandard_use_of_escape_character:22P06
integrity_constraint_violation:23000 restrict_violation:23001 not_null_violation:23502
foreign_key_violation:23503 unique_violation:23505 check_violation:23514 exclusion_violation:23P01
invalid_cursor_state:24000 invalid_transaction_state:25000 active_sql_transaction:25001
branch_transaction_already_active:25002 inappropriate_access_mode_for_branch_transaction:25003
inappropriate_isolation_level_for_branch_transaction:25004
no_active_sql_transaction_for_branch_transaction:25005 read_only_sql_transaction:25006
schema_and_data_statement_mixing_not_supported:25007 held_cursor_requires_same_isolation_level:25008
no_active_sql_transaction:25P01 in_failed_sql_transaction:25P02
idle_in_transaction_session_timeout:25P03 transaction_timeout:25P04 invalid_sql_statement_name:26000
triggered_data_change_violation:27000 invalid_authorization_specification:28000 invalid_password:28P01
dependent_privilege_descriptors_still_exist:2B000 dependent_objects_still_exist:2BP01
invalid_transaction_termination:2D000 sql_routine_exception:2F000
modifying_sql_data_not_permitted:2F002,38002 prohibited_sql_statement_attempted:2F003,38003
reading_sql_data_not_permitted:2F004,38004 function_executed_no_return_statement:2F005
invalid_cursor_name:34000 external_routine_exception:38000 containing_sql_not_permitted:38001
external_routine_invocation_exception:39000 invalid_sqlstate_returned:39001
trigger_protocol_violated:39P01 srf_protocol_violated:39P02 event_trigger_protocol_violated:39P03
savepoint_exception:3B000 invalid_savepoint_specification:3B001 invalid_catalog_name:3D000
invalid_schema_name:3F000 transaction_rollback:40000 serialization_failure:40001
transaction_integrity_constraint_violation:40002 statement_completion_unknown:40003
deadlock_detected:40P01 syntax_error_or_access_rule_violation:42000 insufficient_privilege:42501
syntax_error:42601 invalid_name:42602 invalid_column_definition:42611 name_too_long:42622
duplicate_column:42701 ambiguous_column:42702 undefined_column:42703 undefined_object:42704
duplicate_object:42710 duplicate_alias:42712 duplicate_function:42723 ambiguous_function:42725
grouping_error:42803 datatype_mismatch:42804 wrong_object_type:42809 invalid_foreign_key:42830
cannot_coerce:42846 undefined_function:42883 generated_always:428C9 reserved_name:42939
undefined_table:42P01 undefined_parameter:42P02 duplicate_cursor:42P03 duplicate_database:42P04
duplicate_prepared_statement:42P05 duplicate_schema:42P06 duplicate_table:42P07
ambiguous_parameter:42P08 ambiguous_alias:42P09 invalid_column_reference:42P10
invalid_cursor_definition:42P11 invalid_database_definition:42P12 invalid_function_definition:42P13
invalid_prepared_statement_definition:42P14 invalid_schema_definition:42P15
invalid_table_definition:42P16 invalid_object_definition:42P17 indeterminate_datatype:42P18
invalid_recursion:42P19 windowing_error:42P20 collation_mismatch:42P21 indeterminate_collation:42P22
with_check_option_violation:44000 insufficient_resources:53000 disk_full:53100 out_of_memory:53200
too_many_connections:53300 configuration_limit_exceeded:53400 program_limit_exceeded:54000
statement_too_complex:54001 too_many_columns:54011 too_many_arguments:54023
object_not_in_prerequisite_state:55000 object_in_use:55006 cant_change_runtime_param:55P02
lock_not_available:55P03 unsafe_new_enum_value_usage:55P04 operator_intervention:57000
query_canceled:57014 admin_shutdown:57P01 crash_shutdown:57P02 cannot_connect_now:57P03
database_dropped:57P04 idle_session_timeout:57P05 system_error:58000 io_error:58030 undefined_file:58P01
duplicate_file:58P02 file_name_too_long:58P03 config_file_error:F0000 lock_file_exists:F0001
fdw_error:HV000 fdw_out_of_memory:HV001 fdw_dynamic_parameter_value_needed:HV002
fdw_invalid_data_type:HV004 fdw_column_name_not_found:HV005 fdw_invalid_data_type_descriptors:HV006
fdw_invalid_column_name:HV007 fdw_invalid_column_number:HV008 fdw_invalid_use_of_null_pointer:HV009
fdw_invalid_string_format:HV00A fdw_invalid_handle:HV00B fdw_invalid_option_index:HV00C
fdw_invalid_option_name:HV00D fdw_option_name_not_found:HV00J fdw_reply_handle:HV00K
fdw_unable_to_create_execution:HV00L fdw_unable_to_create_reply:HV00M
fdw_unable_to_establish_connection:HV00N fdw_no_schemas:HV00P fdw_schema_not_found:HV00Q
fdw_table_not_found:HV00R fdw_function_sequence_error:HV010 fdw_too_many_handles:HV014
fdw_inconsistent_descriptor_information:HV021 fdw_invalid_attribute_value:HV024
fdw_invalid_string_length_or_buffer_length:HV090 fdw_invalid_descriptor_field_identifier:HV091
plpgsql_error:P0000 raise_exception:P0001 no_data_found:P0002 too_many_rows:P0003 assert_failure:P0004
internal_error:XX000 data_corrupted:XX001 index_corrupted:XX002
' $$;
COMMENT ON FUNCTION df._conditions() IS 'PostgreSQL''s names of errors with their SQLSTATEs, as in syntax/conditions.py.';

-- The most similar name, by the pairs of letters they share: the same as in syntax/failures.py.
CREATE FUNCTION df._nearest_failure(word text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    WITH pairs (name, pair) AS (
        SELECT n.name, pg_catalog.substr(n.name, at, 2)
        FROM (SELECT pg_catalog.split_part(c, ':', 1)
              FROM pg_catalog.regexp_split_to_table(pg_catalog.btrim(df._conditions(), E'\n'), '[ \n]+') c
              UNION ALL VALUES ('timeout'), ('connection'), ('http'), ('any'), ('http:4xx'), ('http:5xx')) n (name),
             pg_catalog.generate_series(1, pg_catalog.length(n.name) - 1) at
        GROUP BY 1, 2
    ), given (pair) AS (
        SELECT DISTINCT pg_catalog.substr(w.word, at, 2)
        FROM (SELECT pg_catalog.left($1, 60)) w (word), pg_catalog.generate_series(1, pg_catalog.length(w.word) - 1) at
    )
    SELECT p.name
    FROM pairs p LEFT JOIN given g ON g.pair = p.pair
    GROUP BY p.name
    HAVING pg_catalog.count(g.pair) * 4 >= pg_catalog.count(*) + (SELECT pg_catalog.count(*) FROM given)
    ORDER BY pg_catalog.count(g.pair)::double precision / (pg_catalog.count(*) + (SELECT pg_catalog.count(*) FROM given)) DESC,
             p.name COLLATE "C"
    LIMIT 1
$$;
COMMENT ON FUNCTION df._nearest_failure(text) IS 'The name of a failure that was most likely meant, or NULL.';

CREATE FUNCTION df._failure_hint(word text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN pg_catalog.starts_with(word, 'http:') THEN 'an HTTP status is http:100 to http:599, http:4xx or http:5xx'
        ELSE COALESCE('did you mean ''' || df._nearest_failure(word) || '''?',
            'write a SQLSTATE, a class of them, PostgreSQL''s name of one, timeout, connection, http:5xx or any') END
$$;
COMMENT ON FUNCTION df._failure_hint(text) IS 'What to write instead of a name that is none.';

-- One word in normal form; a few names stand for two SQLSTATEs. Small letters alone are a mistyped word more likely than
-- a SQLSTATE, and PostgreSQL has no such code.
CREATE FUNCTION df._failure(word text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    folded text := pg_catalog.lower(word COLLATE "C");
    codes text := CASE WHEN folded ~ '^[a-z0-9_]+$' THEN
        pg_catalog.substring(df._conditions(), '[ \n]' || folded || ':([0-9A-Z,]+)') END;
BEGIN
    RETURN CASE
        WHEN codes IS NOT NULL THEN pg_catalog.string_to_array(codes, ',')
        WHEN folded IN ('timeout', 'connection', 'http', 'any', 'http:4xx', 'http:5xx') OR folded ~ '^http:[1-5][0-9][0-9]$'
            THEN ARRAY[folded]
        WHEN word ~ '^([0-9A-Za-z]{5}|[0-9A-Za-z]{2})$' AND word !~ '^[a-z]+$' THEN ARRAY[pg_catalog.upper(word COLLATE "C")]
    END;
END $$;
COMMENT ON FUNCTION df._failure(text) IS 'The name of a failure in normal form, or NULL if it is none.';

CREATE FUNCTION df._failures(errors text, builder text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    words text[] := pg_catalog.string_to_array(errors, ',');
    word text;
    code text;
    found text[] := '{}';
BEGIN
    IF errors IS NULL THEN
        RETURN 'null';
    ELSIF pg_catalog.cardinality(words) > 100 THEN
        RAISE EXCEPTION '%: errors names % failures; at most 100 are possible', builder, pg_catalog.cardinality(words)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'To mean every failure, write ''any''.';
    ELSIF words = '{}' THEN
        words := ARRAY['']; -- an empty text
    END IF;
    FOREACH word IN ARRAY words LOOP
        word := pg_catalog.btrim(word, E' \t\n\r');
        IF word = '' THEN
            RAISE EXCEPTION '%: errors has a place without a name', builder
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = 'write a SQLSTATE, a class of them, PostgreSQL''s name of one, timeout, connection, http:5xx or any';
        ELSIF df._failure(word) IS NULL THEN
            RAISE EXCEPTION '%: errors has the unknown name ''%''', builder, pg_catalog.left(word, 60)
                USING ERRCODE = 'invalid_parameter_value', HINT = df._failure_hint(pg_catalog.lower(word COLLATE "C"));
        END IF;
        FOREACH code IN ARRAY df._failure(word) LOOP
            IF code <> ALL (found) THEN
                found := found || code;
            END IF;
        END LOOP;
    END LOOP;
    RETURN '["' || pg_catalog.array_to_string(found, '","') || '"]';
END $$;
COMMENT ON FUNCTION df._failures(text, text) IS 'A list of failures in normal form as a JSON array, null for none; the error names the builder.';

-- ---------------------------------------------------------------------------------------------------------
-- Configurations
-- ---------------------------------------------------------------------------------------------------------

CREATE FUNCTION df._retry_config(max_attempts integer, backoff numeric, max_backoff numeric, jitter boolean, failures text)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT '{"max_attempts":' || max_attempts::text || ',"backoff":' || backoff::text || ',"max_backoff":' || max_backoff::text
        || ',"jitter":' || jitter::text || ',"errors":' || failures || '}'
$$;
COMMENT ON FUNCTION df._retry_config(integer, numeric, numeric, boolean, text) IS 'The configuration of a RETRY node; pauses in seconds.';

CREATE FUNCTION df._errors_of(config jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE pg_catalog.jsonb_typeof(config -> 'errors')
        WHEN 'null' THEN 'null'
        WHEN 'array' THEN df._failures(pg_catalog.array_to_string(
            ARRAY(SELECT pg_catalog.jsonb_array_elements_text(config -> 'errors')), ',', ''), '') END
$$;
COMMENT ON FUNCTION df._errors_of(jsonb) IS 'The failures of a configuration in normal form.';

-- What a builder would have written to say the same; NULL if none could.
CREATE FUNCTION df._guard_config(kind text, query text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    config jsonb;
    attempts integer;
    backoff numeric;
    longest numeric;
    seconds numeric;
BEGIN
    -- Not in DECLARE: what is raised there, the block does not catch.
    config := query::jsonb;
    attempts := (config ->> 'max_attempts')::integer;
    backoff := pg_catalog.trim_scale((config ->> 'backoff')::numeric);
    longest := pg_catalog.trim_scale((config ->> 'max_backoff')::numeric);
    seconds := pg_catalog.trim_scale((config ->> 'seconds')::numeric);
    RETURN CASE
        WHEN kind = 'RETRY' AND attempts BETWEEN 1 AND 1000 AND backoff BETWEEN 0 AND longest AND longest <= 3650 * 86400
             AND GREATEST(pg_catalog.scale(backoff), pg_catalog.scale(longest)) <= 6
            THEN df._retry_config(attempts, backoff, longest, (config ->> 'jitter')::boolean, df._errors_of(config))
        WHEN kind = 'TIMEOUT' AND seconds BETWEEN 0.001 AND 3650 * 86400 AND pg_catalog.scale(seconds) <= 6
            THEN '{"seconds":' || seconds::text || '}'
        WHEN kind = 'CATCH' THEN '{"errors":' || df._errors_of(config) || '}'
    END;
EXCEPTION WHEN data_exception OR statement_too_complex THEN
    RETURN NULL;
END $$;
COMMENT ON FUNCTION df._guard_config(text, text) IS 'The configuration that a builder would have written, NULL if none could.';

CREATE FUNCTION df._guard_defect(kind text, node jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    two boolean := kind IN ('CATCH', 'FINALLY', 'UNDO');
BEGIN
    IF NOT node ? 'left_node' OR (node ? 'right_node') <> two THEN
        RETURN kind || CASE WHEN two THEN ' needs left_node and right_node' ELSE ' needs left_node and no right_node' END;
    ELSIF kind IN ('FINALLY', 'UNDO') THEN
        RETURN CASE WHEN node ? 'query' THEN kind || ' needs no query' END;
    ELSIF df._guard_config(kind, node ->> 'query') IS DISTINCT FROM node ->> 'query' OR NOT node ? 'query' THEN
        RETURN pg_catalog.format('%s needs the configuration that df.%s writes', kind, pg_catalog.lower(kind));
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION df._guard_defect(text, jsonb) IS 'Why a node cannot guard anything, or NULL.';

-- The only configuration of a loop that means something; any other one is kept and means nothing.
CREATE FUNCTION df._loop_defect(query text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF query <> '{"continue_on_failure":true}' AND query::jsonb ? 'continue_on_failure'
       AND pg_catalog.jsonb_typeof(query::jsonb) = 'object' THEN
        RETURN 'LOOP needs the configuration {"continue_on_failure":true}, or none';
    END IF;
    RETURN NULL;
EXCEPTION WHEN data_exception OR statement_too_complex THEN
    RETURN NULL;
END $$;
COMMENT ON FUNCTION df._loop_defect(text) IS 'What is wrong with the configuration of a loop, or NULL.';

-- ---------------------------------------------------------------------------------------------------------
-- Builders
-- ---------------------------------------------------------------------------------------------------------

CREATE FUNCTION df.retry(
    fut text, max_attempts integer DEFAULT 5, backoff text DEFAULT '1 s', max_backoff text DEFAULT '1 min',
    jitter boolean DEFAULT true, errors text DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    body text;
    pause numeric;
    longest numeric;
    failures text;
BEGIN
    PERFORM df._require(fut, 'df.retry', 'fut');
    PERFORM df._require(max_attempts, 'df.retry', 'max_attempts');
    PERFORM df._require(jitter, 'df.retry', 'jitter');
    body := df._step(fut);
    pause := df._duration(backoff, 'df.retry: backoff');
    longest := df._duration(max_backoff, 'df.retry: max_backoff');
    failures := df._failures(errors, 'df.retry');
    IF max_attempts NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'df.retry: max_attempts must be between 1 and 1000, not %', max_attempts
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = '1 means that a failed step is not tried again; who has to wait for long, loops with df.sleep';
    ELSIF longest < pause THEN
        RAISE EXCEPTION 'df.retry: max_backoff must not be shorter than backoff'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'the pause between tries begins with backoff and doubles up to max_backoff; name both';
    END IF;
    RETURN '{"node_type":"RETRY","left_node":' || body || ',"query":'
        || df._quoted(df._retry_config(max_attempts, pause, longest, jitter, failures)) || '}';
END $$;
COMMENT ON FUNCTION df.retry(text, integer, text, text, boolean, text) IS
    'Runs fut again when it fails, after a pause that doubles. errors lists which failures, as in ''40001, http:5xx''; by default those that may pass.';

CREATE FUNCTION df.timeout(fut text, duration text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    body text;
BEGIN
    PERFORM df._require(fut, 'df.timeout', 'fut');
    body := df._step(fut);
    RETURN '{"node_type":"TIMEOUT","left_node":' || body || ',"query":'
        || df._quoted('{"seconds":' || df._duration(duration, 'df.timeout: duration', 0.001)::text || '}') || '}';
END $$;
COMMENT ON FUNCTION df.timeout(text, text) IS 'Cancels fut on the server when its time is up, and fails. Durations: ''30 s'', ''1.5 h'', ''1 min 30 s''.';

CREATE FUNCTION df.catch(fut text, handler text, errors text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM df._require(fut, 'df.catch', 'fut');
    PERFORM df._require(handler, 'df.catch', 'handler');
    RETURN '{"node_type":"CATCH","left_node":' || df._step(fut) || ',"right_node":' || df._step(handler) || ',"query":'
        || df._quoted('{"errors":' || df._failures(errors, 'df.catch') || '}') || '}';
END $$;
COMMENT ON FUNCTION df.catch(text, text, text) IS
    'When fut fails, runs the handler, which sees $error; its result takes the place of fut''s. errors lists which failures; by default all.';

CREATE FUNCTION df.finally(fut text, cleanup text) RETURNS text
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN '{"node_type":"FINALLY","left_node":' || df._step(fut) || ',"right_node":' || df._step(cleanup) || '}';
END $$;
COMMENT ON FUNCTION df.finally(text, text) IS 'Runs the cleanup after fut, however fut ends; then goes on with what fut ended in.';

CREATE FUNCTION df.with_undo(fut text, undo text) RETURNS text
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN '{"node_type":"UNDO","left_node":' || df._step(fut) || ',"right_node":' || df._step(undo) || '}';
END $$;
COMMENT ON FUNCTION df.with_undo(text, text) IS 'Runs fut, and undo should a later step fail for good. Operator: fut <~ undo';

-- Not <->: the extension pg_trgm has that one for two texts.
CREATE OPERATOR df.<~ (LEFTARG = text, RIGHTARG = text, FUNCTION = df.with_undo);
COMMENT ON OPERATOR df.<~ (text, text) IS 'a, and b to take it back';

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = 'public') THEN
        CREATE OPERATOR public.<~ (LEFTARG = text, RIGHTARG = text, FUNCTION = df.with_undo);
        COMMENT ON OPERATOR public.<~ (text, text) IS 'a, and b to take it back';
    END IF;
END $$;
