"""A small reward model to probe labels with: frozen vectors of responses, one weight a dimension.

The chance that one response beats another is the logistic of their rewards' difference
(Bradley-Terry), the reward linear in the vector. It learns in a moment what a small model can, and
so tells whether labels teach more than others do. It is no model to train a policy by.

`fit_probe` is the model alone. `train_probe` makes it say probabilities that can be believed: its
margins are scaled by what models that never saw a prompt got right on it, and further models of
resampled prompts say how unsure it is. `annotators.curved_probe` is the same with a hidden layer,
and `annotators.held_out` asks either of them about pairs whose prompts they never saw.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from annotators.calibration import fit_platt, mirror_pairs
from schemas.errors import AssayError
from schemas.ids import make_seed, make_seeds

Array = NDArray[np.float64]
SPREAD = 4.0  # of the weights, before anything is learned: unit vectors then differ by a few logits
FOLDS = 5
BLOCK = 16_384  # rows that are told their margin at a time, in double precision


class NothingToLearn(AssayError):
    """No labelled pair, or too few prompts to hold some out."""


@dataclass(frozen=True, eq=False)
class Probe:
    """What `train_probe` found.

    Attributes:
        weights: (1 + members, dimensions); the first is fitted to all rows, the others to resampled
            prompts.
        slope: what turns its margins into log odds; 1 where they can be believed as they are.
        held_out: (pairs) the calibrated probability of each row, by models that saw no pair of its
            prompt; rows of weight 0 too.
        n: rows that taught.
        accuracy, log_loss: of `held_out` against the labels, rows weighted; the loss in nats.
    """

    weights: Array
    slope: float
    held_out: Array
    n: int
    accuracy: float
    log_loss: float

    def predict(self, apart: ArrayLike) -> Array:
        """The calibrated probability that the first response of each pair is better."""
        return expit(self.slope * (np.asarray(apart, dtype=np.float64) @ self.weights[0]))

    def measure_doubt(self, apart: ArrayLike) -> Array:
        """The standard deviation, over the members, of the log odds of each pair: what more labels
        would settle. Nought without members."""
        if len(self.weights) == 1:
            return np.zeros(len(np.asarray(apart)))
        margins = np.asarray(apart, dtype=np.float64) @ self.weights[1:].T
        doubt: Array = self.slope * margins.std(axis=1, ddof=1 if len(self.weights) > 2 else 0)
        return doubt


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


def train_probe(
    apart: Array,
    first_wins: ArrayLike,
    prompts: Sequence[str],
    spread: float = SPREAD,
    *,
    weights: ArrayLike | None = None,
    margins: ArrayLike | None = None,
    members: int = 0,
    seed: int = 0,
) -> Probe:
    """`fit_probe`, calibrated by cross-fitting and, where wanted, an ensemble.

    Prompts are in one of `FOLDS` folds by their hash, so that the order of rows changes nothing.
    The slope is Platt's, fitted on held-out margins told both ways.

    Args:
        prompts: which prompt each pair belongs to.
        members: models of resampled prompts.

    Raises:
        NothingToLearn: no row has a weight, or all that have one are of a single fold.
    """
    label = np.asarray(first_wins, dtype=np.float64)
    weight = np.ones(len(apart)) if weights is None else np.asarray(weights, dtype=np.float64)
    raw = cross_fit(apart, label, prompts, spread, weights=weight, margins=margins, seed=seed)
    taught = weight > 0
    slope = find_slope(raw[taught], label[taught])
    held_out = expit(slope * raw)
    every = fit_probe(apart, label, spread, weights=weight, margins=margins)
    names, place = np.unique(np.asarray(prompts, dtype=object).astype(str), return_inverse=True)
    generator = np.random.default_rng(make_seed("probe", seed))
    found = [every]
    for _ in range(members):
        times = np.bincount(
            generator.integers(0, len(names), len(names)), minlength=len(names)
        )[place]  # fmt: skip
        found.append(fit_probe(apart, label, spread, weights=weight * times, margins=margins))
    right = np.where(held_out == 0.5, 0.5, np.where(held_out > 0.5, label, 1 - label))
    sure = np.clip(held_out, 1e-9, 1 - 1e-9)
    loss = -(label * np.log(sure) + (1 - label) * np.log(1 - sure))
    return Probe(
        weights=np.stack(found),
        slope=slope,
        held_out=held_out,
        n=int(taught.sum()),
        accuracy=float(np.average(right, weights=weight)),
        log_loss=float(np.average(loss, weights=weight)),
    )


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
        NothingToLearn: see `train_probe`.
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
        NothingToLearn: see `train_probe`.
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
