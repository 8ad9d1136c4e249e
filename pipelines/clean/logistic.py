"""A pairwise logistic model on differences: the least that can learn from preferences.

Bradley and Terry's: the probability that the first of two responses is chosen is the logistic of a
weighted sum of how they differ. There is no intercept, since a pair has no order of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
FOLDS = 5
STEPS = 50


def fit_logistic(differences: Floats, ridge: float = 1.0) -> Floats:
    """The weights under which the first responses are most likely to be the chosen ones, by
    Newton's method.

    Args:
        differences: (pairs, features), chosen less rejected.
        ridge: weight of the penalty; with it, features that separate all pairs stay finite.
    """
    weights = np.zeros(differences.shape[1])
    for _ in range(STEPS):
        p = predict(differences, weights)
        slope = differences.T @ (1 - p) - ridge * weights
        bend = (differences * (p * (1 - p))[:, None]).T @ differences
        step = np.linalg.solve(bend + ridge * np.eye(len(weights)), slope)
        weights = weights + step
        if np.abs(step).max(initial=0.0) < 1e-8:
            break
    return weights


def predict(differences: Floats, weights: Floats) -> Floats:
    """The probability that the first response of each pair is the chosen one."""
    return 1 / (1 + np.exp(-np.clip(differences @ weights, -50, 50)))


def predict_out_of_fold(
    differences: Floats, groups: Sequence[str], seed: int, ridge: float = 1.0
) -> Floats:
    """The probability of each pair's label by models that saw no pair of its group.

    Features are scaled to a mean square of 1. Which of `FOLDS` folds a group is in follows from its
    name and the seed alone, so that the order of the pairs changes nothing.
    """
    scale = np.sqrt((differences**2).mean(axis=0)) if len(differences) else np.ones(1)
    scaled = differences / np.where(scale > 0, scale, 1)
    known = {name: _find_fold(name, seed) for name in set(groups)}
    folds = np.array([known[name] for name in groups], dtype=np.int64)
    p = np.full(len(scaled), 0.5)
    for fold in range(FOLDS):
        mine = folds == fold
        if mine.any() and not mine.all():
            p[mine] = predict(scaled[mine], fit_logistic(scaled[~mine], ridge))
    return p


def _find_fold(name: str, seed: int) -> int:
    digest = hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % FOLDS
