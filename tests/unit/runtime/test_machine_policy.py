"""Retry, timeout, catch, finally and undo in the pure machine; after every step another worker takes over."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tests.driving import Run, sql

from durasql.syntax import ast
from durasql_runtime.journal import State, UndoState
from durasql_runtime.outcome import Done, Failed

BOOM = Failed("boom")


def seq(*steps: ast.Node) -> ast.Node:
    first, *rest = steps
    for step in rest:
        first = ast.Then(first, step)
    return first


# -- retry ---------------------------------------------------------------------------------------------------


def test_retry_runs_again_after_a_pause_and_counts_attempts_in_the_generation() -> None:
    run = Run(ast.Retry(sql("a"), 3, backoff=2, max_backoff=60, jitter=False))
    run.finish("a", BOOM)
    assert run.ready == [] and run.timers == ["RETRY"]
    (attempt,) = run.last.attempts
    assert (attempt.number, attempt.delay) == (1, 2.0)
    run.fire("RETRY").finish("a", BOOM)
    assert run.last.attempts[0].delay == 4.0
    run.fire("RETRY").finish("a", "7")
    assert run.result == Done('{"rows":[{"x":7}],"row_count":1}')
    assert run.table.rows[0].gen == "3" and run.table.rows[1].gen == "3"


def test_retry_that_gives_up_fails_as_its_last_attempt_did() -> None:
    run = Run(ast.Retry(sql("a"), 2)).finish("a", BOOM).fire("RETRY").finish("a", Failed("worse"))
    assert run.result == Failed("worse", attempts=2)


def test_retry_counts_anew_in_each_generation_of_a_loop() -> None:
    run = Run(ast.Loop(ast.Retry(sql("a"), 2), sql("c")))
    run.finish("a", BOOM).fire("RETRY").finish("a").finish("c", "true")
    run.finish("a", BOOM)
    assert run.last.attempts[0].gen == "2" and run.last.attempts[0].number == 1
    run.fire("RETRY").finish("a").finish("c", "false")
    assert isinstance(run.result, Done)


@pytest.mark.parametrize(
    ("failure", "again"),
    [
        (Failed("x", sqlstate="40001"), True),
        (Failed("x", sqlstate="08006"), True),
        (Failed("x", sqlstate="23505"), False),
        (Failed("x", sqlstate="42P01"), False),
        (Failed("x", sqlstate="22012"), False),
        (Failed("x", sqlstate="28P01"), False),
        (Failed("x", sqlstate="P0001"), True),
        (Failed("x", reason="blocked"), False),
        (Failed("x", reason="invalid"), False),
        (Failed("x", reason="timeout"), True),
        (Failed("x", http_status=503), True),
        (Failed("x", http_status=429), True),
        (Failed("x", http_status=404), False),
    ],
)
def test_retry_by_default_never_repeats_what_cannot_get_better(failure: Failed, again: bool) -> None:
    run = Run(ast.Retry(sql("a"), 3)).finish("a", failure)
    assert (run.timers == ["RETRY"]) is again


@pytest.mark.parametrize(
    ("word", "failure", "again"),
    [
        ("23505", Failed("x", sqlstate="23505"), True),
        ("23505", Failed("x", sqlstate="23503"), False),
        ("23", Failed("x", sqlstate="23503"), True),
        ("23000", Failed("x", sqlstate="23503"), True),
        ("http:5xx", Failed("x", http_status=502), True),
        ("http:5xx", Failed("x", http_status=404), False),
        ("http:404", Failed("x", http_status=404), True),
        ("http", Failed("x", http_status=418), True),
        ("timeout", Failed("x", reason="timeout"), True),
        ("timeout", Failed("x", sqlstate="57014"), True),
        ("connection", Failed("x", sqlstate="08006"), True),
        ("connection", Failed("x", reason="connection"), True),
        ("any", Failed("x", sqlstate="42601"), True),
    ],
)
def test_errors_name_what_is_tried_again(word: str, failure: Failed, again: bool) -> None:
    run = Run(ast.Retry(sql("a"), 3, errors=(word,))).finish("a", failure)
    assert (run.timers == ["RETRY"]) is again


def test_retry_waits_as_long_as_the_server_asked() -> None:
    run = Run(ast.Retry(sql("a"), 3, jitter=False)).finish(
        "a", Failed("x", http_status=503, retry_after=120.0)
    )
    assert run.last.attempts[0].delay == 120.0


def test_jitter_stays_between_half_and_all_of_the_pause() -> None:
    delays = []
    for number in range(20):
        run = Run(ast.Retry(sql("a"), 9, backoff=8), instance_id=f"{number:08x}").finish("a", BOOM)
        delays.append(run.last.attempts[0].delay or 0)
    assert all(4 <= delay <= 8 for delay in delays) and len(set(delays)) > 10


def test_retry_around_a_race_tries_both_branches_again() -> None:
    run = Run(ast.Retry(ast.Race(sql("a"), sql("b")), 2)).finish("a", BOOM)
    assert run.ready == [] and run.timers == ["RETRY"]
    run.fire("RETRY")
    assert run.ready == ["a", "b"]
    assert run.finish("b", "3").result == Done('{"rows":[{"x":3}],"row_count":1}')


# -- timeout -------------------------------------------------------------------------------------------------


def test_timeout_cancels_the_subtree_and_fails_with_a_reason() -> None:
    run = Run(ast.Timeout(ast.Join((sql("a"), sql("b"))), 30)).finish("a").fire("TIMEOUT")
    assert run.result == Failed("Timeout: not finished after 30 s", reason="timeout")
    assert [run.program.nodes[node].query for node, _ in run.last.cancelled] == ["b"]


def test_a_body_in_time_stops_the_clock() -> None:
    run = Run(seq(ast.Timeout(sql("a"), 30), sql("b"))).finish("a")
    assert run.timers == [] and run.ready == ["b"]
    assert [key[0] for key in run.last.cancelled] == [1]


def test_a_timeout_that_a_retry_names_is_tried_again() -> None:
    run = Run(ast.Retry(ast.Timeout(sql("a"), 5), 2, errors=("timeout",))).fire("TIMEOUT").fire("RETRY")
    assert run.finish("a", "1").result == Done('{"rows":[{"x":1}],"row_count":1}')


def test_a_timeout_around_retries_counts_all_of_them() -> None:
    run = Run(ast.Timeout(ast.Retry(sql("a"), 9), 5)).finish("a", BOOM).fire("TIMEOUT")
    assert isinstance(run.result, Failed) and run.result.reason == "timeout"


def test_break_inside_a_timeout_leaves_the_loop_and_stops_the_clock() -> None:
    loop = ast.Loop(ast.Timeout(seq(sql("a"), ast.Break("7")), 5))
    run = Run(seq(loop, sql("after"))).finish("a")
    assert run.ready == ["after"] and run.timers == []


# -- catch and finally ---------------------------------------------------------------------------------------


def test_catch_gives_the_handlers_value_and_binds_error() -> None:
    run = Run(seq(ast.Catch(sql("a"), sql("h"), name="r"), sql("b")))
    run.finish("a", Failed("boom", sqlstate="22012"))
    (activation,) = run.machine.ready.values()
    error = activation.names["error"].value
    assert '"message":"boom"' in error and '"sqlstate":"22012"' in error and '"node":"00000002"' in error
    run.finish("h", "5")
    (activation,) = run.machine.ready.values()
    assert '"x":5' in activation.names["r"].value and "error" not in activation.names


def test_catch_lets_pass_what_it_does_not_name() -> None:
    run = Run(ast.Catch(sql("a"), sql("h"), errors=("23505",))).finish("a", Failed("x", sqlstate="40001"))
    assert run.result == Failed("x", sqlstate="40001")


def test_a_failing_handler_fails_the_catch() -> None:
    assert Run(ast.Catch(sql("a"), sql("h"))).finish("a", BOOM).finish("h", Failed("h")).result == Failed("h")


def test_catch_outside_a_join_sees_the_joins_own_words() -> None:
    run = Run(ast.Catch(ast.Join((sql("a"), sql("b"))), sql("h"))).finish("a", BOOM).finish("b")
    (activation,) = run.machine.ready.values()
    assert "JOIN branch 1 failed: boom" in activation.names["error"].value


def test_finally_runs_after_success_and_keeps_the_value() -> None:
    run = Run(ast.Finally(sql("a"), sql("z"))).finish("a", "4").finish("z", "9")
    assert run.result == Done('{"rows":[{"x":4}],"row_count":1}')


def test_finally_runs_after_a_failure_which_goes_on() -> None:
    assert Run(ast.Finally(sql("a"), sql("z"))).finish("a", BOOM).finish("z").result == BOOM


def test_a_failing_cleanup_fails_but_never_hides_the_failure_before_it() -> None:
    assert Run(ast.Finally(sql("a"), sql("z"))).finish("a").finish("z", Failed("z")).result == Failed("z")
    both = Run(ast.Finally(sql("a"), sql("z"))).finish("a", BOOM).finish("z", Failed("z")).result
    assert both == Failed("boom", detail="The cleanup failed, too: z")


def test_a_cleanup_sees_an_error_of_nulls_where_nothing_failed() -> None:
    run = Run(ast.Finally(sql("a"), sql("z"))).finish("a")
    (activation,) = run.machine.ready.values()
    assert '"message":null' in activation.names["error"].value
    assert "error" not in Run(seq(ast.Finally(sql("a"), sql("z")), sql("b"))).finish("a").finish("z").ready


def test_a_break_passes_through_finally() -> None:
    loop = ast.Loop(ast.Finally(seq(sql("a"), ast.Break("1")), sql("z")))
    run = Run(seq(loop, sql("after"))).finish("a")
    assert run.ready == ["z"]
    assert run.finish("z").ready == ["after"]


def test_a_timeout_around_finally_still_cleans_up() -> None:
    run = Run(ast.Catch(ast.Timeout(ast.Finally(sql("a"), sql("z")), 5), sql("h"))).fire("TIMEOUT")
    assert run.ready == ["z"]
    assert run.finish("z").ready == ["h"]


def test_a_run_that_owed_only_a_cleanup_is_not_called_compensated() -> None:
    run = Run(ast.Timeout(ast.Finally(sql("a"), sql("z")), 5)).fire("TIMEOUT").finish("z")
    assert run.status == "failed"


def test_a_lost_race_still_cleans_up() -> None:
    run = Run(ast.Race(ast.Finally(sql("a"), sql("z")), sql("b"))).finish("b", "2")
    assert run.ready == ["z"]
    assert run.finish("z").result == Done('{"rows":[{"x":2}],"row_count":1}')


# -- undo ----------------------------------------------------------------------------------------------------


def test_undo_runs_in_reverse_order_when_the_run_fails() -> None:
    run = Run(seq(ast.Undo(sql("a"), sql("ua")), ast.Undo(sql("b"), sql("ub")), sql("c")))
    run.finish("a").finish("b").finish("c", BOOM)
    assert run.ready == ["ub"]
    assert run.finish("ub").ready == ["ua"]
    run.finish("ua")
    assert (run.result, run.status) == (BOOM, "compensated")


def test_undo_is_not_run_when_all_goes_well_or_nothing_had_completed() -> None:
    assert Run(seq(ast.Undo(sql("a"), sql("ua")), sql("b"))).finish("a").finish("b").status == "completed"
    assert Run(ast.Undo(sql("a"), sql("ua"))).finish("a", BOOM).status == "failed"


def test_undo_of_parallel_branches_follows_the_order_of_completion() -> None:
    both = ast.Join((ast.Undo(sql("a"), sql("ua")), ast.Undo(sql("b"), sql("ub"))))
    run = Run(seq(both, sql("c"))).finish("b").finish("a").finish("c", BOOM)
    assert run.ready == ["ua"]
    assert run.finish("ua").ready == ["ub"]


def test_undo_sees_the_names_its_body_bound() -> None:
    run = Run(seq(ast.Undo(sql("a", "id"), sql("drop $id")), sql("c"))).finish("a", "7").finish("c", BOOM)
    (activation,) = run.machine.ready.values()
    assert '"x":7' in activation.names["id"].value and "boom" in activation.names["error"].value


def test_undo_of_earlier_generations_keeps_their_own_names() -> None:
    body = ast.Undo(sql("a", "id"), sql("drop $id"))
    run = Run(seq(ast.Loop(body, sql("c")), sql("d")))
    run.finish("a", "1").finish("c", "true").finish("a", "2").finish("c", "false").finish("d", BOOM)
    seen = []
    while run.machine.finished is None:
        (activation,) = run.machine.ready.values()
        seen.append(activation.names["id"].value)
        run.finish("drop $id")
    assert ['"x":2' in seen[0], '"x":1' in seen[1]] == [True, True]
    assert run.status == "compensated"


def test_a_caught_failure_undoes_what_completed_inside_before_the_handler_runs() -> None:
    inside = seq(ast.Undo(sql("a"), sql("ua")), sql("b"))
    run = Run(seq(ast.Undo(sql("first"), sql("ufirst")), ast.Catch(inside, sql("h"))))
    run.finish("first").finish("a").finish("b", BOOM)
    assert run.ready == ["ua"]
    assert run.finish("ua").ready == ["h"]
    assert run.finish("h").status == "completed"


def test_another_attempt_begins_when_the_last_one_is_undone() -> None:
    run = Run(ast.Retry(seq(ast.Undo(sql("a"), sql("ua")), sql("b")), 2)).finish("a").finish("b", BOOM)
    assert run.ready == ["ua"] and run.timers == []
    run.finish("ua").fire("RETRY").finish("a").finish("b", BOOM)
    assert run.ready == ["ua"]
    assert run.finish("ua").status == "compensated"


def test_an_undo_that_fails_leaves_the_run_stuck_and_the_rest_undone() -> None:
    run = Run(seq(ast.Undo(sql("a"), sql("ua")), ast.Undo(sql("b"), sql("ub")), sql("c")))
    run.finish("a").finish("b").finish("c", BOOM).finish("ub", Failed("no"))
    assert run.status == "stuck"
    assert run.result == Failed("Undo failed: no", detail="It ran because of: boom")
    states = {run.program.nodes[node + 1].query: undo.state for (node, _), undo in run.table.undos.items()}
    assert states == {"a": UndoState.READY, "b": UndoState.FAILED}


def test_a_stuck_undo_is_tried_again_where_it_stopped() -> None:
    run = Run(seq(ast.Undo(sql("a"), sql("ua")), ast.Undo(sql("b"), sql("ub")), sql("c")))
    run.finish("a").finish("b").finish("c", BOOM).finish("ub", Failed("no"))
    key = next(key for key, undo in run.table.undos.items() if undo.state is UndoState.FAILED)
    run.table.undos[key] = replace(run.table.undos[key], state=UndoState.READY, error=None)
    node = next(n for n, info in enumerate(run.program.nodes) if info.query == "ub")
    del run.table.rows[node]
    run.machine = run.table.replayed()
    assert run.ready == ["ub"]
    assert run.finish("ub").finish("ua").status == "compensated"


def test_undo_may_have_a_retry_of_its_own() -> None:
    run = Run(seq(ast.Undo(sql("a"), ast.Retry(sql("ua"), 3)), sql("b"))).finish("a").finish("b", BOOM)
    run.finish("ua", Failed("later")).fire("RETRY").finish("ua")
    assert run.status == "compensated"


def test_what_lost_a_race_is_undone_before_the_winner_goes_on() -> None:
    loser = seq(ast.Undo(sql("a"), sql("ua")), sql("slow"))
    run = Run(seq(ast.Race(loser, sql("b")), sql("after"))).finish("a").finish("b")
    assert run.ready == ["ua"]
    assert run.finish("ua").ready == ["after"]


# -- loops that go on, runs that go on -----------------------------------------------------------------------


def test_a_loop_that_goes_on_counts_its_failures_and_pauses_after_each() -> None:
    run = Run(ast.Loop(sql("a"), sql("c"), continue_on_failure=True))
    run.finish("a", BOOM).finish("c", "true")
    assert run.ready == [] and run.timers == ["LOOP"]
    run.fire("LOOP").finish("a").finish("c", "true").finish("a", BOOM)
    assert run.last.attempts[0].number == 3
    run.finish("c", "false")
    assert run.result == Done("null")
    assert run.table.rows[0].attempts == 2


def test_a_forgiving_run_goes_on_with_an_empty_result() -> None:
    run = Run(seq(sql("a", "r"), sql("b")), forgiving=True).finish("a", BOOM)
    (activation,) = run.machine.ready.values()
    assert activation.names["r"].value == '{"rows":[],"row_count":0,"error":{"message":"boom"}}'
    assert run.table.rows[1].state is State.FAILED
    assert run.finish("b", "2").result == Done('{"rows":[{"x":2}],"row_count":1}')


def test_a_forgiving_run_still_lets_a_catch_decide() -> None:
    assert Run(ast.Catch(sql("a"), sql("h")), forgiving=True).finish("a", BOOM).ready == ["h"]


def test_a_forgiving_run_passes_over_a_retry_that_gave_up() -> None:
    run = Run(seq(ast.Retry(sql("a"), 1), sql("b")), forgiving=True).finish("a", BOOM)
    assert run.ready == ["b"]


def test_the_runs_own_deadline_ends_everything_and_undoes() -> None:
    deadline = datetime(2030, 1, 1, tzinfo=UTC)
    run = Run(seq(ast.Undo(sql("a"), sql("ua")), ast.Sleep(9)), deadline=deadline).finish("a").fire("WHOLE")
    assert run.ready == ["ua"] and run.timers == []
    run.finish("ua")
    assert run.status == "compensated"
    assert isinstance(run.result, Failed) and run.result.reason == "timeout"


# -- what is cut off on the way out (P2: nothing is lost, P1: nothing is doubled) ----------------------------


def test_a_cleanup_that_is_cut_off_itself_begins_anew() -> None:
    run = Run(ast.Timeout(ast.Finally(sql("a"), seq(sql("c1"), sql("c2"))), 1))
    run.finish("a").finish("c1").fire("TIMEOUT")
    assert run.ready == ["c1"]
    run.finish("c1").finish("c2")
    assert isinstance(run.result, Failed) and run.result.reason == "timeout"


@pytest.mark.parametrize("undo", [ast.Retry(sql("u"), 5), ast.Loop(sql("u"), sql("more"))])
def test_an_undo_that_is_cut_off_counts_from_one_on_every_worker(undo: ast.Node) -> None:
    run = Run(ast.Timeout(ast.Catch(seq(ast.Undo(sql("a"), undo), sql("b")), sql("h")), 1))
    run.finish("a").finish("b", BOOM)
    if isinstance(undo, ast.Retry):
        run.finish("u", BOOM).fire("RETRY")
    else:
        run.finish("u").finish("more", "true")
    run.fire("TIMEOUT").finish("u")
    if isinstance(undo, ast.Loop):
        run.finish("more", "false")
    assert run.status == "compensated"


def test_a_forgiving_run_cleans_up_and_undoes_before_it_passes_over_a_guard() -> None:
    timed = ast.Timeout(ast.Finally(sql("a"), sql("c")), 1)
    run = Run(seq(timed, sql("z")), forgiving=True).fire("TIMEOUT")
    assert run.ready == ["c"]
    assert run.finish("c").ready == ["z"]
    tried = ast.Retry(seq(ast.Undo(sql("a"), sql("u")), sql("b")), 1)
    run = Run(seq(tried, sql("z")), forgiving=True).finish("a").finish("b", BOOM)
    assert run.ready == ["u"]
    assert run.finish("u").ready == ["z"]


def test_guards_around_a_step_do_not_decide_about_its_undo() -> None:
    run = Run(ast.Catch(ast.Retry(ast.Undo(sql("a"), sql("u")), errors=("http:404",)), sql("h")))
    body, undo = run.program.nodes[2].left, run.program.nodes[2].right
    assert body is not None and undo is not None
    assert run.machine.is_retried(body) and not run.machine.is_retried(undo)
    assert run.machine.names_status(body, 404) and not run.machine.names_status(undo, 404)


def test_a_cleanup_in_an_undo_of_many_generations_runs_once_for_each() -> None:
    looping = ast.Loop(ast.Undo(sql("a"), ast.Finally(sql("u"), sql("c"))), sql("more"))
    run = Run(seq(looping, sql("b")))
    run.finish("a").finish("more", "true").finish("a").finish("more", "false").finish("b", BOOM)
    run.finish("u").finish("c").finish("u")
    assert run.ready == ["c"]
    assert run.finish("c").status == "compensated"


def test_what_was_undone_is_not_the_same_request_when_it_is_done_anew() -> None:
    def lasting(run: Run) -> str:
        machine = run.table.replayed(run.facts)
        (key,) = (key for key, leaf in machine.ready.items() if leaf.timer is None)
        assert machine.lasting_gen(key) == run.machine.lasting_gen(key)
        return machine.lasting_gen(key)

    run = Run(ast.Retry(seq(ast.Undo(sql("book"), sql("cancel")), sql("b")), 9))
    assert lasting(run) == ""
    run.finish("book", BOOM).fire("RETRY")
    assert lasting(run) == "", "nobody knows whether the first request arrived"
    run.finish("book").finish("b", BOOM)
    cancelling = lasting(run)
    run.finish("cancel").fire("RETRY")
    assert lasting(run) != ""
    run.finish("book").finish("b", BOOM)
    assert lasting(run) != cancelling
