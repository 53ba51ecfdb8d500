"""What became of each node: stored status, stamp and inference (P10), outcome by outcome."""

from __future__ import annotations

from typing import Any

NO_ROW = '{"rows":[],"row_count":0}'


def test_nothing_has_run_before_a_worker_comes(stories: Any) -> None:
    story = stories.start("'SELECT 1' ~> 'SELECT 2'")
    assert story.told() == ["pending", "pending", "pending"]
    assert story.stamps() == [None, None, None]


def test_a_sequence_runs_from_left_to_right(stories: Any) -> None:
    story = stories.start("'SELECT 1' ~> 'SELECT 2'").claimed()
    assert story.told() == ["running", "running", "pending"]
    story.row(1)
    assert story.told() == ["running", "completed", "running"]
    story.row(2).row(0, refs=[2]).ended()
    assert story.told() == ["completed"] * 3
    assert story.stamps() == ["::1"] * 3


def test_a_failed_left_side_rules_out_the_right(stories: Any) -> None:
    story = stories.start("'SELECT 1/0' ~> 'SELECT 2'").claimed()
    story.failed(1).failed(0, refs=[1]).ended("failed", "boom")
    assert story.told() == ["failed", "failed", "pending>skipped@0"]


def test_e12_the_error_text_is_in_error_and_result(stories: Any) -> None:
    story = stories.start("'SELECT 1/0' ~> 'SELECT 2'").claimed()
    story.failed(1, "division by zero").failed(0, refs=[1]).ended("failed")
    rows = stories.all("SELECT result, error FROM df.nodes WHERE instance_id = %s ORDER BY id", story.id)
    assert rows == [("division by zero",) * 2, ("division by zero",) * 2, (None, None)]


def test_a_wait_shows_as_running(stories: Any) -> None:
    story = stories.start("df.wait_for_signal('go')").claimed().row(0, "waiting", "go")
    assert story.told() == ["running"]


class TestChoices:
    CHOICE = (
        "df.if('SELECT true', 'SELECT 1', df.seq('SELECT 2', 'SELECT 3'))"  # 1 then, 2-4 else, 5 condition
    )

    def test_the_condition_runs_first(self, stories: Any) -> None:
        story = stories.start(self.CHOICE).claimed()
        assert story.told() == ["running", "pending", "pending", "pending", "pending", "running"]

    def test_a_true_condition_starts_the_then_branch(self, stories: Any) -> None:
        story = stories.start(self.CHOICE).claimed().row(5)
        assert story.told() == ["running", "running", "pending", "pending", "pending", "completed"]

    def test_a_false_condition_starts_the_else_branch(self, stories: Any) -> None:
        story = stories.start(self.CHOICE).claimed().row(5, value=NO_ROW)
        assert story.told() == ["running", "pending", "running", "running", "pending", "completed"]

    def test_exactly_the_untaken_arm_is_skipped(self, stories: Any) -> None:
        story = stories.start(self.CHOICE).claimed().row(5).row(1).row(0, refs=[1]).ended()
        skipped = ["pending>skipped@0"] * 3
        assert story.told() == ["completed", "completed", *skipped, "completed"]

    def test_a_failed_condition_skips_both_arms(self, stories: Any) -> None:
        story = stories.start(self.CHOICE).claimed().failed(5).failed(0, refs=[5]).ended("failed")
        assert story.told() == ["failed", *["pending>skipped@0"] * 4, "failed"]

    def test_if_rows_asks_the_named_result(self, stories: Any) -> None:
        story = stories.start("('SELECT 1' |=> 'd') ~> df.if_rows('d', 'SELECT 2', 'SELECT 3')").claimed()
        assert story.row(1).told() == ["running", "completed", "running", "running", "pending"]
        assert story.row(1, value=NO_ROW).told() == ["running", "completed", "running", "pending", "running"]

    def test_if_rows_does_not_see_another_branch(self, stories: Any) -> None:
        branch = "df.if_rows('d', 'SELECT 2', 'SELECT 3')"
        story = stories.start(f"('SELECT 1' |=> 'd') ~> (('SELECT 4' |=> 'd') & {branch})").claimed()
        story.row(1).row(3, value=NO_ROW)  # the sibling's d is empty, the one before the JOIN is not
        assert story.told()[4:] == ["running", "running", "pending"]


