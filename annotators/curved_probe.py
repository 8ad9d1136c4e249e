"""The probe with a hidden layer: a reward that is no straight line in the vector.

r(x) = sum_h v_h tanh(u_h . x + b_h), and Bradley-Terry over rewards as in `annotators.probe`. It
costs seconds instead of tenths of them; like the straight one it is for probing labels, not for
training a policy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from schemas.ids import make_seed

Array = NDArray[np.float64]
HIDDEN = 16
SPREAD = 4.0
ROUNDS = 80


@dataclass(frozen=True, eq=False)
class CurvedProbe:
    """`hidden` (units, dimensions + 1), the last column added; and `out` (units)."""

    hidden: Array
    out: Array

    def reward(self, vectors: ArrayLike) -> Array:
        """The reward of each response: (n)."""
        return np.tanh(_add_one(vectors) @ self.hidden.T) @ self.out


def fit_curved(
    first: ArrayLike,
    second: ArrayLike,
    first_wins: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    margins: ArrayLike | None = None,
    hidden: int = HIDDEN,
    spread: float = SPREAD,
    seed: int = 0,
) -> CurvedProbe:
    """Fit by maximum a posteriori from a seeded start; deterministic.

    Args:
        first, second: vectors of the two responses of each pair, (pairs, dimensions).
        first_wins: whether the first is better, or a probability (0.5 is a tie).
        weights: of the rows; 1 each by default.
        margins: by how much, in log odds, the better one must lead; 0 by default.
        hidden: units.
        spread: the standard deviation of the normal prior of every number.
    """
    from scipy.optimize import minimize

    one, other = _add_one(first), _add_one(second)
    label = np.asarray(first_wins, dtype=np.float64)
    weight = np.ones(len(one)) if weights is None else np.asarray(weights, dtype=np.float64)
    lead = np.zeros(len(one)) if margins is None else np.asarray(margins, dtype=np.float64)
    win, lose = weight * label, weight * (1 - label)
    dimensions = one.shape[1]
    generator = np.random.default_rng(make_seed("curved probe", seed))
    start = np.concatenate([generator.normal(size=hidden * dimensions) / np.sqrt(dimensions) * 2,
                            generator.normal(size=hidden) * 0.1])  # fmt: skip

    def measure(numbers: Array) -> tuple[float, Array]:
        u, v = numbers[:-hidden].reshape(hidden, dimensions), numbers[-hidden:]
        bent_one, bent_other = np.tanh(one @ u.T), np.tanh(other @ u.T)
        z = (bent_one - bent_other) @ v
        loss = win @ np.logaddexp(0.0, lead - z) + lose @ np.logaddexp(0.0, lead + z)
        loss += numbers @ numbers / (2 * spread**2)
        pull = lose * expit(z + lead) - win * expit(lead - z)
        down = (1 - bent_one**2) * pull[:, None], (1 - bent_other**2) * pull[:, None]
        slope = np.concatenate(
            [((down[0].T @ one - down[1].T @ other) * v[:, None]).ravel(),
             (bent_one - bent_other).T @ pull]
        )  # fmt: skip
        return float(loss), slope + numbers / spread**2

    limit = {"maxiter": ROUNDS}
    found = minimize(measure, start, jac=True, method="L-BFGS-B", options=limit).x
    return CurvedProbe(found[:-hidden].reshape(hidden, dimensions), found[-hidden:])


def _add_one(vectors: ArrayLike) -> Array:
    rows = np.asarray(vectors, dtype=np.float64)
    return np.column_stack([rows, np.ones(len(rows))])
