"""A small reward model to probe labels with: frozen vectors of responses, one weight a dimension.

The chance that one response beats another is the logistic of their rewards' difference
(Bradley-Terry), the reward linear in the vector. It learns in a moment what a small model can, and
so tells whether labels teach more than others do. It is no model to train a policy by.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SPREAD = 4.0  # of the weights, before anything is learned: unit vectors then differ by a few logits


def fit_probe(apart: Array, first_wins: NDArray[np.bool_], spread: float = SPREAD) -> Array:
    """The weights (dimensions) that explain the labels best, by maximum a posteriori.

    Swapping the responses of a pair with its label changes nothing.

    Args:
        apart: the vector of one response less that of the other, (pairs, dimensions).
        first_wins: whether the one is better, (pairs).
        spread: the standard deviation of the weights' normal prior.
    """
    from scipy.optimize import minimize

    turned = np.where(first_wins, 1.0, -1.0)[:, None] * apart.astype(np.float64)

    def lose(weights: Array) -> tuple[float, Array]:
        margin = turned @ weights
        loss = np.logaddexp(0.0, -margin).sum() + (weights**2).sum() / (2 * spread**2)
        wrong = 0.5 * (1 - np.tanh(margin / 2))  # the logistic of -margin, without overflow
        return float(loss), weights / spread**2 - turned.T @ wrong

    start = np.zeros(apart.shape[1])
    found: Array = minimize(lose, start, jac=True, method="L-BFGS-B").x
    return found


def call_winners(weights: Array, apart: Array) -> Array:
    """1 where the first response of a pair has the higher reward, 0 where the other, 0.5 where
    neither: (pairs)."""
    margin = apart @ weights
    called: Array = (1 + np.sign(margin)) / 2
    return called