class TestBranches:
    def test_join_runs_all_branches_each_in_its_scope(self, stories: Any) -> None:
        story = stories.start("df.join3('SELECT 1', 'SELECT 2', 'SELECT 3')").claimed().row(2)
        assert story.told() == ["running", "running", "completed", "running"]
        assert story.stamps() == ["::1", "::1::00000001::1", "::1::00000002::1", "::1::00000003::1"]

    def test_join_collects_nested_results(self, stories: Any) -> None:
        story = stories.start("('SELECT 1' & 'SELECT 2') & 'SELECT 3'").claimed()
        story.row(2, value="1").row(3, value="2").row(4, value="3").row(1, refs=[2, 3]).row(
            0, refs=[1, 4]
        ).ended()
        assert [node["result"] for node in story.nodes()] == ["[[1, 2], 3]", "[1, 2]", "1", "2", "3"]

    def test_a_failed_join_lets_its_siblings_finish(self, stories: Any) -> None:
        story = stories.start("'SELECT 1/0' & 'SELECT 2'").claimed().failed(1)
        assert story.told() == ["running", "failed", "running"]
        story.row(2).failed(0, "JOIN branch 1 failed: boom").ended("failed")
        assert story.told() == ["failed", "failed", "completed"]

    def test_a_race_loser_is_skipped_with_all_below_it(self, stories: Any) -> None:
        story = stories.start("'SELECT 1' | (df.sleep(60) ~> 'SELECT 2')").claimed().row(3, "waiting")
        story.row(1).row(0, refs=[1]).ended()
        assert story.told() == [
            "completed",
            "completed",
            "running>skipped@0",
            "running>skipped@0",
            "pending>skipped@0",
        ]

    def test_a_race_loser_that_had_finished_keeps_its_status(self, stories: Any) -> None:
        story = stories.start("'SELECT 1' | (df.sleep(0) ~> 'SELECT 2')").claimed().row(3).row(1)
        story.row(0, refs=[1]).ended()
        assert story.told()[2:] == ["running>skipped@0", "completed", "running>skipped@0"]

    def test_a_loop_that_lost_in_its_first_round_is_failed(self, stories: Any) -> None:
        story = stories.start("'SELECT 1' | df.loop('SELECT 2')").claimed().row(1)
        story.failed(2, "Loop branch cancelled after losing RACE", gen="1").row(0, refs=[1]).ended()
        assert story.told() == ["completed", "completed", "failed", "running>skipped@2"]
        assert story.stamps()[2] == "::1::00000002::1"

    def test_a_loop_that_lost_later_is_skipped(self, stories: Any) -> None:
        story = stories.start("df.loop('SELECT 2') | 'SELECT 1'").claimed().row(1, "looping", gen="2")
        story.row(3).row(0, refs=[3]).ended()
        assert story.told() == ["completed", "running>skipped@0", "running>skipped@0", "completed"]

    def test_a_race_of_a_loop_has_three_scopes(self, stories: Any) -> None:
        story = stories.start("df.loop('SELECT 2') | 'SELECT 1'").claimed().row(1, "looping", gen="2")
        assert story.stamps() == ["::1", "::1::00000001::2", "::1::00000001::2", "::1::00000003::1"]


