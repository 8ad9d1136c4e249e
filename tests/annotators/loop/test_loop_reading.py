"""A whole pool read from little gold: planted noise is found, and what is claimed holds."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from annotators.loop.precision import PrecisionUnknown, choose_kept, estimate_precision
from annotators.loop.reading import BEST_PROBE, LABEL, PoolReading, measure_kept, read_pool
from annotators.loop.stacking import TooLittleGold
from annotators.loop.trust import band_lengths, trust_labels
from benchmarks.loop.noise import Spoiled, ask_judges, spoil
from benchmarks.loop.pools import Pool

JUDGES = ["j0", "j1", "j2"]


def plant(seed: int, kind: str, n: int = 1_500, rate: float = 0.25) -> tuple[Spoiled, np.ndarray]:
    generator = np.random.default_rng(seed)
    apart = generator.normal(size=(n, 12))
    truth = apart @ generator.normal(size=12) * 0.5 + generator.logistic(size=n) > 0
    first, second = generator.integers(50, 500, (2, n)).astype(float)
    names = np.array([f"p{place // 3}" for place in range(n)])
    categories = np.where(np.arange(n) % 3 == 0, "code", "chat")
    pool = Pool("planted", names, categories, apart, first, second, truth)
    return spoil(pool, kind, rate, generator), ask_judges(truth, (0.75,) * 3, 0.3, generator)


def read(
    spoiled: Spoiled, said: np.ndarray, known: int = 150, turned: int | None = None
) -> tuple[PoolReading, np.ndarray]:
    pool = spoiled.pool
    gold = np.where(np.arange(len(pool)) % (len(pool) // known) == 0, pool.truth, np.nan)
    if turned is not None:
        gold[turned] = 1 - gold[turned]
    chosen = np.where(spoiled.label, pool.first, pool.second)
    rejected = np.where(spoiled.label, pool.second, pool.first)
    traits = pl.DataFrame({"annotator": spoiled.annotator, "source": spoiled.source,
                           "length": band_lengths(chosen, rejected)})  # fmt: skip
    found = read_pool(spoiled.label.astype(float), JUDGES, said, pool.apart,
                      pool.prompts.tolist(), gold, traits)  # fmt: skip
    return found, gold


@pytest.mark.parametrize("kind", ["symmetric", "length", "annotator", "source"])
def test_kept_labels_err_half_as_often_at_seven_tenths(kind: str) -> None:
    spoiled, said = plant(1, kind)
    found, gold = read(spoiled, said)
    others = ~found.is_gold
    kept = others.copy()
    kept[others] = choose_kept(found.held_out[others], 0.7)
    right = (found.held_out > 0.5) == spoiled.pool.truth
    assert (~right[kept]).mean() <= spoiled.wrong[others].mean() / 2
    assert found.reading.voices == (LABEL, *JUDGES, "probe:gold", BEST_PROBE)
    assert (found.p[found.is_gold] == gold[found.is_gold]).all()
    table = measure_kept(found, gold, kept, pl.Series(spoiled.pool.categories))
    assert table["category"].to_list() == [None, "chat", "code"]
    assert table["precision"][0] == pytest.approx(right[kept].mean(), abs=0.06)
    assert (table["low"] < table["precision"]).all() and (table["precision"] < table["high"]).all()


def test_trust_finds_the_bad_annotator_and_the_length_bias() -> None:
    spoiled, said = plant(2, "annotator", 3_000)
    found, _ = read(spoiled, said)
    bad = spoiled.annotator == 0
    assert found.trust[bad].mean() < 0.4 and found.trust[~bad].mean() > 0.85
    spoiled, said = plant(3, "length", 3_000)
    found, _ = read(spoiled, said)
    longer = spoiled.pool.longer * np.where(spoiled.label, 1, -1) > 0
    assert found.trust[~longer].mean() > found.trust[longer].mean() + 0.15


def test_gold_s_own_word_stands_and_no_probe_says_it_again() -> None:
    """The gold of one pair turned round is what the pair is said to be; the gold probe says of its
    prompt what it said, and other prompts hear it."""
    spoiled, said = plant(4, "symmetric", 900)
    found, gold = read(spoiled, said, 90)
    known = np.flatnonzero(found.is_gold)
    assert (found.p[known] == gold[known]).all()
    prompts = spoiled.pool.prompts
    for at in known[:3]:
        again, turned = read(spoiled, said, 90, turned=int(at))
        mine = prompts == prompts[at]
        assert again.p[at] == turned[at] == 1 - found.p[at]
        np.testing.assert_array_equal(again.p_gold[mine], found.p_gold[mine])
        assert abs(again.held_out[at] - found.held_out[at]) < 0.1
        assert (again.p_gold != found.p_gold).mean() > 0.5


@pytest.mark.parametrize("jury", [True, False])
@pytest.mark.parametrize("right", [0.55, 0.95])
def test_labels_that_gold_does_not_speak_of_do_not_count(right: float, jury: bool) -> None:
    """Where gold is of other pairs, nothing says whom the labels err with: the same is read
    whatever they say, and those that agree with it are at least as right as claimed."""
    spoiled, said = plant(6, "symmetric", 900, 1 - right)
    pool, known = spoiled.pool, np.arange(900) < 210
    truth = np.where(known, pool.truth, np.nan)
    names, votes = (JUDGES, said) if jury else ([], np.zeros((900, 0)))

    def read_labels(label: np.ndarray) -> PoolReading:
        return read_pool(label, names, votes, pool.apart, pool.prompts.tolist(), truth,
                         pl.DataFrame({"source": spoiled.source}))  # fmt: skip

    label = np.where(known, np.nan, spoiled.label)
    found, turned = read_labels(label), read_labels(1 - label)
    np.testing.assert_array_equal(found.p, turned.p)
    assert np.isnan(found.trust).all()
    own = np.where(spoiled.label, found.p, 1 - found.p)
    kept = ~known & (own >= 0.75)
    assert kept.sum() > 60
    assert (spoiled.label == pool.truth)[kept].mean() > own[kept].mean() - 0.03
    some = np.where(
        np.arange(900) < 20, spoiled.label, label
    )  # as many as say what labels are worth
    assert not np.isnan(read_labels(some).trust[~known]).any()


def test_no_jury_no_labels_and_no_gold() -> None:
    spoiled, said = plant(5, "symmetric", 600)
    pool, n = spoiled.pool, 600
    prompts, traits = pool.prompts.tolist(), pl.DataFrame({"source": spoiled.source})
    gold = np.where(np.arange(n) % 6 == 0, pool.truth, np.nan)
    nobody = np.zeros((n, 0))
    alone = read_pool(np.full(n, np.nan), [], nobody, pool.apart, prompts, gold, traits)
    assert ((alone.p > 0.5) == pool.truth).mean() > 0.6
    came = spoiled.label.astype(float)
    few = np.where(np.arange(n) % 20 == 0, pool.truth, np.nan)
    with pytest.raises(TooLittleGold, match="30 gold pairs"):
        read_pool(came, JUDGES, said, pool.apart, prompts, few, traits)


def test_traits_of_nothing_and_of_few() -> None:
    p = np.r_[np.full(600, 0.95), np.full(200, 0.05)]
    nothing = trust_labels(pl.DataFrame({"one": ["same"] * 800}), p)
    assert nothing == pytest.approx(np.full(800, 0.78), abs=0.06)
    split = trust_labels(pl.DataFrame({"who": ["a"] * 600 + ["b"] * 199 + [None]}), p)
    assert split[0] > 0.95 and split[700] < 0.1 and 0.1 < split[-1] < 0.8
    words = band_lengths([100, 100, 100, 300, 90], [100, 95, 300, 100, 130])
    assert words.to_list() == ["alike", "alike", "far_shorter", "far_longer", "shorter"]


def test_precision_is_corrected_by_gold_and_few_are_never_certain() -> None:
    kept, none = np.full(1_000, 0.9), pl.Series([None] * 1_000, dtype=pl.String)
    seen, right = np.full(200, 0.9), (np.arange(200) % 10 < 7).astype(float)
    table = estimate_precision(kept, none, seen, right, none.head(200))
    assert len(table) == 1 and table["claimed"][0] == pytest.approx(0.9)
    assert table["precision"][0] == pytest.approx(0.7)
    assert table["low"][0] < 0.7 < table["high"][0] < 0.9
    few = estimate_precision(kept, none, np.full(3, 0.9), np.ones(3), none.head(3))
    assert few["high"][0] - few["low"][0] > 0.2
    with pytest.raises(PrecisionUnknown, match="label at least 50 pairs"):
        estimate_precision(kept, none, [], [], none.head(0))


def test_precision_covers_where_gold_pairs_share_prompts() -> None:
    """Forty prompts of six gold pairs that are right or wrong together (.3)."""
    generator, none = np.random.default_rng(0), pl.Series([None] * 2_000, dtype=pl.String)
    prompts = [f"p{place}" for place in np.repeat(np.arange(40), 6)]
    kept, hits, plain = np.full(2_000, 0.8), 0, 0
    for _ in range(150):
        share = np.repeat(generator.beta(0.8 * 7 / 3, 0.2 * 7 / 3, 40), 6)
        known = np.full(240, 0.8), (generator.random(240) < share).astype(float), none.head(240)
        row = estimate_precision(kept, none, *known, prompts).row(0, named=True)
        hits += row["low"] < 0.8 < row["high"]
        row = estimate_precision(kept, none, *known).row(0, named=True)
        plain += row["low"] < 0.8 < row["high"]
    assert hits > 0.91 * 150 and plain < 0.88 * 150


@pytest.mark.parametrize("coverage", [0.0, 0.5, 0.7, 1.0])
def test_the_surest_are_kept(coverage: float) -> None:
    p = np.random.default_rng(0).random(33)
    kept = choose_kept(p, coverage)
    assert kept.sum() == np.ceil(coverage * 33)
    if 0 < kept.sum() < 33:
        assert np.abs(p[kept] - 0.5).min() >= np.abs(p[~kept] - 0.5).max()


def test_gold_that_has_more_of_a_kind_counts_by_what_is_kept() -> None:
    """950 of 1,000 kept pairs are of a kind that is right .8 of the time, 40 of 440 gold ones."""
    covered, told = 0, []
    for seed in range(100):
        generator = np.random.default_rng(seed)
        right = np.r_[generator.random(40) < 0.8, generator.random(400) < 0.9].astype(float)
        weights = np.r_[np.full(40, 950 / 40), np.full(400, 50 / 400)]
        one = pl.Series(["x"] * 1_000), pl.Series(["x"] * 440)
        row = estimate_precision(
            np.full(1_000, 0.9), one[0], np.full(440, 0.9), right, one[1], gold_weights=weights
        ).row(0, named=True)
        told.append(row["precision"])
        covered += row["low"] <= 0.805 <= row["high"]
    assert np.mean(told) == pytest.approx(0.805, abs=0.02) and covered >= 90
