"""Plans find what was planted, and say when gold is too little to find anything."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl
import pytest

from annotators.juries import choose_jury, choose_samples, choose_temperature
from annotators.planning import LEAST_GOLD, Plan, SampleCurve, make_plans
from tests.annotators.opinions import make_gold, make_opinions


def draw(
    accuracies: dict[str, float], pairs: int, seed: int = 0, category: str = "all", start: int = 0
) -> tuple[list[dict[str, Any]], pl.DataFrame]:
    """Independent judges in one order, errors on the other response; and gold without ties."""
    generator = np.random.default_rng(seed)
    truth = generator.random(pairs) < 0.5
    rows = []
    for name, accuracy in accuracies.items():
        right = generator.random(pairs) < accuracy
        rows += [
            {"annotator": name, "pair": start + at, "p_a": float(side)}
            for at, side in enumerate(np.where(right, truth, ~truth).tolist())
        ]
    return rows, make_gold({start + at: float(t) for at, t in enumerate(truth)}, category)


def plan_all(rows: list[dict[str, Any]], gold: pl.DataFrame) -> Plan:
    return make_plans(make_opinions(rows), gold)[0]


def names(plan: Plan) -> set[str]:
    return {juror.annotator for juror in plan.jury}


def test_three_independent_judges_are_better_than_the_best() -> None:
    """Two equal judges never outvote one, so a search that adds one at a time would stop there."""
    rows, gold = draw({"x": 0.75, "y": 0.75, "z": 0.75, "coin": 0.5}, pairs=1_000)
    plan = plan_all(rows, gold)
    assert names(plan) == {"x", "y", "z"}
    assert plan.enough and plan.reason is None
    assert plan.accuracy == pytest.approx(0.84, abs=0.03)
    assert plan.accuracy_single == pytest.approx(0.75, abs=0.04)
    assert plan.low is not None and plan.high is not None and plan.low < 0.84 < plan.high
    for juror in plan.jury:
        assert juror.weight == pytest.approx(np.log(2 * 0.75 / 0.25), abs=0.3)
        assert juror.n == 1_000


def test_copies_of_a_judge_and_coins_are_left_out() -> None:
    rows, gold = draw({"x": 0.8, "coin": 0.5, "coin2": 0.5}, pairs=600)
    copies = [{**row, "annotator": f"copy{k}"} for row in rows if row["annotator"] == "x"
              for k in (1, 2)]  # fmt: skip
    assert len(names(plan_all(rows + copies, gold))) == 1


@pytest.mark.parametrize("accuracy", [0.5, 0.2])
def test_nobody_is_recommended_who_is_no_better_than_a_guess(accuracy: float) -> None:
    rows, gold = draw({"coin": accuracy}, pairs=400)
    plan = plan_all(rows, gold)
    assert plan.jury == ()
    assert (plan.accuracy, plan.accuracy_single) == (0.5, 0.5), "a side at random"
    assert plan.enough, "this much gold can tell"
    assert (plan.temperature, plan.log_loss) == (None, None)


def test_of_many_coins_one_is_lucky_enough_only_seldom() -> None:
    """The best of twelve is above one half, and by one standard error nearly always."""
    generator = np.random.default_rng(0)
    chosen = 0
    for _ in range(40):
        said, truth = generator.integers(0, 2, (200, 12)), generator.integers(0, 2, 200)
        chosen += bool(choose_jury(said, truth, np.arange(200) % 5))
    assert chosen <= 3


def test_a_judge_must_beat_the_word_tie_where_gold_is_mostly_tied() -> None:
    truth = {pair: 0.5 if pair < 160 else float(pair % 2) for pair in range(200)}
    always = [{"annotator": "tied", "pair": pair, "p_a": 0.5} for pair in truth]
    plan = plan_all(always, make_gold(truth))
    assert (plan.jury, plan.accuracy) == ((), pytest.approx(0.8))
    better = [{"annotator": "good", "pair": pair, "p_a": p_a} for pair, p_a in truth.items()]
    assert names(plan_all(always + better, make_gold(truth))) == {"good"}


def test_an_expert_on_few_pairs_is_not_passed_over_for_a_coin_on_all() -> None:
    rows, gold = draw({"coin": 0.5, "expert": 0.99}, 400)
    rows = [row for row in rows if row["annotator"] == "coin" or row["pair"] % 4 == 0]
    assert "expert" in names(plan_all(rows, gold))


def test_each_category_has_its_own_jury() -> None:
    code, gold_code = draw({"x": 0.9, "y": 0.55}, 200, 0, "code")
    chat, gold_chat = draw({"x": 0.55, "y": 0.9}, 200, 1, "chat", start=200)
    few, gold_few = draw({"x": 0.9, "y": 0.9}, 20, 2, "poems", start=400)
    plans = make_plans(
        make_opinions(code + chat + few), pl.concat([gold_code, gold_chat, gold_few])
    )
    assert [plan.category for plan in plans] == [None, "chat", "code", "poems"]
    by_name = {plan.category: plan for plan in plans}
    assert names(by_name["code"]) == {"x"}
    assert names(by_name["chat"]) == {"y"}
    assert by_name["code"].enough
    assert not by_name["poems"].enough
    assert by_name["poems"].reason == "20 pairs of gold with a verdict, fewer than 50"
    json.dumps([asdict(plan) for plan in plans])


def test_gold_is_too_little_where_the_interval_is_wide_or_the_prompts_few() -> None:
    rows, gold = draw({"x": 0.6}, LEAST_GOLD + 5)
    wide = plan_all(rows, gold)
    assert not wide.enough
    assert "only known to lie within" in str(wide.reason)
    one_prompt = plan_all([{**row, "prompt_id": "p"} for row in rows], gold)
    assert one_prompt.reason == "the 55 pairs of gold are of fewer than 5 prompts"
    assert one_prompt.accuracy is None
    sure, gold = draw({"x": 0.97}, LEAST_GOLD + 5)
    assert plan_all(sure, gold).enough


def sample_labels(right: np.ndarray, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Pair and label of samples in one order, where the truth is always a."""
    pair = np.repeat(np.arange(len(right)), samples)
    label = np.random.default_rng(0).random(len(pair)) >= right[pair]
    return pair, label.astype(np.int64)


