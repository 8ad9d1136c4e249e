"""Fits of a graph of comparisons: their laws, their errors, and which pairs they are sure of."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators.ranking.fit import (
    NOISE,
    fit_bradley_terry,
    fit_least_squares,
    measure_differences,
    select_pairs,
)
from annotators.ranking.standing import Comparison

SLOW_MACHINES = settings(deadline=None)
FITS = [fit_least_squares, fit_bradley_terry]
CHAIN = [(0, 1, 0.5), (1, 2, 0.5), (2, 3, 0.5)]

comparisons = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.integers(0, 5),
        st.one_of(st.floats(-1, 1), st.sampled_from([-1.0, 0.0, 1.0, math.nan])),
    ).filter(lambda row: row[0] != row[1]),
    max_size=20,
)


@pytest.mark.parametrize("fit", FITS)
@SLOW_MACHINES
@given(made=comparisons, order=st.permutations(range(6)))
def test_names_do_not_matter(fit, made: list[Comparison], order: list[int]) -> None:
    plain = fit(6, made)
    renamed = fit(6, [(order[i], order[j], margin) for i, j, margin in made])
    np.testing.assert_allclose(renamed.scores[order], plain.scores, atol=1e-8)
    np.testing.assert_allclose(renamed.errors[order], plain.errors, atol=1e-8)


@pytest.mark.parametrize("fit", FITS)
@SLOW_MACHINES
@given(made=comparisons)
def test_the_other_way_round_is_the_other_way_round(fit, made: list[Comparison]) -> None:
    plain = fit(6, made)
    turned = fit(6, [(i, j, -margin) for i, j, margin in made])
    swapped = fit(6, [(j, i, -margin) for i, j, margin in made])
    np.testing.assert_allclose(turned.scores, -plain.scores, atol=1e-8)
    np.testing.assert_allclose(swapped.scores, plain.scores, atol=1e-8)
    np.testing.assert_allclose(swapped.covariance, plain.covariance, atol=1e-8)


@pytest.mark.parametrize("fit", FITS)
@SLOW_MACHINES
@given(made=comparisons)
def test_everything_is_finite_and_sums_to_nothing(fit, made: list[Comparison]) -> None:
    found = fit(6, made)
    assert np.isfinite(found.scores).all() and (found.errors > 0).all()
    assert abs(found.scores.sum()) < 1e-8
    difference, se = measure_differences(found)
    np.testing.assert_allclose(difference, -difference.T)
    assert (se[~np.eye(6, dtype=bool)] > 0).all()
    failed = [row for row in made if not math.isnan(row[2])]
    np.testing.assert_array_equal(fit(6, failed).scores, found.scores)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("n", [0, 1, 2])
def test_tiny_groups(fit, n: int) -> None:
    found = fit(n, [(0, 1, 0.8)] if n == 2 else [])
    assert found.ranks.tolist() == [[], [0], [0, 1]][n]
    assert found.quantiles.tolist() == [[], [1], [1, 0]][n]
    assert select_pairs(found) == []


@pytest.mark.parametrize("fit", FITS)
def test_all_ties_are_one_place(fit) -> None:
    found = fit(4, [(i, j, 0.0) for i in range(4) for j in range(i)])
    assert found.ranks.tolist() == [0, 0, 0, 0]
    assert select_pairs(found) == []


def test_least_squares_is_the_minimum_of_its_formula() -> None:
    rng = np.random.default_rng(0)
    made = [(i, j, float(rng.uniform(-1, 1))) for i in range(5) for j in range(i)]
    found = fit_least_squares(5, made, ridge=0.7)

    def cost(scores: np.ndarray) -> float:
        return sum((d - scores[i] + scores[j]) ** 2 for i, j, d in made) + 0.7 * scores @ scores

    for _ in range(50):
        assert cost(found.scores + rng.normal(scale=0.01, size=5)) > cost(found.scores)


def test_bradley_terry_is_stationary_and_stands_an_undefeated_item() -> None:
    made = [(0, 1, 1.0), (0, 2, 1.0), (1, 2, 0.4), (3, 1, -0.2)]
    found = fit_bradley_terry(4, made)
    gradient = -0.2 * found.scores
    for i, j, margin in made:
        surprise = (1 + margin) / 2 - 1 / (1 + math.exp(found.scores[j] - found.scores[i]))
        gradient[i] += surprise
        gradient[j] -= surprise
    np.testing.assert_allclose(gradient, 0, atol=1e-8)
    assert found.ranks[0] == 0 and 1 < found.scores[0] < 10
    # Two items and no prior to speak of: p = 0.7 is a difference of log(0.7 / 0.3).
    alone = fit_bradley_terry(2, [(0, 1, 0.4)], ridge=1e-9)
    assert alone.scores[0] - alone.scores[1] == pytest.approx(math.log(7 / 3), rel=1e-6)


def test_bradley_terry_converges_from_extremes() -> None:
    long = [(i, i + 1, 1.0) for i in range(59)] * 50
    assert fit_bradley_terry(60, long).ranks.tolist() == list(range(60))
    # Almost no prior and lopsided counts.
    counts = {(5, 1, -1.0): 878, (1, 4, -1.0): 757, (1, 2, 1.0): 301, (0, 2, 1.0): 29,
              (0, 2, -1.0): 19, (5, 7, -1.0): 2}  # fmt: skip
    lopsided = [row for row, count in counts.items() for _ in range(count)]
    found = fit_bradley_terry(8, lopsided, ridge=1e-5)
    assert found.scores[0] - found.scores[2] == pytest.approx(math.log(29 / 19), abs=1e-3)
    assert found.ranks[4] == 0 and np.isfinite(found.errors).all()


def test_the_error_is_that_of_a_difference_and_covers_the_truth() -> None:
    """Scores drawn from the prior, margins with the noise that the fit expects: two errors cover
    95 % of the true differences. An error of single scores, added up as if independent, would not
    be the same number."""
    rng = np.random.default_rng(1)
    n, ridge, noise = 6, 20.0, 0.2
    pairs = [(i, j) for i in range(n) for j in range(i)] * 3
    covered = []
    for _ in range(400):
        truth = rng.normal(scale=noise / math.sqrt(ridge), size=n)
        noisy = [truth[i] - truth[j] + rng.normal(scale=noise) for i, j in pairs]
        made = [(i, j, float(np.clip(d, -1, 1))) for (i, j), d in zip(pairs, noisy, strict=True)]
        difference, se = measure_differences(fit_least_squares(n, made, ridge))
        off = np.abs(difference - (truth[:, None] - truth[None, :]))[np.triu_indices(n, 1)]
        covered.append(off < 2 * se[np.triu_indices(n, 1)])
    # The expected noise of 0.5, worth four comparisons, widens what 0.2 would give.
    assert 0.95 < np.mean(covered) < 0.995


@pytest.mark.parametrize("margin", [0.0, 0.6, 1.0])
def test_the_noise_is_the_minimum_over_the_comparisons_and_what_was_expected(margin: float) -> None:
    """One comparison: the minimum is d^2 ridge / (2 + ridge), a difference varies by 2 noise / (2 +
    ridge), and the expected noise of 0.25 weighs four times as much."""
    found = fit_least_squares(2, [(0, 1, margin)])
    noise = (4 * 0.25 + margin**2 * 0.2 / 2.2) / 5
    assert measure_differences(found)[1][0, 1] ** 2 == pytest.approx(noise * 2 / 2.2)


def test_errors_shrink_with_comparisons_and_grow_with_contradictions() -> None:
    once = measure_differences(fit_least_squares(4, CHAIN))[1]
    more = measure_differences(fit_least_squares(4, CHAIN * 4))[1]
    assert (more <= once).all() and more[0, 3] < once[0, 3]
    assert once[0, 3] > once[0, 1], "the ends of a chain are less sure than neighbours"
    at_odds = measure_differences(fit_least_squares(4, CHAIN * 2 + [(1, 0, 1.0), (2, 1, 1.0)]))[1]
    agreed = measure_differences(fit_least_squares(4, CHAIN * 2 + [(0, 1, 0.5), (1, 2, 0.5)]))[1]
    assert at_odds[0, 1] > agreed[0, 1]


def test_an_item_without_comparisons_is_unsure_and_not_exported() -> None:
    made = [(i, j, (j - i) / 4) for i in range(4) for j in range(i + 1, 4)] * 40
    found = fit_least_squares(5, made)
    assert found.errors[4] > 3 * found.errors[0] > 0
    pairs = select_pairs(found)
    assert {(pair.winner, pair.loser) for pair in pairs} == {
        (i, j) for i in range(4) for j in range(i + 1, 4)
    }
    # Sure as they are, nothing joins 4 to them; nor two islands to each other.
    islands = fit_least_squares(4, [(0, 1, 1.0), (2, 3, 0.2)] * 200)
    assert {(pair.winner, pair.loser) for pair in select_pairs(islands)} == {(0, 1), (2, 3)}
    assert measure_differences(islands)[0][0, 3] > 2 * measure_differences(islands)[1][0, 1]


def test_selected_pairs_carry_their_difference_and_error() -> None:
    found = fit_least_squares(3, [(0, 1, 0.9), (1, 2, 0.1), (0, 2, 1.0)] * 3)
    pairs = select_pairs(found)
    assert [(pair.winner, pair.loser) for pair in pairs] == [(0, 2), (0, 1)]
    difference, se = measure_differences(found)
    for pair in pairs:
        assert pair.difference == difference[pair.winner, pair.loser] > 2 * pair.se
        assert pair.se == se[pair.winner, pair.loser]
    assert len(select_pairs(found, z=0)) == 3


def test_no_pair_of_a_cycle_is_selected() -> None:
    cycle = [(0, 1, 1.0), (1, 2, 1.0), (2, 0, 0.05)]
    below = [(i, 3, 1.0) for i in range(3)]
    found = fit_least_squares(4, (cycle + below) * 30)
    difference, se = measure_differences(found)
    assert difference[0, 2] > 2 * se[0, 2], "the fit alone would be sure of it"
    assert {(pair.winner, pair.loser) for pair in select_pairs(found)} == {(0, 3), (1, 3), (2, 3)}


@SLOW_MACHINES
@given(comparisons)
def test_selected_pairs_have_one_direction_and_come_surest_first(made: list[Comparison]) -> None:
    pairs = select_pairs(fit_least_squares(6, made))
    both = {(pair.winner, pair.loser) for pair in pairs}
    assert not both & {(j, i) for i, j in both}
    sureness = [pair.difference / pair.se for pair in pairs]
    assert sureness == sorted(sureness, reverse=True) and all(z > 2 for z in sureness)


def test_one_comparison_alone_is_exported_only_where_the_judge_is_certain() -> None:
    assert NOISE == 0.5
    assert len(select_pairs(fit_least_squares(2, [(0, 1, 1.0)]))) == 1
    assert select_pairs(fit_least_squares(2, [(0, 1, 0.9)])) == []


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("row", [(0, 3, 0.1), (-1, 0, 0.1), (1, 1, 0.1), (0, 1, 1.1)])
def test_nonsense_is_refused(fit, row: Comparison) -> None:
    with pytest.raises(ValueError, match=r"pair"):
        fit(3, [row])
