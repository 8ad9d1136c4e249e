"""Scores of a group from whatever pairs of it were compared, with the errors of their differences.

Two fits of one graph of comparisons: least squares on margins, the default, and Bradley-Terry
(Bradley and Terry 1952) on margins read as shares of a win. Both pull scores to 0 by a ridge, which
is a prior: it keeps the undefeated and the never compared finite. Errors are those of the
posterior, so an item without comparisons has a wide one, not none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from annotators.ranking.cycles import average_margins, find_cycles, label_components
from annotators.ranking.standing import Comparison, FloatArray, compute_quantiles, rank_scores

NOISE = 0.5
NOISE_WEIGHT = 4
PRECISE = 1e-9


@dataclass(frozen=True)
class Fit:
    """Scores of n items, their mean 0, in margins (least squares) or logits (Bradley-Terry).

    `errors` are standard errors of the scores about that mean, `covariance` (n, n) their
    covariance: the error of a difference needs it, see `measure_differences`. `ranks` and
    `quantiles` as in `Standing`.
    """

    scores: FloatArray
    errors: FloatArray
    covariance: FloatArray
    ranks: FloatArray
    quantiles: FloatArray
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True)
class SelectedPair:
    """A pair whose order is certain enough to export; `difference` and its error `se` in the unit
    of the fit."""

    winner: int
    loser: int
    difference: float
    se: float


def fit_least_squares(n: int, comparisons: Sequence[Comparison], ridge: float = 0.2) -> Fit:
    """Minimise sum (d_ij - (s_i - s_j))^2 + ridge ||s||^2.

    The covariance is sigma^2 (B'B + ridge I)^-1, B the signed incidence of the comparisons. It is
    the posterior of s ~ N(0, sigma^2 / ridge), under which the minimum itself, divided by the
    number of comparisons, estimates sigma^2, on a tree too. A few comparisons say little of it, so
    it is averaged with NOISE^2 as if that came of NOISE_WEIGHT comparisons more.

    Args:
        comparisons: (i, j, margin): margins from -1 to 1, positive where i is better. NaN (failed)
            is left out; a pair may come several times.

    Raises:
        ValueError: an index outside 0..n-1, an item against itself, a margin outside [-1, 1].
    """
    signs, margins = _read_comparisons(n, comparisons)
    inverse = np.linalg.inv(signs.T @ signs + ridge * np.eye(n))
    scores = inverse @ (signs.T @ margins)
    least = np.sum((margins - signs @ scores) ** 2) + ridge * np.sum(scores**2)
    noise = (NOISE_WEIGHT * NOISE**2 + least) / (NOISE_WEIGHT + len(margins))
    return _make_fit(scores, noise * _center(inverse, ridge), comparisons)


def fit_bradley_terry(n: int, comparisons: Sequence[Comparison], ridge: float = 0.2) -> Fit:
    """Maximise sum p log S(s_i - s_j) + (1 - p) log S(s_j - s_i) - ridge/2 ||s||^2, S the logistic
    function and p = (1 + margin) / 2, by Newton's method.

    The covariance is the inverse of the Hessian (Laplace): each comparison counts as one verdict,
    however sure the judge was of it.

    Args and Raises: see `fit_least_squares`.
    """
    signs, margins = _read_comparisons(n, comparisons)
    wins = (1 + margins) / 2
    scores = np.zeros(n)
    hessian = ridge * np.eye(n)
    for _ in range(100):
        chance = 1 / (1 + np.exp(-(signs @ scores)))
        hessian = signs.T @ (signs * (chance * (1 - chance))[:, None]) + ridge * np.eye(n)
        step = np.linalg.solve(hessian, signs.T @ (wins - chance) - ridge * scores)
        scores = scores + step
        if np.max(np.abs(step), initial=0) < PRECISE:
            break
    return _make_fit(scores, _center(np.linalg.inv(hessian), ridge), comparisons)


def measure_differences(fit: Fit) -> tuple[FloatArray, FloatArray]:
    """s_i - s_j and its standard error for every i and j, two (n, n) arrays; the errors follow from
    var_i + var_j - 2 cov_ij and are 0 on the diagonal."""
    variances = np.diag(fit.covariance)
    spread = variances[:, None] + variances[None, :] - 2 * fit.covariance
    np.fill_diagonal(spread, 0)
    return fit.scores[:, None] - fit.scores[None, :], np.sqrt(np.maximum(spread, 0))


def select_pairs(fit: Fit, z: float = 2.0) -> list[SelectedPair]:
    """The pairs to export: |s_i - s_j| > z times its standard error, the surest first.

    Left out are two members of one preference cycle (`annotators.ranking.cycles`), whatever their
    scores, and two that no chain of comparisons joins, whose difference is the prior's word alone.
    """
    n = len(fit.scores)
    difference, se = measure_differences(fit)
    joined = label_components(n, average_margins(fit.comparisons), strong=False)
    cycle_of = {item: place for place, cycle in enumerate(find_cycles(n, fit.comparisons))
                for item in cycle.members}  # fmt: skip
    pairs = [
        SelectedPair(int(i), int(j), float(difference[i, j]), float(se[i, j]))
        for i, j in np.argwhere(difference > z * se)
        if joined[i] == joined[j]
        and (i not in cycle_of or cycle_of[i] != cycle_of.get(j))
    ]  # fmt: skip
    return sorted(pairs, key=lambda pair: (-pair.difference / pair.se, pair.winner, pair.loser))


def _read_comparisons(n: int, comparisons: Sequence[Comparison]) -> tuple[FloatArray, FloatArray]:
    """The signed incidence (comparisons, n) and the margins, without those that failed."""
    valid = [(i, j, margin) for i, j, margin in comparisons if not math.isnan(margin)]
    signs = np.zeros((len(valid), n))
    for row, (i, j, margin) in enumerate(valid):
        if not (0 <= i < n and 0 <= j < n and i != j):
            raise ValueError(f"({i}, {j}) is no pair of items 0 to {n - 1}")
        if abs(margin) > 1:
            raise ValueError(f"{margin} of the pair ({i}, {j}) is no margin from -1 to 1")
        signs[row, i], signs[row, j] = 1, -1
    return signs, np.array([margin for _, _, margin in valid], dtype=float)


def _center(inverse: FloatArray, ridge: float) -> FloatArray:
    """Without the variance of the common level, of which comparisons say nothing: the constant
    vector is an eigenvector of what was inverted, its eigenvalue the ridge."""
    return inverse - 1 / (ridge * max(len(inverse), 1))


def _make_fit(scores: FloatArray, covariance: FloatArray, comparisons: Sequence[Comparison]) -> Fit:
    ranks = rank_scores(scores)
    errors = np.sqrt(np.maximum(np.diag(covariance), 0))
    quantiles = compute_quantiles(ranks)
    return Fit(scores, errors, covariance, ranks, quantiles, tuple(comparisons))
