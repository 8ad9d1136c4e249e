"""The laws of aggregation: veto, mirror images, monotony, penalties, and no difference."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from annotators.rubrics.aggregate import (
    WEIGHTS,
    Outcome,
    aggregate_scores,
    check_pair,
    penalise,
    penalise_pair,
)
from annotators.rubrics.rubric import KINDS, Criterion

Scored = list[tuple[Criterion, float]]
numbers = st.one_of(st.sampled_from([-2.0, -1.0, 0.0, 1.0, 2.0]), st.floats(-2, 2))
kinds = st.sampled_from(KINDS)
soft_kinds = st.sampled_from([kind for kind in KINDS if kind != "hard"])
factors = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1, exclude_min=True))


def make(entries: list[tuple[str, float]]) -> Scored:
    return [
        (Criterion(f"c{place}", "d", kind), score)  # type: ignore[arg-type]
        for place, (kind, score) in enumerate(entries)
    ]


scored = st.lists(st.tuples(kinds, numbers), max_size=12).map(make)
soft_only = st.lists(st.tuples(soft_kinds, numbers), max_size=12).map(make)


def mirror(entries: Scored) -> Scored:
    return [(criterion, -score) for criterion, score in entries]


@given(scored)
def test_a_hard_criterion_that_is_not_zero_leaves_the_others_no_say(entries: Scored) -> None:
    hard = [(c, s) for c, s in entries if c.kind == "hard"]
    outcome = aggregate_scores(entries)
    assert outcome.veto_by == tuple(c.title for c, s in hard if s)
    if outcome.veto_by:
        assert outcome.score == math.fsum(s for _, s in hard)
        assert outcome.p_a == aggregate_scores(hard).p_a
    else:
        assert outcome.score == outcome.mean_all


@given(soft_only, st.sampled_from([-2.0, -1.0, 1.0, 2.0]))
def test_a_hard_criterion_says_more_than_all_others_can(entries: Scored, score: float) -> None:
    without = aggregate_scores(entries).p_a
    vetoed = aggregate_scores([*entries, (Criterion("fatal", "d", "hard"), score)]).p_a
    assert vetoed > without if score > 0 else vetoed < without
    assert (vetoed > 0.5) == (score > 0)


@given(scored, factors, factors)
def test_the_mirrored_pair_has_the_mirrored_outcome(entries: Scored, a: float, b: float) -> None:
    one = aggregate_scores(entries, (a, b))
    other = aggregate_scores(mirror(entries), (b, a))
    assert math.isclose(one.p_a, 1 - other.p_a, abs_tol=1e-12)
    assert math.isclose(one.score, -other.score, abs_tol=1e-12)
    assert math.isclose(one.mean_nonzero, -other.mean_nonzero, abs_tol=1e-12)
    assert one.veto_by == other.veto_by
    assert one.tie == other.tie


@given(scored, st.data(), factors, factors)
def test_a_better_score_never_lowers_the_probability(
    entries: Scored, data: st.DataObject, a: float, b: float
) -> None:
    assume(entries)
    place = data.draw(st.integers(0, len(entries) - 1))
    criterion, score = entries[place]
    raised = [*entries]
    raised[place] = (criterion, data.draw(st.floats(score, 2)))
    assert aggregate_scores(raised, (a, b)).p_a >= aggregate_scores(entries, (a, b)).p_a - 1e-12


def test_the_mean_over_criteria_that_differ_is_not_monotone() -> None:
    """Why the probability follows the mean over all criteria, and the other one is only kept."""
    before = aggregate_scores(make([("core", 2), ("core", 0)]))
    after = aggregate_scores(make([("core", 2), ("core", 1)]))
    assert (before.mean_nonzero, after.mean_nonzero) == (2.0, 1.5)
    assert (before.mean_all, after.mean_all) == (1.0, 1.5)
    assert after.p_a > before.p_a


@given(soft_only)
def test_both_means_agree_on_the_side_and_leaving_zeros_out_only_inflates(entries: Scored) -> None:
    outcome = aggregate_scores(entries)
    assert outcome.mean_all * outcome.mean_nonzero >= 0
    assert abs(outcome.mean_nonzero) >= abs(outcome.mean_all) - 1e-12
    assert abs(outcome.mean_nonzero) <= 2 + 1e-12


def test_the_weights_are_those_of_the_paper() -> None:
    assert WEIGHTS == {"core": 5, "important": 2, "highlight": 1}
    outcome = aggregate_scores(
        make([("core", 1), ("important", -2), ("highlight", 2), ("core", 0)])
    )
    assert outcome.mean_all == pytest.approx((5 - 4 + 2 + 0) / 13)
    assert outcome.mean_nonzero == pytest.approx((5 - 4 + 2) / 8)
    assert outcome.p_a == pytest.approx(1 / (1 + math.exp(-3 / 13)))
    vetoed = aggregate_scores(make([("hard", -1), ("hard", 2), ("core", -2)]))
    assert (vetoed.score, vetoed.veto_by) == (1.0, ("c0", "c1"))
    assert vetoed.p_a == pytest.approx(1 / (1 + math.exp(-3)))


@given(st.lists(kinds, max_size=8))
def test_no_difference_is_a_tie(names: list[str]) -> None:
    outcome = aggregate_scores(make([(kind, 0.0) for kind in names]))
    assert outcome == Outcome(0.0, 0.0, 0.0, (), (1.0, 1.0), 0.5)
    assert outcome.tie


def test_hard_criteria_that_contradict_each_other_are_a_tie_that_names_them() -> None:
    outcome = aggregate_scores(make([("hard", 2), ("hard", -2), ("core", 2)]))
    assert outcome.tie and outcome.veto_by == ("c0", "c1")


@given(scored, factors, factors)
def test_a_penalty_never_helps_and_a_fatal_one_is_never_outweighed(
    entries: Scored, a: float, b: float
) -> None:
    free = aggregate_scores(entries, (1.0, b)).p_a
    assert aggregate_scores(entries, (a, b)).p_a <= free + 1e-12
    fatal = aggregate_scores(entries, (0.0, b)).p_a
    assert fatal == (0.5 if b == 0 else 0.0)


@given(st.floats(0, 1e6), st.lists(st.floats(0, 1), max_size=6), st.floats(0, 1))
def test_a_penalised_merit_stays_between_nothing_and_itself(
    merit: float, flaws: list[float], clean: float
) -> None:
    left = penalise(merit, flaws)
    assert 0 <= left <= merit
    assert penalise(merit, [*flaws, 0.0]) == 0 <= penalise(clean, [])
    assert penalise(merit, [*flaws, 1.0]) == left
    assert penalise(merit, [*flaws, clean]) <= left


@pytest.mark.parametrize(
    ("merit", "flaws"), [(-1, []), (1, [1.5]), (1, [-0.1]), (math.nan, []), (1, [math.nan])]
)
def test_a_penalty_that_could_reward_is_refused(merit: float, flaws: list[float]) -> None:
    with pytest.raises(ValueError, match=r"merit|factor"):
        penalise(merit, flaws)
    with pytest.raises(ValueError, match="factor"):
        penalise_pair(0.0, 2.0, 1.0)


@pytest.mark.parametrize("score", [2.5, -3, math.nan, math.inf])
def test_a_score_outside_the_range_is_refused(score: float) -> None:
    with pytest.raises(ValueError, match=r"c0: .* -2 to 2"):
        aggregate_scores(make([("core", score)]))


@given(st.floats(-1000, 1000), factors, factors)
def test_a_probability_stays_one_however_far_the_odds(logit: float, a: float, b: float) -> None:
    assert 0 <= penalise_pair(logit, a, b) <= 1


def test_gates_decide_the_criteria_that_have_a_check() -> None:
    criteria = [
        Criterion("Not blank", "d", "hard", "not_empty", 0.0),
        Criterion("Length", "d", "core", "length"),
        Criterion("Form", "d", "hard", "format"),
        Criterion("For a model", "d", "core"),
    ]
    request = "Reply with at most three words, as bullet points."
    checks = check_pair(criteria, request, "- a\n- b", "only one two three four")
    assert [(c.title, s) for c, s in checks.scores] == [("Length", 2.0), ("Form", 2.0)]
    assert checks.penalties == (1.0, 1.0)
    assert [sorted(failed) for failed in checks.failed] == [[], ["format", "length"]]
    both = check_pair(criteria, request, "a b c d e", "a b c d f")
    assert [score for _, score in both.scores] == [0.0, 0.0]
    unasked = check_pair(criteria, "Say hello.", "hello", " \n")
    assert unasked.scores == () and unasked.penalties == (1.0, 0.0)
