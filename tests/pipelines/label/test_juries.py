"""Juries: what a voice has earned decides, gold stands, ties are a class, nothing is invented."""

from __future__ import annotations

import random
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.label.juries import JURIES, dawid_skene, gold_first, unanimous, weighted_vote
from pipelines.label.policies import LABEL_SCHEMA, Policy
from tests.pipelines.label.test_policies import (
    PAIRS,
    judgments,
    make_frame,
    mirror,
    opinion,
    thresholds,
    verdict,
)

policies = st.sampled_from(sorted(JURIES))


def make_pairs(n: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "pair_id": [f"{i:03}" for i in range(n)],
            "prompt_id": [f"p{i}" for i in range(n)],
            "response_a": [f"a{i:03}" for i in range(n)],
            "response_b": [f"b{i:03}" for i in range(n)],
        }
    )


def say(annotator: str, i: int, p_a: float, kind: str = "llm", **more: Any) -> list[dict[str, Any]]:
    """A judge's word in both orders, a person's once."""
    orders = ("ab", "ba") if kind == "llm" else (None,)
    sides = {"response_a": f"a{i:03}", "response_b": f"b{i:03}"}
    row = {"annotator": annotator, "kind": kind, **sides, "p_a": p_a, "valid": True, **more}
    return [{**row, "order": order} for order in orders]


def make_court(n: int, gold: int = 0) -> tuple[list[dict[str, Any]], list[float]]:
    """Two careful judges (85 %) and three who guess, the first `gold` pairs known by a person."""
    rng = random.Random(5)
    rows: list[dict[str, Any]] = []
    truth = [float(rng.random() < 0.5) for _ in range(n)]
    for i, right in enumerate(truth):
        for name in ("careful", "thorough"):
            rows += say(name, i, right if rng.random() < 0.85 else 1 - right)
        for name in ("coin1", "coin2", "coin3"):
            rows += say(name, i, float(rng.random() < 0.5))
        if i < gold:
            rows += say("person-x", i, right, "human")
    return rows, truth


def measure(labels: pl.DataFrame, truth: list[float], start: int = 0) -> float:
    said = labels.sort("pair_id")["p_a"].to_list()[start:]
    rest = truth[start:]
    return sum((p > 0.5) == (t > 0.5) for p, t in zip(said, rest, strict=True)) / len(rest)


def test_voices_that_earned_it_outweigh_a_majority_that_guesses() -> None:
    n = 400
    rows, truth = make_court(n, gold=60)
    pairs, frame = make_pairs(n), make_frame(rows)
    majority = pl.DataFrame({"pair_id": pairs["pair_id"], "p_a": [
        sum(r["p_a"] for r in rows if r["kind"] == "llm" and r["response_a"] == a) / 10
        for a in pairs["response_a"]
    ]})  # fmt: skip
    plain = measure(majority, truth, 60)
    for policy in (dawid_skene, gold_first, weighted_vote):
        labels = policy(pairs, frame, 0.51)
        assert measure(labels, truth, 60) > plain + 0.05, policy.__name__
    taught = gold_first(pairs, frame, 0.51)
    assert taught.head(60)["decided_by"].unique().to_list() == ["human"]
    assert taught.head(60)["p_a"].to_list() == truth[:60]


def test_the_least_certain_have_the_greatest_entropy() -> None:
    rows = [*say("j1", 0, 1.0), *say("j2", 0, 1.0), *say("j1", 1, 1.0), *say("j2", 1, 0.0)]
    labels = dawid_skene(make_pairs(3), make_frame(rows), 0.6)
    assert labels["status"].to_list() == ["labelled", "to_review", "to_review"]
    certain, torn, unheard = labels["entropy"].to_list()
    assert certain < torn and unheard is None
    assert labels["reason"].to_list()[2] == "no_opinion"
    assert labels["decided_by"].to_list() == ["consensus", None, None]


@pytest.mark.parametrize("jury", sorted(JURIES))
def test_what_people_released_is_decided_by_people(jury: str) -> None:
    released = say("people:b1", 0, 1.0, "human", gold=True)
    asked = say("person-x", 0, 0.0, "human")  # and goes before what one of them said
    for rows in (released, [*released, *asked, *say("j1", 0, 0.0)]):
        (label,) = JURIES[jury](make_pairs(1), make_frame(rows), 0.6).to_dicts()
        assert (label["decided_by"], label["tier"], label["p_a"]) == ("human", "gold", 1.0)
        assert label["annotators"] == ["people:b1"]


