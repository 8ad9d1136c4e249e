"""How a reward model reads the labels of pairs: what a label's probability is taken for.

A row teaches by the loss w [p L(z - m) + (1 - p) L(-z - m)], with z the reward of the chosen
response less that of the rejected one and L(x) = log(1 + exp(-x)): Bradley-Terry with a weight w, a
label p and a margin m. A label of probability q sets them in one of three ways:

    margin      p = 1, m = the margin 2q - 1: the surer the label, the further apart the rewards
    soft        p = q, m = 0: both sides teach, each by its probability
    weighted    p = 1, m = 0, and w counts 2q - 1 of itself: what is unsure teaches little

A tie (q = 0.5) has p = 0.5 however it is read: it draws the two rewards together. By `weighted`
its weight is 0, and it teaches nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schemas.opinions import Reading

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Lessons:
    """What rows teach, each array of the shape (rows,): the probability `p_chosen` that the chosen
    response is the better one, the `weights`, and the `margins` in log odds."""

    p_chosen: Array
    weights: Array
    margins: Array


def read_labels(
    how: Reading, probability: ArrayLike, weight: ArrayLike, margin: ArrayLike
) -> Lessons:
    """Read labels.

    Args:
        how: `margin`, `soft` or `weighted`.
        probability: of the chosen side, 0.5 to 1, (rows,).
        weight: how much each row counts, at least 0, (rows,).
        margin: 2 probability - 1, as it was published, (rows,).
    """
    q, w, m = (np.asarray(given, dtype=np.float64) for given in (probability, weight, margin))
    called = np.where(q == 0.5, 0.5, 1.0)
    nothing = np.zeros_like(q)
    if how == "soft":
        return Lessons(q, w, nothing)
    if how == "weighted":
        return Lessons(called, w * m, nothing)
    return Lessons(called, w, m)
