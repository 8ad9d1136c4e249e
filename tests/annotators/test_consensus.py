"""Dawid-Skene finds who can be trusted, treats the two responses alike, and gold stands."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators.consensus import (
    Consensus,
    fit_consensus,
    measure_accuracies,
    vote_majority,
    vote_weighted,
)
from annotators.votes import VotesUnreadable
from tests.annotators.opinions import make_votes

SWAPPED = {"a": "b", "b": "a", "tie": "tie"}
P = ["p_a", "p_b", "p_tie"]

letters = st.lists(st.sampled_from("abt-"), min_size=6, max_size=6).map("".join)
tables = st.dictionaries(st.sampled_from(["ann", "bo", "cy", "dee"]), letters, min_size=1)


def draw_votes(
    accuracies: list[float], items: int = 400, seed: int = 0
) -> tuple[pl.DataFrame, np.ndarray]:
    """Votes of everybody on everything, errors even over the wrong classes; and the truth."""
    generator = np.random.default_rng(seed)
    truth = generator.choice(3, items, p=[0.45, 0.45, 0.1])
    table = {}
    for place, accuracy in enumerate(accuracies):
        wrong = (truth + generator.integers(1, 3, items)) % 3
        label = np.where(generator.random(items) < accuracy, truth, wrong)
        table[f"j{place}"] = "".join("abt"[k] for k in label)
    return make_votes(table), truth


def share_right(items: pl.DataFrame, truth: np.ndarray) -> float:
    return float((items.select(P).to_numpy().argmax(axis=1) == truth).mean())


def test_the_good_outweigh_many_bad_ones() -> None:
    accuracies = [0.95, 0.95, 0.45, 0.45, 0.45, 0.45]
    votes, truth = draw_votes(accuracies)
    found = fit_consensus(votes)
    earned = dict(found.annotators.select("annotator", "accuracy").iter_rows())
    assert [round(earned[f"j{place}"], 1) for place in range(6)] == pytest.approx(
        [0.9, 0.9, 0.5, 0.5, 0.5, 0.5], abs=0.11
    )
    assert share_right(found.items, truth) > share_right(vote_majority(votes), truth) + 0.05
    assert found.prior == pytest.approx((0.45, 0.45, 0.1), abs=0.05)
    rows = found.confusions.select(P).to_numpy()
    assert rows.sum(axis=1) == pytest.approx(np.ones(len(rows)))


def test_confusions_and_posteriors_by_hand() -> None:
    """One round on four items: vote shares, counts, then Bayes, all written out."""
    votes = make_votes({"x": "aaab", "y": "aabb"})
    found = fit_consensus(votes, symmetric=False, smoothing=0.0, max_iterations=1)
    # shares: 1 1 .5 0 for a; x says a with truth a in 2.5 of 2.5, with truth b in .5 of 1.5
    # and y says a in 2 of 2.5, and in 0 of 1.5; class shares 2.5 / 4 and 1.5 / 4
    joint_a, joint_b = 2.5 / 4 * 1.0 * (0.5 / 2.5), 1.5 / 4 * (0.5 / 1.5) * 1.0
    assert found.items["p_a"][2] == pytest.approx(joint_a / (joint_a + joint_b))
    assert found.items["p_a"][0] == pytest.approx(1.0, abs=1e-6)
    assert found.iterations == 1


@settings(max_examples=60, deadline=None)
@given(tables, st.booleans())
def test_swapping_the_names_of_all_responses_swaps_the_posteriors(
    table: dict[str, str], symmetric: bool
) -> None:
    votes = make_votes(table)
    swapped = votes.with_columns(pl.col("label").replace(SWAPPED))
    one, other = (fit_consensus(v, symmetric=symmetric, max_iterations=20).items
                  for v in (votes, swapped))  # fmt: skip
    assert one["p_a"].to_list() == pytest.approx(other["p_b"].to_list(), abs=1e-6)
    assert one["p_tie"].to_list() == pytest.approx(other["p_tie"].to_list(), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(tables, st.sets(st.integers(0, 5)))
def test_renaming_the_responses_of_some_items_changes_only_these(
    table: dict[str, str], some: set[int]
) -> None:
    """Which id is smaller is chance, item by item: tied confusions make it so."""
    votes = make_votes(table)
    turned = pl.col("item").is_in([f"i{place:03d}" for place in some])
    swapped = votes.with_columns(
        pl.when(turned).then(pl.col("label").replace(SWAPPED)).otherwise("label").alias("label")
    )
    before, after = (fit_consensus(v, max_iterations=20).items for v in (votes, swapped))
    back = after.with_columns(
        p_a=pl.when(turned).then("p_b").otherwise("p_a"),
        p_b=pl.when(turned).then("p_a").otherwise("p_b"),
    )
    for name in (*P, "entropy"):
        assert back[name].to_list() == pytest.approx(before[name].to_list(), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(tables, st.booleans(), st.sampled_from([0.0, 1.0, 4.0]), st.integers(1, 6))
def test_no_round_loses_likelihood(
    table: dict[str, str], symmetric: bool, smoothing: float, rounds: int
) -> None:
    def fit(most: int) -> Consensus:
        return fit_consensus(
            make_votes(table),
            symmetric=symmetric,
            smoothing=smoothing,
            max_iterations=most,
            tolerance=-math.inf,
        )

    assert fit(rounds + 1).log_likelihood >= fit(rounds).log_likelihood - 1e-6


def test_the_order_of_the_rows_does_not_matter_to_the_last_bit() -> None:
    votes, _ = draw_votes([0.9, 0.7, 0.6], items=100)
    shuffled = votes.sample(fraction=1.0, shuffle=True, seed=1)
    assert fit_consensus(votes).items.equals(fit_consensus(shuffled).items)


def test_gold_stands_and_teaches() -> None:
    """Two camps contradict each other; a little gold says which one to believe."""
    camp = "ab" * 20
    other = "ba" * 20
    votes = make_votes({"x1": camp, "x2": camp, "y1": other, "y2": other, "y3": other})
    assert fit_consensus(votes).items["p_b"][0] > 0.9
    gold = pl.DataFrame({"item": [f"i{k:03d}" for k in range(10)], "label": list("ab" * 5)})
    found = fit_consensus(votes, gold)
    told = found.items.head(10)
    assert told["p_a"].to_list() == [1.0, 0.0] * 5
    assert told["entropy"].to_list() == [0.0] * 10
    assert found.items["p_a"][20] > 0.9
    unseen = fit_consensus(votes, pl.DataFrame({"item": ["new"], "label": ["tie"]})).items
    assert unseen.filter(pl.col("item") == "new").row(0) == ("new", 0.0, 0.0, 1.0, 0.0, 0)


def test_conflicting_gold_is_refused() -> None:
    gold = pl.DataFrame({"item": ["i000", "i000"], "label": ["a", "b"]})
    with pytest.raises(VotesUnreadable, match="'i000' two different labels"):
        fit_consensus(make_votes({"x": "ab"}), gold)


def test_degenerate_votes() -> None:
    nothing = make_votes({})
    for items in (fit_consensus(nothing).items, vote_majority(nothing)):
        assert len(items) == 0
        assert set(P) < set(items.columns)
    ties = fit_consensus(make_votes({"x": "ttt", "y": "ttt"})).items
    assert ties["p_tie"].min() > 0.9
    assert ties["p_a"].to_list() == pytest.approx(ties["p_b"].to_list())
    alone = fit_consensus(make_votes({"x": "aabbt" * 40}))
    assert alone.items["entropy"].min() > 0.1, "nobody has checked the only annotator"
    assert alone.items["p_a"][0] > 0.5 > alone.items["p_a"][2]


def test_majority_and_its_shares() -> None:
    shares = vote_majority(make_votes({"x": "aat", "y": "abt", "z": "bbt"}))
    assert shares["label"].to_list() == ["a", "b", "tie"]
    assert shares["p_a"].to_list() == pytest.approx([2 / 3, 1 / 3, 0])
    assert shares["entropy"].to_list() == pytest.approx([0.9183, 0.9183, 0.0], abs=1e-4)
    assert shares["n"].to_list() == [3, 3, 3]


def test_weights_are_the_log_odds() -> None:
    votes = make_votes({"good": "at", "poor": "bb", "poor2": "b-", "new": "bb"})
    accuracies = pl.DataFrame({"annotator": ["good", "poor", "poor2"], "accuracy": [0.9, 0.5, 0.5]})
    found = vote_weighted(votes, accuracies)
    # odds against each wrong class: 18 for the good one, 2 for each of the poor
    assert found["label"].to_list() == ["a", "tie"]
    assert found["p_a"][0] == pytest.approx(18 / (18 + 4 + 1))
    assert found["p_b"][0] == pytest.approx(4 / (18 + 4 + 1))
    assert found["n"].to_list() == [4, 3]
    unknown = vote_weighted(votes, accuracies.clear())
    assert unknown["p_tie"].to_list() == pytest.approx([1 / 3, 1 / 3])
    assert unknown["label"].to_list() == ["tie", "tie"]


@settings(max_examples=40, deadline=None)
@given(tables)
def test_weighted_votes_know_no_first_response(table: dict[str, str]) -> None:
    votes = make_votes(table)
    accuracies = pl.DataFrame({"annotator": ["ann", "bo", "cy"], "accuracy": [0.9, 0.6, 0.2]})
    one = vote_weighted(votes, accuracies)
    other = vote_weighted(votes.with_columns(pl.col("label").replace(SWAPPED)), accuracies)
    assert one["label"].replace(SWAPPED).to_list() == other["label"].to_list()
    assert one["p_a"].to_list() == pytest.approx(other["p_b"].to_list())
    assert one.select(P).sum_horizontal().to_list() == pytest.approx([1.0] * len(one))


def test_accuracies_are_measured_on_gold_and_else_on_the_majority() -> None:
    votes = make_votes({"x": "aabb", "y": "aaab", "z": "aa--", "alone": "----a"})
    gold = pl.DataFrame({"item": ["i000", "i002", "i003"], "label": ["a", "b", "b"]})
    measured = dict(measure_accuracies(votes, gold).iter_rows())
    assert list(measured) == ["alone", "x", "y", "z"]
    prior = 4 * 0.7  # pseudo-votes that are right, of four
    assert measured == pytest.approx(
        {"alone": 0.7, "x": (3 + prior) / 7, "y": (2 + prior) / 7, "z": (1 + prior) / 5}
    )
    # i000 and i001: all agree; i002: x and y contradict each other, a tie; i003: they agree
    by_all = {"alone": 0.7, "x": (3 + prior) / 8, "y": (3 + prior) / 8, "z": (2 + prior) / 6}
    elsewhere = pl.DataFrame({"item": ["new"], "label": ["a"]})
    for nothing in (gold.clear(), elsewhere):
        assert dict(measure_accuracies(votes, nothing).iter_rows()) == pytest.approx(by_all)
    assert len(measure_accuracies(votes.clear(), gold)) == 0


def test_nobody_is_believed_for_agreeing_with_oneself() -> None:
    """The more a lone annotator says, the surer a fit that counts its own votes would become."""
    alone = make_votes({"x": "aabbt" * 180})
    found = fit_consensus(alone)
    assert found.annotators["accuracy"].item() == pytest.approx(0.7)
    assert found.annotators["n"].item() == 900
    assert found.items["p_a"].max() == pytest.approx(0.7)
    accuracies = measure_accuracies(alone, found.items.select("item", label=pl.lit("a")).clear())
    assert vote_weighted(alone, accuracies)["p_a"].max() == pytest.approx(0.7)
    # gold on the same items teaches
    gold = alone.select("item", "label").head(450)
    assert fit_consensus(alone, gold).items["p_a"][450] > 0.95


@settings(max_examples=40, deadline=None)
@given(tables, letters)
def test_lone_votes_teach_nothing(table: dict[str, str], more: str) -> None:
    votes = make_votes(table)
    heard = votes.group_by("item").agg(pl.col("annotator").n_unique())
    shared = heard.filter(pl.col("annotator") > 1).select("item")
    lone = make_votes({"ann": more}).with_columns(
        pl.concat_str(pl.lit("lone "), "item").alias("item")
    )
    before, after = fit_consensus(votes), fit_consensus(pl.concat([votes, lone]))
    one = before.items.join(shared, on="item").sort("item")
    other = after.items.join(shared, on="item").sort("item")
    for name in P:
        assert other[name].to_list() == pytest.approx(one[name].to_list(), abs=1e-9)
