"""Pairs of policies: whose samples they are, and how little their lengths give away."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators.signals.policy_pairs import make_policy_rows, pair_policies
from annotators.signals.rows import SignalUnusable
from tests.annotators.signals.checking import check_rows

SCHEMA = dict.fromkeys(("prompt_id", "response_id", "policy", "content"), pl.String)
samples = st.lists(
    st.tuples(st.sampled_from("pq"), st.sampled_from("ABC"), st.integers(0, 12)), max_size=14
)


def make_rollouts(sampled: list[tuple[str, str, int]], mark: bool = True) -> pl.DataFrame:
    """Responses of a length; with `mark`, the texts of two policies are never the same."""
    rows = [
        (prompt, f"{prompt}{policy if mark else ''}{length}", policy,
         (policy if mark else "x") + "." * length)
        for prompt, policy, length in sampled
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def test_a_triple_by_hand() -> None:
    rollouts = make_rollouts(
        [("p", "A", 100), ("p", "A", 50), ("p", "B", 101), ("p", "B", 10), ("q", "A", 5)]
    )
    made = pair_policies(rollouts, tolerance=0.1)
    assert made.pairs.to_dicts() == [
        {
            "prompt_id": "p", "policy": "A", "other_policy": "B", "reference": "pA50",
            "positive": "pA100", "negative": "pB101", "length_reference": 51,
            "length_positive": 101, "length_negative": 102,
        },
        {
            "prompt_id": "p", "policy": "B", "other_policy": "A", "reference": "pB10",
            "positive": "pB101", "negative": "pA100", "length_reference": 11,
            "length_positive": 102, "length_negative": 101,
        },
    ]  # fmt: skip
    assert made.left_out.rows() == [("q", "A", "one_sample")]
    assert (made.longer_accuracy, made.nearer_accuracy) == (0.5, 0.5)
    assert made.length_only_accuracy == 0.5


def test_why_there_is_no_pair() -> None:
    rollouts = make_rollouts(
        [("p", "A", 9), ("p", "A", 10), ("q", "A", 9), ("q", "A", 10), ("q", "B", 90)]
    )
    assert pair_policies(rollouts).left_out.rows() == [
        ("p", "A", "one_policy"), ("q", "A", "no_length_match"), ("q", "B", "one_sample"),
    ]  # fmt: skip


def test_a_text_of_two_policies_is_nobodys() -> None:
    sampled = [("p", policy, length) for policy in "AB" for length in (9, 10)]
    made = pair_policies(make_rollouts(sampled, mark=False))
    assert len(made.pairs) == 0
    assert made.left_out["reason"].to_list() == ["one_sample", "one_sample"]


def test_nothing_in_nothing_out() -> None:
    made = pair_policies(pl.DataFrame(schema=SCHEMA))
    assert len(made.pairs) == len(made.left_out) == 0
    assert made.length_only_accuracy is None
    assert make_policy_rows(made.pairs) == []
    with pytest.raises(SignalUnusable, match="lack the column policy"):
        pair_policies(pl.DataFrame(schema=SCHEMA).drop("policy"))
    with pytest.raises(SignalUnusable, match="between 0 and 1"):
        pair_policies(pl.DataFrame(schema=SCHEMA), tolerance=2)


@settings(max_examples=60)
@given(samples, st.floats(0, 1), st.randoms())
def test_every_triple_is_what_it_says(
    sampled: list[tuple[str, str, int]], tolerance: float, order: np.random.Generator
) -> None:
    rollouts = make_rollouts(sampled)
    made = pair_policies(rollouts, tolerance=tolerance)
    known = {row[1]: row for row in rollouts.iter_rows()}
    for row in made.pairs.iter_rows(named=True):
        reference, positive, negative = (
            known[row[n]] for n in ("reference", "positive", "negative")
        )
        assert reference[0] == positive[0] == negative[0] == row["prompt_id"]
        assert reference[2] == positive[2] == row["policy"]
        assert negative[2] == row["other_policy"] != row["policy"]
        assert reference[1] != positive[1]
        ours, theirs = len(positive[3]), len(negative[3])
        assert abs(ours - theirs) <= tolerance * max(ours, theirs) + 1e-9
    cells = {(prompt, policy) for prompt, policy, _ in sampled}
    assert len(made.pairs) + len(made.left_out) == len(cells)
    shuffled = list(sampled)
    order.shuffle(shuffled)
    again = pair_policies(make_rollouts(shuffled), tolerance=tolerance)
    assert again.pairs.equals(made.pairs)
    assert again.left_out.equals(made.left_out)


def test_lengths_give_nothing_away_where_they_did() -> None:
    """One policy writes at length. Pairs at random give it away to who looks for the length that
    is nearer to the reference; matched ones do not, and at most prompts there still is a pair."""
    rng = np.random.default_rng(3)
    sampled = [
        (f"p{prompt}", policy, int(length))
        for prompt in range(150)
        for policy, mean in (("A", 300), ("B", 220))
        for length in rng.normal(mean, 60, 8).clip(5)
    ]
    by_cell: dict[tuple[str, str], list[int]] = {}
    for prompt, policy, length in sampled:
        by_cell.setdefault((prompt, policy), []).append(length)
    hits = [
        abs(own[1] - own[0]) < abs(by_cell[prompt, "B" if policy == "A" else "A"][0] - own[0])
        for (prompt, policy), own in by_cell.items()
    ]
    assert np.mean(hits) > 0.6
    made = pair_policies(make_rollouts(sampled))
    assert len(made.pairs) > 0.9 * len(by_cell)
    assert made.length_only_accuracy == pytest.approx(0.5, abs=0.01)


def test_rows_are_about_the_policy_and_not_about_which_is_better() -> None:
    sampled = [("p", policy, length) for policy in "AB" for length in (10, 11, 12)]
    pairs = pair_policies(make_rollouts(sampled), tolerance=0.2).pairs
    rows = check_rows(make_policy_rows(pairs))
    assert len(rows) == 2
    for row, pair in zip(rows, pairs.iter_rows(named=True), strict=True):
        assert row["criterion"] == "same_policy"
        better = row["response_a"] if row["p_a"] == 1 else row["response_b"]
        assert better == pair["positive"]
        assert {row["response_a"], row["response_b"]} == {pair["positive"], pair["negative"]}
