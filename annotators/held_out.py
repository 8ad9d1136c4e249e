"""What small reward models say of pairs whose prompts they never saw: one line, a curve, a crowd.

    straight   the probe of `annotators.probe`
    curved     the one with a hidden layer, `annotators.curved_probe`
    ensemble   `MEMBERS` straight ones, each of prompts drawn anew with replacement. Where they
               differ they say less: with m and s the mean and standard deviation of their margins,
               z = m / sqrt(1 + pi s^2 / 8) (MacKay, The Evidence Framework Applied to
               Classification Networks, 1992)

All are calibrated alike, by one slope over all margins held out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from annotators.curved_probe import fit_curved
from annotators.probe import find_slope, fit_probe, part_folds
from schemas.ids import make_seed

Array = NDArray[np.float64]
Shape = Literal["straight", "curved", "ensemble"]
MEMBERS = 8


def tell_held_out(
    shape: Shape,
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    first_wins: ArrayLike,
    prompts: Sequence[str],
    *,
    weights: ArrayLike | None = None,
    margins: ArrayLike | None = None,
    seed: int = 0,
) -> Array:
    """The calibrated probability that the first response of each pair is better, (pairs), by models
    that saw no pair of its prompt.

    Args:
        first, second: vectors of the two responses of each pair, (pairs, dimensions).
        first_wins: whether the first is better, or a probability (0.5 is a tie).
        prompts: which prompt each pair belongs to.
        weights: of the rows; pairs of weight 0 teach nothing and are told of. 1 each by default.
        margins: by how much, in log odds, the better one must lead; 0 by default.

    Raises:
        annotators.probe.NothingToLearn: the pairs that teach are of too few prompts.
    """
    label = np.asarray(first_wins, dtype=np.float64)
    weight = np.ones(len(label)) if weights is None else np.asarray(weights, dtype=np.float64)
    lead = np.zeros(len(label)) if margins is None else np.asarray(margins, dtype=np.float64)
    names = np.asarray(prompts, dtype=object).astype(str)
    learn = {"straight": _learn_line, "curved": _learn_curve, "ensemble": _learn_crowd}[shape]
    raw = np.zeros(len(label))
    for rest, mine in part_folds(prompts, weight, seed):
        speak = learn(
            first[rest], second[rest], label[rest], weight[rest], lead[rest], names[rest], seed
        )
        raw[mine] = speak(first[mine], second[mine])
    taught = weight > 0
    told: Array = expit(find_slope(raw[taught], label[taught]) * raw)
    return told


Speak = Callable[[NDArray[np.float32], NDArray[np.float32]], Array]


def _learn_line(
    first: Array, second: Array, label: Array, weight: Array, lead: Array, names: Array, seed: int
) -> Speak:
    found = fit_probe(first - second, label, weights=weight, margins=lead)
    return lambda one, other: (one - other).astype(np.float64) @ found


def _learn_curve(
    first: Array, second: Array, label: Array, weight: Array, lead: Array, names: Array, seed: int
) -> Speak:
    found = fit_curved(first, second, label, weights=weight, margins=lead, seed=seed)
    return lambda one, other: found.reward(one) - found.reward(other)


def _learn_crowd(
    first: Array, second: Array, label: Array, weight: Array, lead: Array, names: Array, seed: int
) -> Speak:
    known, place = np.unique(names, return_inverse=True)
    generator = np.random.default_rng(make_seed("ensemble", seed))
    members = []
    for _ in range(MEMBERS):
        drawn = np.bincount(generator.integers(0, len(known), len(known)), minlength=len(known))
        times = weight * drawn[place]
        members.append(fit_probe(first - second, label, weights=times, margins=lead))
    found = np.stack(members, axis=1)

    def speak(one: NDArray[np.float32], other: NDArray[np.float32]) -> Array:
        margin = (one - other).astype(np.float64) @ found
        doubt = margin.var(axis=1, ddof=1)
        told: Array = margin.mean(axis=1) / np.sqrt(1 + np.pi * doubt / 8)
        return told

    return speak
