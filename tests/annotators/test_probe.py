"""A linear reward model: right where vectors tell, and blind to which response stands first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators import probe
from annotators.curved_probe import fit_curved
from annotators.probe import call_winners, cross_fit, fit_probe


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


def test_a_hidden_layer_learns_what_a_line_cannot() -> None:
    generator = np.random.default_rng(7)
    first, second = generator.normal(size=(2, 1_500, 4))
    wins = np.abs(first[:, 0]) > np.abs(second[:, 0])
    curved = fit_curved(first[:1_000], second[:1_000], wins[:1_000], hidden=8)
    better = curved.reward(first[1_000:]) > curved.reward(second[1_000:])
    assert (better == wins[1_000:]).mean() > 0.85
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
