"""Juries: what a voice has earned decides, gold stands, ties are a class, nothing is invented."""

from __future__ import annotations

import random
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.label.juries import JURIES, dawid_skene, gold_first, unanimous, weighted_vote
from pipelines.label.policies import LABEL_SCHEMA
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


@pytest.mark.parametrize(("extra", "status"), [
    ([], "labelled"),
    (say("j3", 0, 0.9, sample_index=1)[:1], "to_review"),  # one order only
    (say("j2", 0, 0.1, sample_index=1), "to_review"),  # one sample says otherwise
    (say("person-x", 0, 0.0, "human"), "to_review"),
])  # fmt: skip
def test_unanimity_is_every_judge_in_every_order_and_sample(
    extra: list[dict[str, Any]], status: str
) -> None:
    rows = [*say("j1", 0, 0.9), *say("j2", 0, 0.8), *extra]
    (label,) = unanimous(make_pairs(1), make_frame(rows), 0.6).to_dicts()
    if extra and extra[0]["kind"] == "human":
        assert (label["decided_by"], label["p_a"]) == ("human", 0.0)
        return
    assert label["status"] == status


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