def plan_samples(right: np.ndarray) -> SampleCurve:
    """The curve of a judge whose chance to be right on each pair is given, from 16 samples."""
    pair, label = sample_labels(right, 16)
    rows = [
        {"annotator": "j", "pair": p, "p_a": 1.0 - v, "order": "ab", "sample_index": k % 16}
        for k, (p, v) in enumerate(zip(pair.tolist(), label.tolist(), strict=True))
    ]
    (curve,) = plan_all(rows, make_gold(dict.fromkeys(range(len(right)), 1.0))).samples
    return curve


def test_more_samples_help_an_unsure_judge() -> None:
    pair, label = sample_labels(np.full(300, 0.7), 16)
    points = choose_samples(pair, pair, 1.0 - label, np.zeros(300, dtype=np.int64))
    accuracy = {k: value for k, value, _ in points}
    assert list(accuracy) == [1, 2, 4, 8, 16]
    assert accuracy[1] == pytest.approx(0.7, abs=0.02)
    assert accuracy[16] > 0.9 > accuracy[4]
    assert accuracy[2] == pytest.approx(0.49, abs=0.03), "one against one is a tie, and wrong"
    assert plan_samples(np.full(300, 0.7)).k == 16


def test_more_samples_hurt_a_judge_that_is_wrong_in_a_way_of_its_own() -> None:
    """A third of the pairs is easy, and on the rest the judge prefers the wrong response."""
    curve = plan_samples(np.r_[np.full(100, 0.95), np.full(200, 0.4)])
    accuracy = {k: value for k, value, _ in curve.points}
    assert accuracy[1] > accuracy[16] + 0.1
    assert curve.k == 1


def test_the_smallest_number_of_samples_within_a_standard_error() -> None:
    curve = plan_samples(np.full(100, 0.97))
    best = max(curve.points, key=lambda point: point[1])
    assert curve.k == 4 < best[0]
    assert plan_samples(np.full(LEAST_GOLD - 1, 0.97)).k is None


def test_the_curve_ends_at_what_half_of_the_pairs_have() -> None:
    pair = np.repeat(np.arange(10), [8, 8, 8, 8, 8, 8, 8, 3, 3, 3])
    points = choose_samples(pair, pair, np.ones(len(pair)), np.zeros(10, dtype=np.int64))
    assert [(k, accuracy) for k, accuracy, _ in points] == [(1, 1.0), (2, 1.0), (4, 1.0), (8, 1.0)]


