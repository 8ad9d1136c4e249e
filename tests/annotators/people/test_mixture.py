"""The engine climbs, merges what is too small, and treats the two sides alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from annotators.people.mixture import (
    DIRECTIONS,
    Array,
    Mixture,
    Prior,
    Tally,
    advance,
    begin,
    climb,
    fit_mixture,
    fit_pool,
    merge_small,
    place,
    score,
    scout,
)
from annotators.people.opinion_rows import read_rows

seeds = st.integers(0, 2**32 - 1)


def draw_tally(seed: int, people: int = 12, pairs: int = 6, d: int = 4) -> Tally:
    """People of two opposed tastes, with ties, on pairs of their own."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(people * pairs, d))
    side = np.repeat(np.arange(people) % 3 == 0, pairs)
    y = np.where((x[:, 0] > 0) != side, 1.0, 0.0)
    y[generator.random(len(y)) < 0.1] = 0.5
    names = [f"u{at:03d}" for at in np.repeat(np.arange(people), pairs)]
    return read_rows(x, y, names, None).tally()


def measure_by_hand(tally: Tally, weights: Array) -> Array:
    """Log likelihoods (annotators, K), an opinion at a time."""
    count, wins = tally.count.toarray(), tally.wins.toarray()
    p = expit(tally.vectors @ weights.T)
    found = np.zeros((tally.people, len(weights)))
    for pair, who in np.argwhere(count > 0):
        n, won = count[pair, who], wins[pair, who]
        found[who] += won * np.log(p[pair]) + (n - won) * np.log(1 - p[pair])
    return found


@given(seeds)
def test_scores_are_sums_of_log_likelihoods(seed: int) -> None:
    tally = draw_tally(seed)
    weights = np.random.default_rng(seed).normal(size=(3, tally.vectors.shape[1]))
    assert score(tally, weights) == pytest.approx(measure_by_hand(tally, weights), abs=1e-9)
    both = score(tally, weights.reshape(3, 1, -1))
    assert both[:, :, 0] == pytest.approx(score(tally, weights))


@given(seeds, st.sampled_from([0.1, 1.0, 30.0]))
def test_the_pool_stands_where_the_slope_is_nothing(seed: int, ridge: float) -> None:
    tally = draw_tally(seed)
    pool = fit_pool(tally, ridge)
    n, wins = tally.count.sum(axis=1), tally.wins.sum(axis=1)
    slope = tally.vectors.T @ (wins - n * expit(tally.vectors @ pool)) - ridge * pool
    assert np.abs(slope).max() < 1e-3


@given(seeds, st.integers(2, 4), st.sampled_from([0.03, 1.0, 10.0]))
def test_no_round_loses(seed: int, k: int, ridge: float) -> None:
    tally = draw_tally(seed)
    pool = fit_pool(tally, ridge)
    state = begin(tally, pool, k, ridge, seed)
    for _ in range(8):
        before, state = state, advance(tally, state, pool, ridge)
        assert (state.objective >= before.objective - 1e-8).all()
        assert state.shares.sum(axis=1) == pytest.approx(np.ones(len(state.shares)))
        assert state.memberships.sum(axis=2) == pytest.approx(np.ones(state.memberships.shape[:2]))


@given(seeds, st.integers(2, 4))
def test_a_start_scouted_in_few_directions_goes_on_in_all(seed: int, k: int) -> None:
    tally = draw_tally(seed, d=DIRECTIONS + 9)
    pool = fit_pool(tally, 1.0)
    state = scout(tally, pool, k, 1.0, 1, seed)
    assert state.weights.shape == (1, k, len(pool))
    assert state.z == pytest.approx(np.einsum("nd,skd->nsk", tally.vectors, state.weights))
    on = advance(tally, state, pool, 1.0)
    assert on.objective[0] >= state.objective[0] - 1e-8
    assert on.z == pytest.approx(np.einsum("nd,skd->nsk", tally.vectors, on.weights))


def test_a_steep_start_is_brought_back() -> None:
    """Newton's step overshoots from far out; halving makes it gain."""
    tally = draw_tally(1)
    far = np.full((1, tally.vectors.shape[1]), 40.0)
    nothing = np.zeros(tally.vectors.shape[1])
    everybody = np.ones((tally.people, 1))
    found = climb(tally, everybody, far, nothing, 1.0, steps=50)
    assert found[0] == pytest.approx(fit_pool(tally, 1.0), abs=1e-3)


@given(seeds)
def test_the_names_of_the_sides_do_not_matter(seed: int) -> None:
    """x and y told from the other side, pair by pair: the same prototypes."""
    generator = np.random.default_rng(seed)
    x, y = generator.normal(size=(60, 3)), generator.choice([0.0, 0.5, 1.0], 60)
    names = [f"u{at % 10}" for at in range(60)]
    turned = generator.random(60) < 0.5
    other = np.where(turned[:, None], -x, x), np.where(turned, 1 - y, y)
    one, two = (read_rows(*told, names, None).tally() for told in ((x, y), other))
    first, second = (fit_mixture(tally, 2, Prior(1.0, 1.0), 1, 0) for tally in (one, two))
    assert score(one, first.weights) == pytest.approx(score(two, second.weights), abs=1e-4)


@given(seeds, st.integers(2, 4), st.integers(1, 6))
def test_no_prototype_is_left_with_too_few(seed: int, k: int, least: int) -> None:
    tally = draw_tally(seed)
    found = fit_mixture(tally, k, Prior(1.0, 3.0), least, seed)
    memberships, _ = place(score(tally, found.weights), found.shares)
    members = np.bincount(memberships.argmax(axis=1), minlength=len(found.shares))
    own = members[: len(members) - found.pooled]
    assert (own >= least).all()
    assert len(own) + len(found.merged) == k
    assert all(size < least for size in found.merged)
    assert found.shares.sum() == pytest.approx(1.0)
    if found.pooled:
        assert (found.weights[-1] == found.pool).all()


def test_merging_takes_the_smallest_and_keeps_the_rest() -> None:
    tally = draw_tally(0, people=12)  # every third of the other taste: four
    d = tally.vectors.shape[1]
    taste = fit_mixture(tally, 2, Prior(1.0, 3.0), 1, 0).weights
    mixture = Mixture(taste, np.array([0.7, 0.3]), np.zeros(d))
    assert merge_small(tally, mixture, 4) is mixture
    merged = merge_small(tally, mixture, 5)
    assert merged.merged == (4,)
    assert merged.pooled
    assert (merged.weights == np.stack([taste[0], np.zeros(d)])).all()
    assert merged.shares == pytest.approx([0.7, 0.3])
    nobody = merge_small(tally, mixture, 13)
    assert (nobody.weights == np.zeros((1, d))).all()
    assert nobody.shares == pytest.approx([1.0])
