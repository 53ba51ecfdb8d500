"""The pure machine: any program, completions in any order, a crash after every record (P2, P4)."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.driving import Run, Table, program_of, sql, visible

from durasql.bytecode.program import Program
from durasql.errors import ProgramError
from durasql.syntax import ast
from durasql_runtime.journal import State
from durasql_runtime.machine import BREAK_OUTSIDE, Activation, Machine
from durasql_runtime.outcome import Done, Failed, Outcome

NAMES = st.sampled_from([None, None, "a", "b", "c"])


def steps() -> st.SearchStrategy[ast.Node]:
    return st.builds(lambda n, name: ast.Sql(f"q{n}", name=name), st.integers(0, 99), NAMES)


def conditions() -> st.SearchStrategy[ast.Node]:
    return st.builds(lambda n: ast.Sql(f"c{n}"), st.integers(0, 99))


def graphs(depth: int = 4, *, inside_loop: bool = False) -> st.SearchStrategy[ast.Node]:
    leaves = steps()
    if inside_loop:
        leaves |= st.builds(ast.Break, st.sampled_from([None, "done", "7", '{"a":1}']))
    if depth == 0:
        return leaves
    below = graphs(depth - 1, inside_loop=inside_loop)
    body = graphs(depth - 1, inside_loop=True)
    return st.one_of(
        leaves,
        st.builds(ast.Then, below, below, name=NAMES),
        st.builds(ast.If, conditions(), below, below, name=NAMES),
        st.builds(lambda branches, name: ast.Join(tuple(branches), name=name),
                  st.lists(below, min_size=2, max_size=3), NAMES),
        st.builds(ast.Race, below, below, name=NAMES),
        st.builds(ast.Loop, body, conditions(), name=NAMES),
        st.builds(lambda body, until: ast.Loop(body, until, continue_on_failure=True), body, conditions()),
        st.builds(lambda body, most: ast.Retry(body, most, errors=("any",)), below, st.integers(1, 3)),
        st.builds(ast.Timeout, below, st.just(30), name=NAMES),
        st.builds(ast.Catch, below, below, name=NAMES),
        st.builds(ast.Finally, below, below),
        st.builds(ast.Undo, below, steps(), name=NAMES),
    )  # fmt: skip


def outcome_for(activation: Activation, program: Program, dice: random.Random, number: int) -> Outcome:
    if dice.random() < 0.15:
        return Failed("boom")
    condition = (program.nodes[activation.key[0]].query or "").startswith("c")
    value = dice.choice(["true", "false", "false"]) if condition else str(number)
    return Done(f'{{"rows":[{{"x":{value}}}],"row_count":1}}')


@settings(max_examples=150, deadline=None)
@given(graphs(), st.integers(0, 2**32))
def test_p4_replay_after_any_record_gives_the_same_state(graph: ast.Node, seed: int) -> None:
    program, dice = program_of(graph), random.Random(seed)
    table = Table(program)
    machine = Machine(program)
    table.write(machine.start())
    for number in range(150):
        if machine.finished is not None:
            break
        assert machine.ready, "nothing is ready and nothing is over"
        key = dice.choice(sorted(machine.ready))
        leaf = machine.ready[key]
        transition = machine.complete(
            key, leaf.timer.outcome if leaf.timer else outcome_for(leaf, program, dice, number)
        )
        assert transition is not None
        table.write(transition)
        reborn = table.replayed()
        assert visible(reborn) == visible(machine)


@settings(max_examples=60, deadline=None)
@given(graphs(3), st.integers(0, 2**32))
def test_p9_storage_never_exceeds_one_row_per_node(graph: ast.Node, seed: int) -> None:
    program, dice = program_of(graph), random.Random(seed)
    table = Table(program)
    machine = Machine(program)
    table.write(machine.start())
    for number in range(100):
        if machine.finished is not None:
            break
        key = sorted(machine.ready)[0]
        leaf = machine.ready[key]
        transition = machine.complete(
            key, leaf.timer.outcome if leaf.timer else outcome_for(leaf, program, dice, number)
        )
        assert transition is not None
        table.write(transition)
    assert len(table.rows) <= len(program.nodes)


ROW_1 = '{"rows":[{"x":1}],"row_count":1}'


def test_join_waits_for_all_and_keeps_branch_order() -> None:
    run = Run(ast.Join((sql("a"), sql("b"), sql("c"))))
    assert run.ready == ["a", "b", "c"]
    run.finish("c").finish("a").finish("b", "2")
    assert run.result == Done(f"[{ROW_1},{ROW_1.replace('1}]', '2}]')},{ROW_1}]")


def test_join_failure_lets_the_siblings_finish_first() -> None:
    run = Run(ast.Join((sql("a"), sql("b"))))
    run.finish("b", Failed("boom"))
    assert run.machine.finished is None
    run.finish("a")
    assert run.result == Failed("JOIN branch 2 failed: boom")


def test_race_first_to_finish_decides_and_the_other_is_cancelled() -> None:
    run = Run(ast.Race(ast.Then(sql("a"), sql("b")), sql("c")))
    run.finish("c")
    assert run.result == Done(ROW_1)
    assert [run.program.nodes[node].query for node, _ in run.last.cancelled] == ["a"]


def test_a_failing_branch_can_win_a_race() -> None:
    run = Run(ast.Race(sql("a"), sql("b"))).finish("b", Failed("boom"))
    assert run.result == Failed("RACE right branch failed: boom")


def test_break_unwinds_through_join_to_the_nearest_loop() -> None:
    inner = ast.Join((ast.Then(sql("a"), ast.Break("done")), sql("b")))
    run = Run(ast.Then(ast.Loop(inner, name="r"), sql("after")))
    run.finish("a")
    assert run.ready == ["b"]
    run.finish("b")
    assert run.ready == ["after"]
    (activation,) = run.machine.ready.values()
    assert activation.names["r"] == Done('"done"')


def test_break_outside_a_loop_fails_the_instance() -> None:
    assert Run(ast.Then(sql("a"), ast.Break("x"))).finish("a").result == Failed(BREAK_OUTSIDE)


def test_e5_only_names_bound_in_a_branch_are_merged() -> None:
    branches = ast.Join((sql("rebind", "x"), sql("other", "y")))
    run = Run(ast.Then(ast.Then(sql("first", "x"), branches), sql("last")))
    run.finish("first", "1").finish("other", "3").finish("rebind", "2")
    (activation,) = run.machine.ready.values()
    assert '"x":2' in activation.names["x"].value


def test_e6_every_loop_keeps_names_over_its_generations() -> None:
    run = Run(ast.Loop(ast.Then(sql("first", "n"), sql("second")), sql("c")))
    run.finish("first", "5").finish("second").finish("c", "true")
    assert run.ready == ["first"]
    (activation,) = run.machine.ready.values()
    assert '"x":5' in activation.names["n"].value
    assert activation.key[1] == "2"


def test_a_loop_that_is_not_the_root_says_so_when_it_fails() -> None:
    run = Run(ast.Then(sql("a"), ast.Loop(sql("b")))).finish("a").finish("b", Failed("boom"))
    assert run.result == Failed("Loop sub-orchestration failed: boom")
    assert Run(ast.Loop(sql("b"))).finish("b", Failed("boom")).result == Failed("boom")
    branch = Run(ast.Race(ast.Loop(sql("b")), sql("c"))).finish("b", Failed("boom"))
    assert branch.result == Failed("RACE left branch failed: boom")


def test_e7_the_iteration_limit_is_a_setting() -> None:
    run = Run(ast.Loop(sql("a")), max_iterations=2).finish("a").finish("a")
    assert isinstance(run.result, Failed)
    assert run.result.message.startswith("Loop exceeded maximum iteration count of 2.")


def test_loop_value_is_the_last_body_value_not_the_condition() -> None:
    run = Run(ast.Loop(sql("a"), sql("c"))).finish("a", "7").finish("c", "false")
    assert run.result == Done('{"rows":[{"x":7}],"row_count":1}')


def test_losing_loop_in_its_first_generation_is_marked() -> None:
    run = Run(ast.Race(ast.Loop(sql("a")), sql("b"))).finish("b")
    marked = [row for row in run.last.rows if row.state is State.FAILED]
    assert [row.value for row in marked] == ['{"message":"Loop branch cancelled after losing RACE"}']


def test_a_late_outcome_of_a_loser_changes_nothing() -> None:
    run = Run(ast.Race(sql("a"), sql("b")))
    (loser,) = [key for key in run.machine.ready if run.program.nodes[key[0]].query == "a"]
    run.finish("b")
    assert run.machine.complete(loser, Done("1")) is None


@pytest.mark.parametrize("value", ["true", "false"])
def test_if_runs_one_arm(value: str) -> None:
    run = Run(ast.If(sql("c"), sql("yes"), sql("no"), name="r")).finish("c", value)
    assert run.ready == [{"true": "yes", "false": "no"}[value]]


def test_p9_bytecode_that_never_performs_a_step_is_stopped() -> None:
    program = program_of(ast.Loop(sql("a")))
    hollow = replace(program, code=(program.code[0], replace(program.code[2], pc=0), program.code[3]))
    with pytest.raises(ProgramError, match="in circles"):
        Machine(hollow).start()


def test_p9_bytecode_that_forks_without_end_is_stopped() -> None:
    program = program_of(ast.Join((sql("a"), sql("b"))))
    fork = program.code[0]
    code = [replace(fork, pcs=(pc + 1, pc + 1), pc=30) for pc in range(30)]
    with pytest.raises(ProgramError, match="in circles"):
        Machine(replace(program, code=(*code, program.code[-1]))).start()


def test_if_rows_names_what_is_missing() -> None:
    run = Run(ast.Then(sql("a"), ast.IfRows("r", sql("yes"), sql("no")))).finish("a")
    assert run.result == Failed(
        "df.if_rows: result 'r' not found", hint="Bind it before this step with |=> 'r'."
    )
