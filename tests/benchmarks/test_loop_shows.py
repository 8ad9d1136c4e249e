"""The shows of the loop on a small planted pool: noise is as stated, and the tables add up."""

from __future__ import annotations

import numpy as np
import pytest

from annotators.loop.stacking import measure_errors
from benchmarks.loop.flips import tabulate_flips, try_flips
from benchmarks.loop.minutes import STEPS, tabulate_minutes, try_minutes
from benchmarks.loop.mixing import SETTINGS, tabulate_mixing, try_mixing
from benchmarks.loop.noise import KINDS, ask_judges, spoil
from benchmarks.loop.pools import Pool, split_prompts
from benchmarks.loop.recovery import pair_up, tabulate_scores, try_seed
from benchmarks.loop.remedies import REMEDIES


def plant_pool(seed: int = 0, n: int = 2_000) -> Pool:
    generator = np.random.default_rng(seed)
    apart = generator.normal(size=(n, 10))
    truth = apart @ generator.normal(size=10) * 0.6 + generator.logistic(size=n) > 0
    first, second = generator.integers(50, 500, (2, n)).astype(float)
    prompts = np.array([f"p{place // 4}" for place in range(n)])
    categories = np.where(np.arange(n) % 8 < 4, "code", "chat")
    return Pool("planted", prompts, categories, apart, first, second, truth)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_noise_is_as_much_as_stated_and_repeated_three_times_as_often(
    kind: str, rate: float
) -> None:
    pool = plant_pool(n=20_000)
    spoiled = spoil(pool, kind, rate, np.random.default_rng(1))
    assert spoiled.wrong.mean() == pytest.approx(rate, abs=0.025)
    assert len(spoiled.copies) / (len(spoiled.copies) + len(pool)) == pytest.approx(0.2, abs=0.001)
    odds = spoiled.wrong.mean() / (1 - spoiled.wrong.mean())
    repeated = spoiled.wrong[spoiled.copies].mean()
    assert repeated / (1 - repeated) == pytest.approx(3 * odds, rel=0.12)
    if kind == "length":
        toward = pool.longer[spoiled.wrong] * np.where(spoiled.label[spoiled.wrong], 1, -1)
        assert (toward > 0).all()
    if kind in ("annotator", "source"):
        who = spoiled.annotator if kind == "annotator" else spoiled.source
        assert spoiled.wrong[who == 0].mean() > 0.75 > 0.1 > spoiled.wrong[who != 0].mean()


def test_prompts_are_disjoint() -> None:
    train, exam = split_prompts(plant_pool(), 3)
    assert not set(train.prompts) & set(exam.prompts)
    assert len(train) + len(exam) == 2_000


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6])
def test_judges_err_together_as_stated(correlation: float) -> None:
    generator = np.random.default_rng(2)
    truth = generator.random(40_000) < 0.5
    said = ask_judges(truth, (0.75, 0.75), correlation, generator)
    errors = measure_errors(said, truth.astype(float))
    assert errors[0, 1] == pytest.approx(correlation, abs=0.02)


def test_every_remedy_is_scored_on_the_same_pairs() -> None:
    trials = [try_seed(plant_pool(seed), "symmetric", 0.25, seed, spread=4.0) for seed in (0, 1)]
    table = {row["remedy"]: row for row in tabulate_scores(trials).iter_rows(named=True)}
    assert list(table) == list(REMEDIES)
    assert table["clean (oracle)"]["purity"] == 1.0 and table["gold alone"]["coverage"] == 0.0
    assert table["clean (oracle)"]["recovered"] == pytest.approx(1.0)
    assert table["dedup"]["purity"] == pytest.approx(0.75, abs=0.03)
    assert table["the loop"]["coverage"] == pytest.approx(0.7, abs=0.001)
    assert table["the loop"]["purity"] > table["majority of the judges"]["purity"]
    assert table["the loop"]["loop_gains"] == 0.0


def test_minutes_flips_and_mixing_have_their_rows() -> None:
    pool = plant_pool(n=3_000)
    spent = tabulate_minutes([try_minutes(pool, "symmetric", 0.25, 0, spread=4.0)])
    errors = {(c, n): e for c, n, e in spent.select("chooser", "labels", "error").iter_rows()}
    assert len(spent) == 4 * len(STEPS)
    assert len({errors[chooser, 0] for chooser, _ in errors}) == 1
    assert errors["optimiser", 500] < errors["random", 500] < errors["random", 0]
    flips = tabulate_flips([try_flips(pool, "symmetric", 0.25, 0, spread=4.0)])
    shares = dict(flips.select("policy", "flipped").iter_rows())
    assert shares["none"] == 0 < shares["unanimous"] < shares["all"]
    right = dict(flips.select("policy", "flipped_right").iter_rows())
    assert right["unanimous"] > right["all"]
    mixed = tabulate_mixing([try_mixing(pool, 0.25, 0, spread=4.0)])
    assert mixed["setting"].to_list() == list(SETTINGS)


def test_intervals_of_paired_differences_by_hand() -> None:
    mean, half = pair_up(np.array([1.0, 2.0, 3.0]))
    assert mean == 2.0 and half == pytest.approx(4.302653 / 3**0.5)
