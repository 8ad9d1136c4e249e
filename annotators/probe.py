"""A small reward model to probe labels with: frozen vectors of responses, one weight a dimension.

The chance that one response beats another is the logistic of their rewards' difference
(Bradley-Terry), the reward linear in the vector. It learns in a moment what a small model can, and
so tells whether labels teach more than others do. It is no model to train a policy by.

`annotators.curved_probe` is the same with a hidden layer, and `annotators.held_out` has either of
them, or several, say probabilities that can be believed of pairs whose prompts they never saw.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from annotators.calibration import fit_platt, mirror_pairs
from schemas.errors import AssayError
from schemas.ids import make_seeds

Array = NDArray[np.float64]
SPREAD = 4.0  # of the weights, before anything is learned: unit vectors then differ by a few logits
FOLDS = 5
BLOCK = 16_384  # rows that are told their margin at a time, in double precision


class NothingToLearn(AssayError):
    """No labelled pair, or too few prompts to hold some out."""


def fit_probe(
    apart: Array,
    first_wins: ArrayLike,
    spread: float = SPREAD,
    *,
    weights: ArrayLike | None = None,
    margins: ArrayLike | None = None,
    start: Array | None = None,
) -> Array:
    """The weights (dimensions) that explain the labels best, by maximum a posteriori.

    With z = w . apart, t the label, m the margin and u the row's weight it minimises
    sum u [t L(z - m) + (1 - t) L(-z - m)] + |w|^2 / (2 spread^2), L(x) = log(1 + exp(-x)).
    Swapping the responses of a pair with its label changes nothing.

    Args:
        apart: the vector of one response less that of the other, (pairs, dimensions).
        first_wins: whether the one is better, (pairs); or a probability, of which 0.5 is a tie.
        spread: the standard deviation of the weights' normal prior.
        weights: of the rows, 0 or more; 1 each by default.
        margins: by how much, in log odds, the better one must lead, (pairs); 0 by default.
        start: weights to set out from, (dimensions); near the end it is sooner there.
    """
    from scipy.optimize import minimize

    label = np.asarray(first_wins, dtype=np.float64)
    weight = np.ones(len(apart)) if weights is None else np.asarray(weights, dtype=np.float64)
    lead = np.zeros(len(apart)) if margins is None else np.asarray(margins, dtype=np.float64)
    taught = weight > 0
    rows = apart[taught].astype(np.float64)
    label, weight, lead = label[taught], weight[taught], lead[taught]
    win, lose = weight * label, weight * (1 - label)

    def measure(found: Array) -> tuple[float, Array]:
        z = rows @ found
        loss = win @ np.logaddexp(0.0, lead - z) + lose @ np.logaddexp(0.0, lead + z)
        pull = lose * expit(z + lead) - win * expit(lead - z)
        loss += (found**2).sum() / (2 * spread**2)
        return float(loss), found / spread**2 + rows.T @ pull

    first = np.zeros(rows.shape[1]) if start is None else start
    found: Array = minimize(measure, first, jac=True, method="L-BFGS-B").x
    return found


def cross_fit(
    apart: Array,
    first_wins: ArrayLike,
    prompts: Sequence[str],
    spread: float = SPREAD,
    *,
    weights: ArrayLike | None = None,
    margins: ArrayLike | None = None,
    seed: int = 0,
) -> Array:
    """The margin of each pair (those of weight 0 too) by a model that saw no pair of its prompt.

    Only the rows that teach are copied; `apart` may be in single precision.

    Raises:
        NothingToLearn: no row has a weight, or all that have one are of a single fold.
    """
    label = np.asarray(first_wins, dtype=np.float64)
    weight = np.ones(len(apart)) if weights is None else np.asarray(weights, dtype=np.float64)
    found = np.zeros(len(apart))
    for rest, places in part_folds(prompts, weight, seed):
        lead = None if margins is None else np.asarray(margins)[rest]
        model = fit_probe(apart[rest], label[rest], spread, weights=weight[rest], margins=lead)
        for at in range(0, len(places), BLOCK):
            some = places[at : at + BLOCK]
            found[some] = apart[some].astype(np.float64) @ model
    return found


def part_folds(
    prompts: Sequence[str], weights: Array, seed: int = 0
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """For each fold of prompts the places of the pairs that teach outside of it, and of all within.

    Raises:
        NothingToLearn: see `cross_fit`.
    """
    folds = fold_prompts(prompts, seed)
    taught = weights > 0
    count = len(np.unique(folds[taught]))
    if count < 2:
        raise NothingToLearn(
            f"{int(taught.sum())} labelled pairs of {count} folds of prompts: label pairs of at "
            f"least {2 * FOLDS} prompts"
        )
    for fold in np.unique(folds):
        yield np.flatnonzero((folds != fold) & taught), np.flatnonzero(folds == fold)


def fold_prompts(prompts: Sequence[str], seed: int = 0) -> NDArray[np.int64]:
    """The fold of each pair, by the hash of its prompt."""
    names = list(set(prompts))
    known = dict(zip(names, make_seeds(map(str, names), "fold", seed), strict=True))
    seeds = np.fromiter(map(known.__getitem__, prompts), dtype=np.int64, count=len(prompts))
    return seeds % FOLDS


def call_winners(weights: Array, apart: Array) -> Array:
    """1 where the first response of a pair has the higher reward, 0 where the other, 0.5 where
    neither: (pairs)."""
    margin = apart @ weights
    called: Array = (1 + np.sign(margin)) / 2
    return called


def find_slope(margins: Array, label: Array) -> float:
    """What turns held-out margins into log odds (Platt's). Never below nought: what errs more often
    than not is no reverse oracle but knows nothing."""
    return max(0.0, fit_platt(*mirror_pairs(expit(margins), label)).slope)
