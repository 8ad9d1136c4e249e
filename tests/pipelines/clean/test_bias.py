"""The bias audit against pools whose labels a shortcut decides, or does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines.clean.bias import (
    SHORTCUTS,
    audit_pairs,
    find_broken_bounds,
    measure_differences,
    tabulate_lengths,
)
from pipelines.clean.logistic import fit_logistic, predict, predict_out_of_fold
from schemas.cleaning import BiasSpec
from schemas.ids import make_id


def make_pairs(count: int, longer: float = 0.5, bold: float = 0.5, seed: int = 1) -> pl.DataFrame:
    """Pairs in which the longer and the bolder response win with these probabilities."""
    random = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for i in range(count):
        sizes = sorted(random.choice(np.arange(5, 60), 2, replace=False))
        chosen, rejected = ["word " * int(n) for n in sizes]
        if random.random() < longer:
            chosen, rejected = rejected, chosen
        if random.random() < bold:
            chosen = f"**Note** {chosen}"
        else:
            rejected = f"**Note** {rejected}"
        rows.append(
            {
                "pair_id": make_id("pair", seed, i),
                "prompt_id": make_id("prompt", seed, i // 2),
                "category": "cooking" if i % 2 else "sailing",
                "source": "pool",
                "chosen": chosen,
                "rejected": rejected,
                "position": 1.0 if random.random() < 0.9 else -1.0,
            }
        )
    return measure_differences(pl.DataFrame(rows))


def make_opposites() -> pl.DataFrame:
    """The longer response wins in one category and the shorter one in the other."""
    return pl.concat([
        make_pairs(200, longer=0.9, seed=1).with_columns(category=pl.lit("sailing")),
        make_pairs(200, longer=0.1, seed=2).with_columns(category=pl.lit("cooking")),
    ])  # fmt: skip


def take(audit: pl.DataFrame, shortcut: str, of: str = "all") -> dict[str, Any]:
    return audit.filter(pl.col("value") == of, pl.col("shortcut") == shortcut).row(0, named=True)


def test_the_shortcut_that_decides_is_the_one_that_is_named() -> None:
    audit = audit_pairs(make_pairs(400, longer=0.8), seed=0)
    length = take(audit, "length")
    assert length["accuracy"] == pytest.approx(0.8, abs=0.06)
    assert length["low"] < length["accuracy"] < length["high"]
    assert length["toward"] == pytest.approx(length["accuracy"])
    assert length["auc_low"] < length["auc"] < length["auc_high"] and length["auc"] > 0.7
    assert take(audit, "format")["accuracy"] < 0.58
    assert take(audit, "refusal")["n_differ"] == 0 and take(audit, "refusal")["accuracy"] == 0.5
    assert take(audit, "position")["accuracy"] == pytest.approx(0.9, abs=0.05)
    assert take(audit, "all")["accuracy"] > 0.88
    assert take(audit_pairs(make_pairs(400, bold=0.9), 0), "format")["accuracy"] > 0.85


def test_shorter_wins_is_a_shortcut_too() -> None:
    length = take(audit_pairs(make_pairs(400, longer=0.2), 0), "length")
    assert length["accuracy"] == pytest.approx(0.8, abs=0.06)
    assert length["toward"] == pytest.approx(1 - length["accuracy"])
    assert length["auc"] > 0.7


def test_slices_are_categories_and_sources_that_are_large_enough() -> None:
    audit = audit_pairs(make_pairs(50), 0)
    assert len(audit) == 3 * len(SHORTCUTS)
    assert take(audit, "length", "sailing")["n"] == 25
    assert len(audit_pairs(make_pairs(30), 0)) == len(SHORTCUTS)  # 15 of each category
    assert len(audit_pairs(make_pairs(50).clear(), 0)) == 0


def test_the_order_of_the_pairs_changes_nothing() -> None:
    pairs = make_pairs(120, longer=0.7)
    audit, lengths = audit_pairs(pairs, 0), tabulate_lengths(pairs)
    shuffled = pairs.sample(fraction=1, shuffle=True, seed=3)
    assert audit_pairs(shuffled, 0).equals(audit)
    assert tabulate_lengths(shuffled).equals(lengths)


def test_the_table_of_lengths_holds_every_unequal_pair_once() -> None:
    pairs = make_pairs(95, longer=1.0, bold=1.0)
    table = tabulate_lengths(pairs)
    assert table["n"].sum() == 95 and len(table) == 10
    assert table["longer_wins"].min() == 1.0
    assert (table["ratio_low"] <= table["ratio_high"]).all() and table["ratio_low"].min() >= 1
    assert len(tabulate_lengths(pairs.clear())) == 0


def test_a_passed_bound_says_the_figure_and_the_mend() -> None:
    audit = audit_pairs(make_pairs(400, longer=0.8), 0)
    (said,) = find_broken_bounds(audit, BiasSpec(length=0.55, format=0.9))
    assert "length alone predicts 8" in said or "length alone predicts 7" in said
    assert "55 %" in said and "match_length: true" in said
    assert find_broken_bounds(audit, BiasSpec(length=0.95)) == []
    assert find_broken_bounds(audit, BiasSpec()) == []
    assert find_broken_bounds(audit.clear(), BiasSpec(length=0.55)) == []
    (here,) = find_broken_bounds(audit_pairs(make_opposites(), 0),
                                 BiasSpec(length=0.7, within="category"))[:1]  # fmt: skip
    assert "of category sailing" in here or "of category cooking" in here
    assert find_broken_bounds(audit_pairs(make_opposites(), 0), BiasSpec(length=0.7)) == []
    exact = take(audit, "length")["accuracy"]
    assert find_broken_bounds(audit, BiasSpec(length=exact)) == []  # at the bound is within


def test_the_logistic_model_finds_the_weights_it_was_made_from() -> None:
    random = np.random.default_rng(0)
    truth = np.array([2.0, -1.0, 0.0])
    features = random.normal(size=(20_000, 3))
    flips = np.where(random.random(20_000) < predict(features, truth), 1, -1)
    weights = fit_logistic(features * flips[:, None], ridge=1e-3)
    assert weights == pytest.approx(truth, abs=0.08)


def test_out_of_fold_knows_nothing_of_its_own_group() -> None:
    """A feature that is one group's alone cannot be learned from the others."""
    groups = [str(i) for i in range(200)]
    p = predict_out_of_fold(np.eye(200), groups, seed=0)
    assert p == pytest.approx(0.5)
    assert len(predict_out_of_fold(np.zeros((0, 2)), [], 0)) == 0
