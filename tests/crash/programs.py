"""The representative set: one program per way in which things can go wrong. `{x}` is a step that leaves x.

Steps leave their effects in the table `effects`, under the instance's label, which is the name of the run.
"""

from __future__ import annotations

import re

_PROGRAMS = {
    "sequence": "{a} |=> 'a' ~> {b} ~> 'SELECT $a + 1 AS n' |=> 'n' ~> {c} ~> 'SELECT $n AS n'",
    "joins": "{a} ~> (({b} ~> {c}) & ({d} & ({e} ~> 'SELECT 1 AS deep'))) |=> 'j' ~> {f} ~> 'SELECT $j AS j'",
    "races": "{a} ~> df.race({b} ~> df.race('SELECT 5 AS won', df.sleep(600)), "
    "df.sleep(600) ~> {x}) |=> 'r' ~> {c} ~> 'SELECT $r AS r'",
    "loop": "{a} ~> df.loop({b} ~> 'SELECT count(*) AS n FROM effects WHERE run = ''{{sys_label}}''' "
    "|=> 'n', 'SELECT $n < 4') ~> {c} ~> 'SELECT $n AS n'",
    "nested": "df.loop(df.loop({a} ~> 'SELECT 1', 'SELECT mod(count(*), 3) <> 0 FROM effects WHERE run = "
    "''{{sys_label}}'' AND what = ''a''') & {b}, "
    "'SELECT count(*) < 8 FROM effects WHERE run = ''{{sys_label}}''')",
    "break": "df.loop({a} ~> 'SELECT count(*) AS n FROM effects WHERE run = ''{{sys_label}}''' |=> 'n' ~> "
    "df.if('SELECT $n >= 3', {b} ~> df.break('$n'), {c}))",
    "condition": "{a} |=> 'a' ~> ('SELECT $a = 1' ?> ({b} ~> ('SELECT false' ?> {x} !> {c})) !> {y}) ~> {d}",
    "signal": "{a} ~> 'SELECT df.signal(''{{sys_instance_id}}'', ''go'', ''7'')' ~> {b} ~> "
    "(df.wait_for_signal('go') |=> 's' & {c}) ~> {d} ~> 'SELECT ($s::jsonb->''data'')::int AS data'",
    "sleep": "{a} ~> df.sleep(1) ~> {b} ~> (df.sleep(1) & {c}) ~> {d}",
    "failure": "{a} ~> ({b} & 'SELECT 1/0' & {c}) ~> {x}",
    "outside": "{a} ~> 'VACUUM effects' ~> {b}",
    "retry": "df.retry({a} ~> 'SELECT 1 / (count(*) / 3) AS n FROM effects WHERE run = ''{{sys_label}}''', "
    "max_attempts => 4, backoff => '10 ms', errors => '22012') |=> 'n' ~> {b} ~> 'SELECT $n AS n'",
    "timeout": "{a} ~> df.catch(df.timeout({b} & df.sleep(600), '3 s'), {c} ~> 'SELECT $error.message AS m') "
    "|=> 'm' ~> {d} ~> 'SELECT $m AS m'",
    "finally": "df.catch(df.finally({a} ~> 'SELECT 1/0', {b}), {c}) ~> df.finally({d}, {e})",
    "undo": "({a} <~ {b}) ~> (({c} <~ {d}) & ({e} <~ {f})) ~> 'SELECT 1/0' ~> {x}",
    "scopes": "df.catch(df.loop(({a} |=> 'a') <~ ({b} ~> 'SELECT $a AS a'), "
    "'SELECT count(*) < 3 FROM effects WHERE run = ''{{sys_label}}''') ~> 'SELECT 1/0', {c}) ~> {d}",
    "goes_on": "df.loop({a} ~> 'SELECT 1 / (count(*) / 2) FROM effects WHERE run = ''{{sys_label}}''', "
    "'SELECT count(*) < 3 FROM effects WHERE run = ''{{sys_label}}''', true) ~> {b}",
    "http": "{a} ~> (df.http('SITE/{{sys_label}}?first', 'POST', 'x') |=> 'h' & {b}) ~> {c} ~> "
    "df.http('SITE/{{sys_label}}?second', 'POST', 'x') ~> 'SELECT $h.status AS status'",
}

_EFFECT = r"'INSERT INTO effects (run, what) VALUES (''{{sys_label}}'', ''\1'') RETURNING 1'"
NAMES = tuple(_PROGRAMS)


def expression(name: str, site: str) -> str:
    """The program as an SQL expression."""
    text = re.sub(r"(?<!\{)\{(\w)\}(?!\})", _EFFECT, _PROGRAMS[name])
    return text.replace("{{", "{").replace("}}", "}").replace("SITE", site)
