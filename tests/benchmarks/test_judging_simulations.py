"""The simulated laws of judging, with fewer runs than the benchmark and wider tolerance: sums and
filter are the generative judge's own."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.judging_simulations import (
    POOR,
    POORER,
    SHARP,
    simulate_best,
    simulate_filter,
    simulate_judge,
    simulate_softmax,
)

RUNS = 3_000


@pytest.mark.parametrize(("truth", "target"), [(0.0, 3.07), (1.0, 8.43)])
def test_a_perfect_judge_gains_with_the_square_of_k(truth: float, target: float) -> None:
    k = 128
    density = np.exp(-(truth**2) / 2) / np.sqrt(2 * np.pi)
    error = simulate_best(k, truth, 20_000)
    assert error * k**2 == pytest.approx(1 / (2 * density**2), rel=0.06)
    assert error * k**2 == pytest.approx(target, rel=0.06)


def test_a_finite_k_is_best_for_a_judge_that_is_wrong_in_its_own_way() -> None:
    error = {k: simulate_judge(k, runs) for k, runs in ((1, RUNS), (8, RUNS), (64, 300), (256, 40))}
    assert error[1] == pytest.approx(1.98, abs=0.13)
    assert error[8] == pytest.approx(0.45, abs=0.03)
    assert error[256] == pytest.approx(0.99, abs=0.1)
    assert error[8] < error[64] < error[1] and error[8] < error[256] < error[1]
    assert simulate_softmax(64, 1.0, 20_000) == pytest.approx(0.44, abs=0.02)


def test_a_filter_of_samples_pays_only_with_a_good_meta_judge() -> None:
    plain, sharp, poor = (simulate_filter("useless", 0.5, d, RUNS) for d in (None, SHARP, POOR))
    assert plain == pytest.approx(0.73, abs=0.03)
    assert sharp == pytest.approx(0.85, abs=0.03)
    assert poor == pytest.approx(0.75, abs=0.03)
    assert plain + 0.01 < poor < sharp - 0.05


def test_a_poor_filter_of_misled_samples_loses_to_the_plain_vote() -> None:
    plain, poorer = (simulate_filter("misled", 0.3, d, RUNS) for d in (None, POORER))
    assert plain == pytest.approx(0.70, abs=0.03)
    assert poorer == pytest.approx(0.69, abs=0.03)
    assert poorer < plain