def test_the_curve_and_the_jury_are_of_one_verdict() -> None:
    """Orders that disagree are read through their mean, by both."""
    rows = [row for pair in range(60) for row in two_orders(pair, 0.95, 0.3)]
    rows += [row for pair in range(60, 80) for row in two_orders(pair, 0.7, 0.05)]
    plan = plan_all(rows, make_gold(dict.fromkeys(range(80), 1.0)))
    ((k, accuracy, _),) = plan.samples[0].points
    assert (k, accuracy) == (1, pytest.approx(0.75))
    assert accuracy == pytest.approx(plan.jury[0].accuracy) == plan.orders[0].accuracy


def two_orders(pair: int, first: float, second: float) -> list[dict[str, Any]]:
    return [
        {"annotator": "j", "pair": pair, "p_a": first, "order": "ab"},
        {"annotator": "j", "pair": pair, "p_a": second, "order": "ba"},
    ]


def test_disagreeing_orders_are_dropped_where_they_are_worse() -> None:
    """Thirty pairs of ninety follow the position; gold says a throughout."""
    rows = [row for pair in range(60) for row in two_orders(pair, 0.9, 0.8)]
    rows += [row for pair in range(60, 90) for row in two_orders(pair, 0.9, 0.05)]
    gold = make_gold(dict.fromkeys(range(90), 1.0))
    (advice,) = plan_all(rows, gold).orders
    assert advice.drop
    assert advice.coverage == pytest.approx(2 / 3)
    assert (advice.accuracy, advice.accuracy_kept) == (pytest.approx(2 / 3), 1.0)
    mild = [row for pair in range(60) for row in two_orders(pair, 0.9, 0.8)]
    mild += [row for pair in range(60, 90) for row in two_orders(pair, 0.9, 0.4)]
    (kept,) = plan_all(mild, gold).orders
    assert not kept.drop, "their mean is right as often"
    assert not plan_all(rows[:120] + rows[-10:], gold).orders[0].drop, "five are too few to tell"


def test_votes_of_judges_who_err_together_are_cooled() -> None:
    """The softmax of log odds is right for one judge; three copies of it are three times too sure,
    and a temperature of three makes up for that."""
    rows, gold = draw({"x": 0.75}, 2_000)
    alone = plan_all(rows, gold)
    assert alone.temperature == 1.0
    assert alone.log_loss == pytest.approx(-0.75 * np.log(6 / 8) - 0.25 * np.log(1 / 8), abs=0.03)
    truth = gold["p_a"].to_numpy().astype(np.int64)
    right = np.array([row["p_a"] for row in rows]).astype(np.int64) == truth
    odds = np.log(6.0) * np.eye(3)[np.where(right, 0, 1)]
    zeros = np.zeros(len(right), dtype=np.int64)
    assert choose_temperature(3 * odds, zeros)[0] == 3.0 * choose_temperature(odds, zeros)[0]


def test_degenerate_judgments() -> None:
    (empty,) = make_plans(make_opinions([]), make_gold({}))
    assert (empty.n_gold, empty.jury, empty.accuracy, empty.enough) == (0, (), None, False)
    (unread,) = make_plans(
        make_opinions([{"annotator": "j", "pair": 1, "p_a": None}]), make_gold({1: 1.0})
    )
    assert unread.n_gold == 0
    ties = plan_all(
        [{"annotator": "j", "pair": pair, "p_a": 0.5} for pair in range(80)],
        make_gold(dict.fromkeys(range(80), 0.5)),
    )
    assert (ties.accuracy, ties.jury) == (1.0, ()), "anybody is right who always says tie"


def test_a_judge_that_answers_seldom_counts_where_it_answers() -> None:
    rows, gold = draw({"x": 0.7, "expert": 0.99}, 400)
    rows = [row for row in rows if row["annotator"] == "x" or row["pair"] % 4 == 0]
    plan = plan_all(rows, gold)
    assert names(plan) == {"x", "expert"}
    assert plan.accuracy is not None and plan.accuracy_single is not None
    assert plan.accuracy > plan.accuracy_single + 0.03