def test_recorded_gold_decides_and_a_gold_tie_goes_to_people() -> None:
    sure = {"gold": True}
    rows = [
        *say("import:x/expert", 0, 0.0, "human", **sure), *say("j1", 0, 1.0),
        *say("import:x/expert", 1, 0.5, "human", **sure), *say("j1", 1, 1.0),
    ]  # fmt: skip
    labels = dawid_skene(make_pairs(2), make_frame(rows), 0.6)
    assert labels["decided_by"].to_list() == ["gold", None]
    assert labels["tier"].to_list() == ["gold", None]
    assert labels["p_a"].to_list() == [0.0, 0.5]
    assert labels["reason"].to_list() == [None, "tie"]


AGREED = [*say("j1", 0, 0.9), *say("j2", 0, 0.8)]


@pytest.mark.parametrize("extra", [
    say("j3", 0, 0.9, sample_index=1)[:1],  # one order only
    say("j2", 0, 0.1, sample_index=1),  # one sample says otherwise
    say("j3", 0, 0.1),
    say("import:x", 0, 0.0, "import"),
])  # fmt: skip
def test_unanimity_is_every_judge_in_every_order_and_sample(extra: list[dict[str, Any]]) -> None:
    assert unanimous(make_pairs(1), make_frame(AGREED), 0.6)["status"].item() == "labelled"
    (label,) = unanimous(make_pairs(1), make_frame([*AGREED, *extra]), 0.6).to_dicts()
    assert (label["status"], label["reason"]) == ("to_review", "disagreement")


def test_people_decide_where_judges_are_unanimous_or_torn() -> None:
    for said in (AGREED, say("j1", 0, 0.9) + say("j2", 0, 0.1)):
        rows = [*said, *say("person-x", 0, 0.0, "human")]
        (label,) = unanimous(make_pairs(1), make_frame(rows), 0.6).to_dicts()
        assert (label["decided_by"], label["tier"], label["p_a"]) == ("human", "gold", 0.0)


def test_unanimity_is_as_sure_as_its_voices() -> None:
    (label,) = unanimous(make_pairs(1), make_frame(AGREED), 0.6).to_dicts()
    assert label["p_a"] == pytest.approx(0.85)
    (unsure,) = unanimous(make_pairs(1), make_frame(say("j1", 0, 0.51)), 0.55).to_dicts()
    assert (unsure["status"], unsure["reason"], unsure["p_a"]) == (
        "to_review", "below_threshold", 0.51,
    )  # fmt: skip
    ties = [*say("j1", 0, 0.5), *say("j2", 0, 0.5)]
    (tie,) = unanimous(make_pairs(1), make_frame(ties), 0.55).to_dicts()
    assert (tie["reason"], tie["p_a"], tie["entropy"]) == ("tie", 0.5, 0.0)


@pytest.mark.parametrize("kind", ["human", "llm"])
def test_a_recorded_order_of_somebody_in_a_pool_spoils_no_unanimity(kind: str) -> None:
    """A person sees a pair once, in some order, and it may be written down."""
    (row,) = say("import:x/ann", 0, 1.0, "human")
    rows = [*AGREED, {**row, "kind": kind, "order": "ab"}]
    assert unanimous(make_pairs(1), make_frame(rows), 0.6)["status"].item() == "labelled"


def test_a_calibrated_mean_does_not_hide_that_the_orders_disagree() -> None:
    ab, ba = say("j1", 0, 0.58)  # what calibration wrote over 0.95 and 0.25
    rows = [{**ab, "p_raw": 0.95}, {**ba, "p_raw": 0.25}]
    (label,) = unanimous(make_pairs(1), make_frame(rows), 0.55).to_dicts()
    assert (label["status"], label["reason"]) == ("to_review", "disagreement")


@pytest.mark.parametrize("policy", sorted(JURIES))
def test_what_only_a_pool_says_stays_a_candidate(policy: str) -> None:
    """And the weighing juries are no surer of it for being told nine hundred times."""
    n = 900
    pool = [row for i in range(n) for row in say("import:x", i, float(i % 2), "import")]
    ours = say("j1", 0, 0.1)
    gold = say("import:x/expert", 1, 1.0, "human", gold=True)
    alone = JURIES[policy](make_pairs(n), make_frame(pool), 0.6)
    assert alone["tier"].unique().to_list() == ["candidate"]
    assert ((alone["p_a"] > 0.5) == [bool(i % 2) for i in range(n)]).all()
    if policy != "unanimous":
        assert alone["p_a"].max() == pytest.approx(0.775), "0.7, and half of what a tie gets"
    with_others = JURIES[policy](make_pairs(n), make_frame([*pool, *ours, *gold]), 0.6)
    assert with_others["tier"].head(3).to_list() == ["silver", "gold", "candidate"]


