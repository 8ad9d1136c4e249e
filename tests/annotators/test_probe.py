"""A linear reward model: right where vectors tell, and blind to which response stands first."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators.probe import call_winners, fit_probe


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
