"""A linear reward model: right where vectors tell, and blind to which response stands first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators import probe
from annotators.calibration import measure_ece
from annotators.curved_probe import fit_curved
from annotators.probe import NothingToLearn, call_winners, cross_fit, fit_probe, train_probe


def make_pairs(seed: int, n: int, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    apart = generator.normal(size=(n, 8))
    wins = apart @ np.arange(8.0) > 0
    return apart, np.where(generator.random(n) < noise, ~wins, wins)


def test_what_vectors_tell_is_learned_and_noise_costs_little() -> None:
    apart, wins = make_pairs(1, 2_000)
    weights = fit_probe(apart[:500], wins[:500])
    assert (call_winners(weights, apart[500:]) == wins[500:]).mean() > 0.95
    apart, noisy = make_pairs(1, 2_000, noise=0.3)
    assert (call_winners(fit_probe(apart[:500], noisy[:500]), apart[500:]) == wins[500:]
            ).mean() > 0.85  # fmt: skip


@settings(max_examples=20)
@given(st.integers(0, 1_000), st.lists(st.booleans(), min_size=30, max_size=30))
def test_turning_a_pair_round_changes_nothing(seed: int, turned: list[bool]) -> None:
    apart, wins = make_pairs(seed, 30, noise=0.2)
    turn = np.array(turned)
    other = fit_probe(np.where(turn[:, None], -apart, apart), wins ^ turn)
    np.testing.assert_allclose(fit_probe(apart, wins), other, atol=1e-3)


def test_nothing_learned_calls_nobody() -> None:
    weights = fit_probe(np.zeros((0, 3)), np.zeros(0, dtype=bool))
    assert weights.tolist() == [0, 0, 0]
    assert call_winners(weights, np.ones((2, 3))).tolist() == [0.5, 0.5]
    huge = fit_probe(np.full((2, 1), 1e6), np.array([True, True]))
    assert np.isfinite(huge).all() and huge[0] > 0


def make_prompts(n: int, of_each: int = 5) -> list[str]:
    return [f"prompt {place // of_each}" for place in range(n)]


def test_soft_labels_ties_weights_and_margins_are_what_they_say() -> None:
    apart, wins = make_pairs(3, 200, noise=0.2)
    twice = np.concatenate([apart, apart[:50]]), np.concatenate([wins, wins[:50]])
    heavy = np.where(np.arange(200) < 50, 2.0, 1.0)
    np.testing.assert_allclose(fit_probe(*twice), fit_probe(apart, wins, weights=heavy), atol=1e-3)
    both = np.concatenate([apart, apart]), np.r_[np.ones(200), np.zeros(200)]
    halves = fit_probe(*both, weights=np.r_[np.where(wins, 0.8, 0.2), np.where(wins, 0.2, 0.8)])
    np.testing.assert_allclose(halves, fit_probe(apart, np.where(wins, 0.8, 0.2)), atol=1e-3)
    assert np.abs(fit_probe(apart, np.full(200, 0.5))).max() < 1e-6, "ties teach no side"
    led = fit_probe(apart, wins, margins=np.full(200, 2.0))
    assert np.linalg.norm(led) > 1.1 * np.linalg.norm(fit_probe(apart, wins))


def test_held_out_probabilities_are_calibrated_and_those_of_weight_nought_get_one() -> None:
    generator = np.random.default_rng(4)
    apart = generator.normal(size=(3_000, 8))
    wins = apart @ np.linspace(0, 0.8, 8) + generator.logistic(size=3_000) > 0
    weights = (np.arange(3_000) < 2_000).astype(float)
    found = train_probe(apart, wins, make_prompts(3_000), weights=weights, members=2)
    assert found.n == 2_000
    fresh = found.held_out[2_000:]
    assert np.mean((fresh > 0.5) == wins[2_000:]) == pytest.approx(0.75, abs=0.05)
    assert measure_ece(fresh, wins[2_000:].astype(float)) < 0.08  # type: ignore[operator]
    assert found.accuracy == pytest.approx(0.75, abs=0.05) and found.log_loss < np.log(2)
    doubt = found.measure_doubt(apart)
    assert (doubt > 0).all() and doubt.shape == (3_000,)


def test_noise_alone_is_told_at_even_odds() -> None:
    apart, _ = make_pairs(5, 600)
    coin = np.random.default_rng(0).random(600) < 0.5
    found = train_probe(apart, coin, make_prompts(600))
    assert np.abs(found.held_out - 0.5).mean() < 0.1


def test_labels_of_one_prompt_cannot_be_held_out() -> None:
    apart, wins = make_pairs(6, 20)
    with pytest.raises(NothingToLearn, match="20 labelled pairs of 1 folds"):
        train_probe(apart, wins, ["the same"] * 20)
    with pytest.raises(NothingToLearn, match="0 labelled pairs"):
        train_probe(apart, wins, make_prompts(20), weights=np.zeros(20))


def test_a_hidden_layer_learns_what_a_line_cannot() -> None:
    generator = np.random.default_rng(7)
    first, second = generator.normal(size=(2, 1_500, 4))
    wins = np.abs(first[:, 0]) > np.abs(second[:, 0])
    curved = fit_curved(first[:1_000], second[:1_000], wins[:1_000], hidden=8)
    assert ((curved.predict(first[1_000:], second[1_000:]) > 0.5) == wins[1_000:]).mean() > 0.85
    line = fit_probe((first - second)[:1_000], wins[:1_000])
    assert (call_winners(line, (first - second)[1_000:]) == wins[1_000:]).mean() < 0.6
    again = fit_curved(first[:1_000], second[:1_000], wins[:1_000], hidden=8)
    np.testing.assert_array_equal(again.hidden, curved.hidden)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1_000), st.integers(1, 60), st.booleans())
def test_blocks_and_single_precision_change_no_margin(seed: int, block: int, single: bool) -> None:
    apart, wins = make_pairs(seed, 80, noise=0.2)
    taught = (np.arange(80) % 3 > 0).astype(float)
    prompts = [f"p{place // 2}" for place in range(80)]
    whole = cross_fit(apart, wins, prompts, weights=taught)
    given_ = apart.astype(np.float32) if single else apart
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "BLOCK", block)
        found = cross_fit(given_, wins, prompts, weights=taught)
    np.testing.assert_allclose(found, whole, rtol=1e-4 if single else 1e-9, atol=1e-3)