def of_model(model: str, names: str, p_a: float) -> list[dict[str, Any]]:
    """So many judges of one model, on ten pairs."""
    return [row for i in range(10) for name in names
            for row in say(f"{name}:{model}", i, p_a, model=model)]  # fmt: skip


@pytest.mark.parametrize("policy", [dawid_skene, gold_first, weighted_vote])
def test_a_model_asked_in_three_ways_has_one_voice(policy: Policy) -> None:
    rows = of_model("m@1", "xyz", 0.9) + of_model("n@1", "x", 0.1) + of_model("o@1", "x", 0.1)
    labels = policy(make_pairs(10), make_frame(rows), 0.6)
    assert labels["p_a"].max() < 0.4
    assert labels["annotators"][0].to_list() == ["x:m@1", "x:n@1", "x:o@1", "y:m@1", "z:m@1"]
    assert labels["agreement"][0] == pytest.approx(2 / 3)
    # a model whose judges are split calls a tie, and leaves the pair to the others
    split = of_model("m@1", "x", 0.9) + of_model("m@1", "y", 0.3)
    assert policy(make_pairs(10), make_frame(split), 0.6)["reason"].unique().to_list() == ["tie"]
    strangers = [{**row, "model": None} for row in rows]
    assert policy(make_pairs(10), make_frame(strangers), 0.6)["p_a"].min() > 0.5


def test_gold_on_other_pairs_does_not_make_all_votes_ties() -> None:
    """Gold says nothing of these three: their majority must."""
    words = {
        ("x", 0): 0.9,
        ("y", 0): 0.9,
        ("z", 0): 0.2,
        ("x", 1): 0.1,
        ("y", 1): 0.1,
        ("z", 1): 0.8,
    }
    rows = [row for (name, i), p_a in words.items() for row in say(name, i, p_a)]
    rows += say("person-x", 2, 1.0, "human")
    labels = weighted_vote(make_pairs(3), make_frame(rows), 0.55)
    assert labels["status"].to_list() == ["labelled"] * 3
    assert [p > 0.5 for p in labels["p_a"]] == [True, False, True]
    assert labels["decided_by"].to_list() == ["consensus", "consensus", "human"]


@settings(deadline=None, max_examples=100)
@given(policies, judgments, thresholds)
def test_every_pair_gets_one_outcome(
    policy: str, rows: list[dict[str, Any]], threshold: float
) -> None:
    labels = JURIES[policy](PAIRS, make_frame(rows), threshold)
    assert labels["pair_id"].to_list() == ["12", "13", "23"]
    assert labels.columns == list(LABEL_SCHEMA)
    for label in labels.rows(named=True):
        if label["status"] == "to_review":
            assert label["reason"] and label["decided_by"] is None and label["tier"] is None
        else:
            assert label["reason"] is None and label["p_a"] != 0.5 and label["annotators"]
            assert label["decided_by"] in ("gold", "human", "consensus")


@settings(deadline=None, max_examples=60)
@given(policies, judgments, thresholds)
def test_swapping_the_sides_swaps_the_label_and_nothing_else(
    policy: str, rows: list[dict[str, Any]], threshold: float
) -> None:
    swapped = PAIRS.rename({"response_a": "response_b", "response_b": "response_a"})
    one = JURIES[policy](PAIRS, make_frame(rows), threshold)
    other = JURIES[policy](swapped, make_frame([mirror(row) for row in rows]), threshold)
    assert one["status"].equals(other["status"])
    for mine, theirs in zip(one["p_a"], other["p_a"], strict=True):
        assert (mine is None) == (theirs is None)
        assert mine is None or mine == pytest.approx(1 - theirs, abs=1e-6)


def test_a_verifier_has_a_voice_too() -> None:
    rows = [verdict("r1", 1.0), verdict("r2", 0.0), opinion("human", 1.0, None)]
    labels = dawid_skene(PAIRS.head(1), make_frame(rows), 0.6)
    assert labels["annotators"].to_list() == [["ann", "verifier:v"]]
