"""The registry of diagnostics: every code with its meaning, once. docs/errors.md is generated from it.

In: nothing. Out: `CODES` and `diagnose`, the only way to make a `Diagnostic`. A code is never given a second
meaning. E1xx syntax, E2xx what builders and `check` refuse, E3xx limits, W2xx warnings, I2xx notes. Warnings
and notes can be silenced in the file: `-- durasql: allow W208`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from durasql.errors import Diagnostic, Severity
from durasql.source import Source, Span


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of finding: what it means and a text that has it."""

    code: str
    title: str
    explanation: str
    example: str
    found_by: str = ""
    """The command that finds it, when it is not every check."""

    @property
    def severity(self) -> Severity:
        """Errors stop a compilation, warnings and notes do not."""
        return {"E": Severity.ERROR, "W": Severity.WARNING}.get(self.code[0], Severity.INFO)


_ALL: Final = (
    Code(
        "E101",
        "unterminated string",
        "A string or a quoted name is opened and never closed.",
        "'SELECT 1 ~> 'SELECT 2'",
    ),
    Code(
        "E102",
        "unterminated comment",
        "A /* comment is never closed. Comments nest.",
        "'SELECT 1' /* one /* two */",
    ),
    Code(
        "E103", "unterminated dollar quote", "A $tag$ string is never closed by the same tag.", "$q$SELECT 1$"
    ),
    Code(
        "E104",
        "unknown operator",
        "A run of operator characters is one operator, as in PostgreSQL; this one does not exist.",
        "'SELECT 1' && 'SELECT 2'",
    ),
    Code(
        "E105",
        "unexpected character",
        "The character has no place outside a string.",
        "'SELECT 1' ~> ['SELECT 2'",
    ),
    Code(
        "E106", "typographic quote", "Only the plain quotes ' and \" delimit strings and names.", "‘SELECT 1’"
    ),
    Code(
        "E107",
        "psql command or variable",
        "psql would handle it before the server sees the text.",
        "'SELECT 1' ~> :step",
    ),
    Code(
        "E108",
        "malformed number",
        "Numbers are decimal digits with an optional point and exponent.",
        "df.sleep(10s)",
    ),
    Code("E109", "malformed string", "An escape or prefix of a string literal is not valid.", r"E'\u12'"),
    Code("E110", "unexpected word", "The text does not follow the grammar here.", "df.sleep(1, )"),
    Code(
        "E111",
        "missing operator",
        "Two steps stand side by side without an operator between them.",
        "'SELECT 1' df.sleep(1)",
    ),
    Code("E112", "missing operand", "An operator has nothing to work on.", "'SELECT 1' ~>"),
    Code(
        "E113",
        "unbalanced parenthesis",
        "A parenthesis is opened and not closed, or the reverse.",
        "('SELECT 1' ~> 'SELECT 2'",
    ),
    Code(
        "E114",
        "misplaced arrow",
        "`=>` gives a named argument; results are named with `|=>`.",
        "'SELECT 1' => 'a'",
    ),
    Code("E115", "unknown function", "There is no builder of that name.", "df.slep(5)"),
    Code(
        "E116",
        "wrong arguments",
        "The function has no such argument, or one is missing or given twice.",
        "df.sleep()",
    ),
    Code(
        "E117",
        "wrong type",
        "The argument or operand has a type that PostgreSQL would not accept.",
        "df.sleep('soon')",
    ),
    Code(
        "E118",
        "NULL argument",
        "A strict function with a NULL argument yields NULL, so there would be no workflow.",
        "df.sleep(NULL)",
    ),
    Code("E119", "unfinished ?>", "`condition ?> then` needs `!> else`.", "'SELECT true' ?> 'SELECT 1'"),
    Code(
        "E120",
        "!> without ?>",
        "The left side of `!>` must be `condition ?> then`.",
        "'SELECT 1' !> 'SELECT 2'",
    ),
    Code(
        "E121",
        "concatenation of a step",
        "`||` binds like `~>`, to all that stands on its left, so it would glue text to a step.",
        "'SELECT 1' ~> 'SELECT ' || '2'",
    ),
    Code(
        "E122",
        "not a workflow",
        "A text is one expression, or SELECT df.setvar(…) and SELECT df.start(…).",
        "UPDATE t SET x = 1",
    ),
    Code(
        "E123",
        "malformed envelope",
        "A JSON text with a node_type is not a valid workflow step.",
        """'{"node_type":"THEN"}'""",
    ),
    Code("E124", "not a text", "The text holds a NUL character or is not valid Unicode.", r"'SELECT 1\0'"),
    Code("E125", "nothing to run", "The text holds no workflow.", "-- nothing"),
    Code(
        "E126",
        "invalid JSON",
        "The argument is not valid JSON, or not what jsonb accepts.",
        "df.http('https://a.b', headers => '{a:1}')",
    ),
    Code(
        "E201", "invalid result name", "Names are ASCII letters, digits and _.", "'SELECT 1' |=> 'first row'"
    ),
    Code("E202", "negative sleep", "A sleep takes zero seconds or more.", "df.sleep(-5)"),
    Code(
        "E203",
        "invalid schedule",
        "The text is no standard cron expression of five fields.",
        "df.wait_for_schedule('61 * * * *')",
    ),
    Code(
        "E204",
        "unknown time zone",
        "The zone is not in the IANA database.",
        "df.wait_for_schedule('@daily', timezone => 'Mars/Base')",
    ),
    Code(
        "E205",
        "invalid HTTP method",
        "The method is not one that the step can use.",
        "df.http('https://example.com', 'FETCH')",
    ),
    Code("E206", "invalid URL", "Only http and https URLs can be called.", "df.http('ftp://example.com')"),
    Code(
        "E207", "timeout must be positive", "A timeout is one second or more.", "df.wait_for_signal('go', 0)"
    ),
    Code(
        "E208",
        "invalid header",
        "Headers are an object of names and string values.",
        """df.http('https://a.b', headers => '{"X": 1}')""",
    ),
    Code(
        "E209",
        "invalid parts",
        "parts is a JSON array with at least one part.",
        "df.http_multipart('https://example.com')",
    ),
    Code("E210", "empty signal name", "A signal needs a name.", "df.wait_for_signal('')"),
    Code(
        "E211",
        "break outside a loop",
        "df.break ends the loop around it; there is none.",
        "'SELECT 1' ~> df.break()",
    ),
    Code(
        "E212",
        "name on a break",
        "A break never yields a value to the step after it.",
        "@> (df.break('x') |=> 'done')",
    ),
    Code("E213", "SQL syntax error", "PostgreSQL's own parser refuses the statement.", "'SELEC 1'"),
    Code(
        "E214",
        "invalid start option",
        "An option of df.start has a value that it refuses.",
        "SELECT df.start('SELECT 1', transaction_mode => 'later');",
    ),
    Code(
        "E215",
        "unknown name",
        "The step uses $name, and no step that can run before it binds that name.",
        "'SELECT 1' |=> 'a' ~> 'SELECT $b'",
    ),
    Code(
        "E216",
        "unknown field",
        "The step uses $name.field, and the result bound to the name cannot have it.",
        "'SELECT 1 AS id' |=> 'a' ~> 'SELECT $a.idx'",
    ),
    Code(
        "E217",
        "statement a step cannot run",
        "Transaction control, COPY to or from the client, and VACUUM and the like beside other statements.",
        "'COMMIT'",
    ),
    Code(
        "E219",
        "rows outside FROM",
        "$name.* stands for all rows of a result and can only be a table in FROM, without an alias.",
        "'SELECT 1 AS id' |=> 'a' ~> 'SELECT $a.*'",
    ),
    Code(
        "E220",
        "invalid duration",
        "A duration is a number and a unit, up to ten years; a bare number counts seconds.",
        "df.timeout('SELECT 1', '5 parsecs')",
    ),
    Code(
        "E221",
        "unknown failure",
        "It is no SQLSTATE, class or name of one, nor timeout, connection, http, http:5xx, http:429 or any.",
        "df.retry('SELECT 1', errors => 'deadlok_detected')",
    ),
    Code(
        "E222",
        "invalid number of attempts",
        "A step is tried once to 1000 times.",
        "df.retry('SELECT 1', max_attempts => 0)",
    ),
    Code(
        "W201",
        "reference that is not replaced",
        "A $name in a literal, a URL or a body looks like a reference, but nothing binds it here.",
        "'SELECT 1' |=> 'page' ~> df.http('https://example.com/$pge')",
    ),
    Code(
        "W202",
        "name that may be unbound",
        "The name is bound on some ways to the step and not on others; there the step fails.",
        "('SELECT true' ?> ('SELECT 1' |=> 'a') !> 'SELECT 2') ~> 'SELECT $a'",
    ),
    Code(
        "W203",
        "name bound twice",
        "A later step gives a name a new value, so the earlier one is lost.",
        "'SELECT 1' |=> 'a' ~> ('SELECT 2' |=> 'a')",
    ),
    Code(
        "W204",
        "field that is always NULL",
        "$name.field? is NULL whenever the field is missing, and here it always is.",
        "'SELECT 1 AS id' |=> 'a' ~> 'SELECT $a.idx?'",
    ),
    Code(
        "W205",
        "unreachable step",
        "Every way to the step ends before it, in a break or an endless loop.",
        "(@> df.sleep(1)) ~> 'SELECT 1'",
    ),
    Code(
        "W206",
        "loop that never waits nor ends",
        "It would run as fast as the database answers.",
        "@> 'SELECT 1'",
    ),
    Code(
        "W208",
        "precedence trap",
        "All operators bind equally and to the left, so this groups otherwise than it reads.",
        "'SELECT 1' ~> 'SELECT 2' & 'SELECT 3'",
    ),
    Code(
        "W209",
        "losing branch writes",
        "What a branch of a race has committed stays when the other branch wins.",
        "('INSERT INTO t VALUES (1)' ~> df.sleep(9)) | df.sleep(5)",
    ),
    Code(
        "W210",
        "join binds a name twice",
        "Two branches of a join bind the same name; the later branch wins.",
        "('SELECT 1' |=> 'a') & ('SELECT 2' |=> 'a')",
    ),
    Code(
        "W211",
        "reference in a comment or identifier",
        "Results are not inserted into comments, quoted identifiers or dollar tags.",
        """'SELECT 1' |=> 'a' ~> 'SELECT 1 AS "$a"'""",
    ),
    Code(
        "W212",
        "comparison with a NULL",
        "`= $x?` is never true when $x is NULL.",
        "'SELECT 1' |=> 'a' ~> 'SELECT 1 = $a?'",
    ),
    Code(
        "W213",
        "variable that is not set",
        "The file sets a variable of a similar name.",
        "SELECT df.setvar('region', 'eu'); SELECT df.start('SELECT ''{regoin}''');",
    ),
    Code(
        "W214",
        "question mark taken by a reference",
        "`$name?` is a reference that may be NULL, in a URL too.",
        "'SELECT 1' |=> 'id' ~> df.http('https://example.com/$id?x=1')",
    ),
    Code(
        "W215",
        "session state",
        "SET, temporary tables, PREPARE and LISTEN last only for the step that runs them.",
        "'CREATE TEMP TABLE t (x int)'",
    ),
    Code(
        "W217",
        "URL that cannot be called",
        "The URL has no host, has blanks in it, or carries a password.",
        "df.http('https:///path')",
    ),
    Code(
        "W218",
        "failure that cannot happen",
        "A df.retry or df.catch names failures that no step in it can have.",
        "df.catch('SELECT 1', 'SELECT 2', errors => 'http:5xx')",
    ),
    Code(
        "W219",
        "timeout that leaves no time",
        "The timeout ends before what is in it can be over, or before a second attempt can begin.",
        "df.timeout(df.sleep(60), '30 s')",
    ),
    Code(
        "I201",
        "several statements",
        "They run in order in the step's one transaction.",
        "'SELECT 1; SELECT 2'",
    ),
    Code(
        "I202",
        "runs at least once",
        "The statement cannot run in a transaction, so it cannot commit together with its journal row.",
        "'VACUUM'",
    ),
    Code(
        "I203",
        "reference inside a literal",
        "The value is inserted as text, with quotes doubled. pg_durable would break the literal.",
        "'SELECT 1' |=> 'a' ~> $$SELECT 'n = $a'$$",
    ),
    Code(
        "I204",
        "variable set elsewhere",
        "Nothing in the file sets the variable; without one the text stays as it is.",
        "'SELECT {limit}'",
    ),
    Code(
        "E241",
        "unknown to the server",
        "The database has no such table, column, function, type or schema, or the search_path hides it.",
        "'SELECT * FROM ordres'",
        found_by="durasql check --dsn",
    ),
    Code(
        "E242",
        "missing privilege",
        "The role may not do what the statement does.",
        "'SELECT rolpassword FROM pg_authid'",
        found_by="durasql check --dsn",
    ),
    Code(
        "E243",
        "refused by the planner",
        "The server cannot plan the statement.",
        "'SELECT 1/0'",
        found_by="durasql check --dsn",
    ),
    Code(
        "W241",
        "types that may not fit",
        "No value that the server was tried with fits where a result or variable is inserted.",
        "'SELECT 1 AS n' |=> 'a' ~> 'SELECT upper($a + 1)'",
        found_by="durasql check --dsn",
    ),
    Code(
        "W242",
        "repeated column name",
        "Result columns need names of their own: later ones get _2, _3 and so on.",
        "'SELECT * FROM orders a JOIN orders b USING (day)'",
        found_by="durasql check --dsn",
    ),
    Code(
        "I241",
        "created by the workflow itself",
        "The statement uses something that the same text creates, so it can be planned only after that.",
        "'CREATE TABLE t (x int)' ~> 'SELECT * FROM t'",
        found_by="durasql check --dsn",
    ),
    Code(
        "I242",
        "not planned",
        "The statement depends on a variable that is not set, on rows of unknown columns, or on a lock.",
        "'SELECT * FROM {table}'",
        found_by="durasql check --dsn",
    ),
    Code(
        "I205",
        "next times of a schedule",
        "When the schedule fires next, at the time of the check.",
        "df.wait_for_schedule('0 6 * * mon-fri', timezone => 'Europe/Berlin')",
        found_by="durasql check --verbose",
    ),
    Code(
        "W290",
        "unknown code",
        "A `-- durasql: allow` comment names no warning.",
        "'SELECT 1' -- durasql: allow W999",
    ),
    Code(
        "E301",
        "nested too deep",
        "A workflow has at most 256 levels.",
        "'SELECT 1' ~> 'SELECT 2' ~> … 257 times",
    ),
    Code(
        "E302",
        "too many nodes",
        "A workflow has at most 10,000 nodes.",
        "df.join3(df.join3(…), df.join3(…), …) with 10,001 nodes",
    ),
    Code("E303", "text too large", "A workflow text has at most 4 MB.", "'SELECT … 5 MB …'"),
    Code("E304", "too many words", "A text has at most 250,000 words and operators.", "((((…"),
)

CODES: Final = {entry.code: entry for entry in _ALL}


def diagnose(
    code: str, message: str, source: Source, span: Span | None, hint: str | None = None
) -> Diagnostic:
    """A diagnostic with the severity of its code."""
    return Diagnostic(code, CODES[code].severity, message, source, span, hint)
