"""What a domain's labels are worth, learned from gold."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from benchmarks.learned_weights import run_trial
from pipelines.clean.learned_weights import (
    TooLittleGold,
    _climb,
    _resample,
    _sort_rows,
    learn_weights,
)


@pytest.mark.parametrize("seed", [0, 1])
def test_noisy_domains_lose_and_the_model_gains(seed: int) -> None:
    trial = run_trial(seed)
    weights = trial.found.table["weight"].to_list()
    assert weights == sorted(weights, reverse=True) or weights[0] > 1.5 > 0.5 > weights[4]
    assert trial.found.used
    assert trial.learned > trial.equal + 0.015
    assert trial.found.accuracy >= trial.found.equal_accuracy - 0.02
    low, high = (trial.found.table[side].to_numpy() for side in ("low", "high"))
    assert (low >= 0.02).all() and (low <= high).all() and (high <= 3.0).all()
    assert high[5] < low[0]


def make_pool(rows: int = 200, gold: int = 140) -> tuple[np.ndarray, pl.Series, np.ndarray, list]:
    rng = np.random.default_rng(5)
    truth = rng.normal(size=8)
    pool, answers = rng.normal(size=(rows, 8)), rng.normal(size=(gold, 8))
    domains = pl.Series(["one", "two"] * (rows // 2))
    pool *= np.sign(pool @ truth)[:, None]
    answers *= np.sign(answers @ truth)[:, None]
    return pool, domains, answers, [f"g{i}" for i in range(gold)]


def test_domains_alike_keep_weights_alike() -> None:
    pool, domains, answers, ids = make_pool()
    found = learn_weights(pool, domains, answers, pl.Series(ids))
    assert found.table["domain"].to_list() == ["one", "two"]
    assert found.table["pairs"].to_list() == [100, 100]
    assert ((found.table["low"] <= 1) & (found.table["high"] >= 1)).all()
    assert found.taught + found.held_out == 140


def test_the_order_of_rows_and_gold_changes_nothing() -> None:
    pool, domains, answers, ids = make_pool()
    found = learn_weights(pool, domains, answers, pl.Series(ids))
    rows, others = np.arange(200)[::-1], np.arange(140)[::-1]
    again = learn_weights(
        pool[rows], domains[rows.tolist()], answers[others], pl.Series(ids)[others.tolist()]
    )
    assert np.allclose(again.table["weight"], found.table["weight"], atol=1e-3)


def test_draws_that_climb_side_by_side_climb_as_each_would_alone() -> None:
    pool, _, answers, _ = make_pool()
    member = np.random.default_rng(1).integers(0, 3, len(pool))
    rows = _sort_rows(pool, member, 3)
    times, answered = _resample(rows, answers, seed=4)
    found = _climb(rows, times, answered, answers, 0.02, 3.0)
    assert (times[:, 0] == 1).all() and (answered[:, 0] == 1).all()
    assert len(np.unique(found, axis=0)) == times.shape[1]
    sorted_member = np.sort(member)
    for draw in (0, 1, 7):
        drawn = np.repeat(np.arange(len(pool)), times[:, draw].astype(int))
        told = np.repeat(answers, answered[:, draw].astype(int), axis=0)
        assert (np.bincount(sorted_member[drawn]) == rows.counts).all()
        alone = _sort_rows(rows.pool[drawn], sorted_member[drawn], 3)
        ones = np.ones((len(drawn), 1)), np.ones((len(told), 1))
        assert np.allclose(_climb(alone, *ones, told, 0.02, 3.0)[0], found[draw], atol=1e-9)


def test_weights_that_do_not_help_held_out_gold_are_not_used() -> None:
    pool, domains, answers, ids = make_pool()
    halves = learn_weights(pool, domains, answers, pl.Series(ids))
    assert set(halves.weights.values()) == {1.0} or halves.used


def test_too_little_gold_is_refused_with_how_much_is_needed() -> None:
    pool, domains, answers, ids = make_pool()
    with pytest.raises(TooLittleGold, match="verify about 60 more pairs"):
        learn_weights(pool, domains, answers[:60], pl.Series(ids[:60]))


def test_one_domain_has_weight_one() -> None:
    pool, _, answers, ids = make_pool()
    found = learn_weights(pool, pl.Series(["all"] * 200), answers, pl.Series(ids))
    assert found.table["weight"].to_list() == [1.0]