class TestLoops:
    LOOP = "@> ('SELECT 1' ~> df.sleep(60))"  # 0 loop, 1 sequence, 2 SQL, 3 sleep

    def test_the_first_round(self, stories: Any) -> None:
        story = stories.start(self.LOOP).claimed().row(2, gen="1").row(3, "waiting", gen="1")
        assert story.told() == ["running", "running", "completed", "running"]
        assert story.stamps() == ["::1"] * 4

    def test_the_round_before_reads_pending(self, stories: Any) -> None:
        story = stories.start(self.LOOP).claimed()
        story.row(2, gen="2").row(3, gen="2").row(1, gen="2", refs=[3]).row(0, "looping", gen="3")
        assert story.told() == ["running", "running", "running", "completed>pending@1"]
        assert story.stamps() == ["::3", "::3", "::3", "::2"]

    def test_a_new_round_clears_results(self, stories: Any) -> None:
        story = stories.start(self.LOOP).claimed()
        story.row(2, gen="2").row(3, gen="2").row(1, gen="2", refs=[3]).row(0, "looping", gen="3")
        assert [node["result"] is None for node in story.nodes()] == [True, True, True, False]

    def test_the_condition_runs_after_the_body(self, stories: Any) -> None:
        story = stories.start("df.loop('SELECT 1', 'SELECT 2')").claimed()
        assert story.told() == ["running", "running", "pending"]
        assert story.row(1, gen="1").told() == ["running", "completed", "running"]

    def test_after_the_end_nothing_is_open(self, stories: Any) -> None:
        # 0 loop, 1 if, 2 then (break), 3 else (a step), 4 condition: two rounds of else, then the break
        story = stories.start("@> df.if('SELECT done()', df.break('x'), 'SELECT 1')").claimed()
        story.row(3, gen="2").row(4, gen="3").row(2, "broken", '"x"', gen="3").row(
            1, "broken", gen="3", refs=[2]
        )
        story.row(0, value='"x"', gen="3").ended()
        assert story.told() == ["completed", "completed", "completed", "completed>skipped@1", "completed"]
        assert [node["result"] for node in story.nodes()[:3]] == ['"x"'] * 3

    def test_a_failing_round_fails_the_loop(self, stories: Any) -> None:
        story = stories.start(self.LOOP).claimed()
        story.row(3, gen="1").failed(2, gen="2").failed(1, gen="2", refs=[2]).failed(
            0, gen="2", refs=[1]
        ).ended("failed")
        assert story.told() == ["failed", "failed", "failed", "completed>skipped@1"]

    def test_a_loop_inside_a_sequence_is_a_scope_of_its_own(self, stories: Any) -> None:
        story = stories.start("'SELECT 1' ~> df.loop('SELECT 2') ~> 'SELECT 3'").claimed()
        story.row(2).row(3, "looping", gen="4")  # 0 THEN (1 THEN (2, 3 LOOP (4)), 5)
        assert story.told() == ["running", "running", "completed", "running", "running", "pending"]
        assert story.stamps() == ["::1", "::1", "::1", "::1::00000003::4", "::1::00000003::4", None]

    def test_an_inner_loop_starts_anew_in_each_round(self, stories: Any) -> None:
        # 0 LOOP (1 THEN (2 SQL, 3 LOOP (4 THEN (5 SQL, 6 sleep))))
        story = stories.start(
            "@> ('SELECT 1' ~> df.loop('SELECT 2' ~> df.sleep(1), 'SELECT false'))"
        ).claimed()
        story.row(2, gen="2").row(3, gen="1.5", refs=[4]).row(4, gen="1.5", refs=[6]).row(5, gen="2.1").row(
            6, gen="1.5"
        )
        story.row(1, gen="1", refs=[3]).row(0, "looping", gen="2")
        assert story.told()[:7] == [
            "running",
            "running",
            "completed",
            "running",
            "running",
            "completed",
            "running",
        ]
        assert story.stamps()[2:7] == ["::2", *["::2::00000003::1"] * 4]

    def test_who_will_run_it_again_is_the_ancestor_furthest_ahead(self, stories: Any) -> None:
        story = stories.start(
            "@> ('SELECT 1' ~> df.loop('SELECT 2' ~> df.sleep(1), 'SELECT false'))"
        ).claimed()
        story.row(3, gen="1.5", refs=[4]).row(4, gen="1.5", refs=[6]).row(6, gen="1.5").row(
            0, "looping", gen="2"
        )
        assert story.told()[3:7] == [
            "completed>pending@1",
            "completed>pending@3",
            "pending",
            "completed>pending@4",
        ]

    def test_branches_in_a_loop_are_fresh_each_round(self, stories: Any) -> None:
        story = stories.start("@> ('SELECT 1' & 'SELECT 2')").claimed()
        story.row(2, gen="1").row(3, gen="1").row(1, gen="1", refs=[2, 3]).row(0, "looping", gen="2").row(
            2, gen="2"
        )
        assert story.told() == ["running", "running", "completed", "running"]
        assert story.stamps() == ["::2", "::2", "::2::00000002::1", "::2::00000003::1"]


class TestTheInstanceItself:
    """The instance's own status does not decide about its nodes."""

    def test_a_break_outside_a_loop(self, stories: Any) -> None:
        story = stories.start("df.break('x')").claimed().row(0, "broken", '"x"').ended("failed")
        assert story.told() == ["completed"]

    def test_cancelled_while_running(self, stories: Any) -> None:
        story = stories.start("'SELECT 1' ~> 'SELECT 2'").claimed()
        stories.one("SELECT df.cancel(%s)", story.id)
        assert story.told() == ["running", "running", "pending"]

    def test_cancelled_before_it_ran(self, stories: Any) -> None:
        story = stories.start("'SELECT 1' ~> 'SELECT 2'")
        stories.one("SELECT df.cancel(%s)", story.id)
        assert story.told() == ["pending"] * 3

    def test_refused_before_it_ran(self, stories: Any) -> None:
        story = stories.start("'SELECT 1'").claimed().ended("failed", "role is gone")
        assert story.told() == ["pending"]
