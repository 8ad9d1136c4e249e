"""The arithmetic of `annotators.planning`, on arrays: who votes best together, how many samples
are enough, how sharp a vote is.

Verdicts are classes by number (0 a, 1 b, 2 tie, -1 none).
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Places = NDArray[np.int64]

NONE = -1
TIE = 2
MOST_JUDGES = 12  # the best by themselves are tried together
SAMPLE_COUNTS = (1, 2, 4, 8, 16)
RESAMPLES = 64
TEMPERATURES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)


def choose_jury(said: Places, truth: Places, folds: Places) -> tuple[int, ...]:
    """The places of the judges that vote best together, greedily by held-out accuracy.

    Starts from the best judge and adds one or two at a time (two equal voters never outvote the
    first, so a second alone gains nothing) while that gains more than the standard error of the
    gain. Weights are fitted on the other folds.

    Args:
        said: (pair, judge) the class of each verdict, -1 for none.
        truth: (pair) gold's class.
        folds: (pair) the fold that holds it out.
    """
    if not said.size:
        return ()
    parts = weigh_held_out(said, truth, folds)
    alone = [(vote(parts[:, j]) == truth).mean() for j in range(said.shape[1])]
    tried = sorted(range(said.shape[1]), key=lambda j: (-alone[j], j))[:MOST_JUDGES]
    jury: tuple[int, ...] = (tried[0],)
    right = vote(parts[:, jury[0]]) == truth
    while True:
        rest = [j for j in tried if j not in jury]
        more = [*combinations(rest, 1), *combinations(rest, 2)]
        found = [vote(parts[:, [*jury, *new]].sum(axis=1)) == truth for new in more]
        best = max(range(len(more)), key=lambda i: found[i].mean(), default=None)
        if best is None:
            return jury
        gain = found[best].astype(float) - right
        if gain.mean() <= gain.std() / np.sqrt(len(gain)):
            return jury
        jury, right = (*jury, *more[best]), found[best]


def choose_samples(
    pair: Places, group: Places, label: Places, truth: Places, seed: int = 0
) -> tuple[tuple[int, float, float], ...]:
    """Accuracy of a judge's majority by the number of samples taken in each order.

    Only pairs with as many samples as the largest k count, so that every k is tried on the same
    ones; that k is the largest of `SAMPLE_COUNTS` that half of the pairs have. A draw is a tie.

    Args:
        pair: (verdict) its pair, 0 .. pairs - 1.
        group: (verdict) its pair and order, 0 .. groups - 1.
        label: (verdict) its class.
        truth: (pair) gold's class.

    Returns:
        (k, accuracy, standard error over pairs, with one more pair right and one wrong) for each k;
        empty without verdicts.
    """
    if not len(pair):
        return ()
    size = np.bincount(group)
    fewest = np.full(len(truth), np.iinfo(np.int64).max)
    np.minimum.at(fewest, pair, size[group])
    asked = np.unique(pair)
    most = max(k for k in SAMPLE_COUNTS if k <= max(np.median(fewest[asked]), 1))
    kept = asked[fewest[asked] >= most]
    use = np.isin(pair, kept)
    pair, group, label = pair[use], group[use], label[use]
    counts = [k for k in SAMPLE_COUNTS if k <= most]
    right = np.zeros((len(counts), len(truth)))
    generator = np.random.default_rng(seed)
    for _ in range(RESAMPLES):
        order = np.lexsort((generator.random(len(group)), group))
        starts = np.r_[True, group[order][1:] != group[order][:-1]]
        first = np.maximum.accumulate(np.where(starts, np.arange(len(group)), 0))
        rank = np.arange(len(group)) - first
        for at, k in enumerate(counts):
            taken = order[rank < k]
            cells = np.bincount(pair[taken] * 3 + label[taken], minlength=3 * len(truth))
            right[at] += vote(cells.reshape(-1, 3).astype(float)) == truth
    shares = right[:, kept] / RESAMPLES
    unseen = np.tile([0.0, 1.0], (len(counts), 1))  # so that no error of a few pairs is nought
    errors = np.hstack([shares, unseen]).std(axis=1) / np.sqrt(len(kept) + 2)
    return tuple(
        (k, float(share.mean()), float(error))
        for k, share, error in zip(counts, shares, errors, strict=True)
    )


def weigh(said: Places, truth: Places) -> tuple[Array, Array, Array]:
    """The log odds of each judge's accuracy (with one pseudo-verdict a class, so that a judge
    without verdicts weighs nothing), its right verdicts and its verdicts."""
    right = (said == truth[:, None]).sum(axis=0).astype(float)
    asked = (said != NONE).sum(axis=0).astype(float)
    accuracy = (right + 1) / (asked + 3)
    return np.log(2 * accuracy / (1 - accuracy)), right, asked


def weigh_held_out(said: Places, truth: Places, folds: Places) -> Array:
    """What each judge adds to each class of each pair (pair, judge, class), weights from the other
    folds."""
    weights = np.zeros(said.shape)
    for fold in np.unique(folds):
        out = folds == fold
        weights[out] = weigh(said[~out], truth[~out])[0]
    parts: Array = weights[:, :, None] * (said[:, :, None] == np.arange(3))
    return parts


def vote(totals: Array) -> Places:
    """The class of the greatest total; a draw is a tie, and no votes are no verdict."""
    rounded = totals.round(9)
    top = rounded.max(axis=1, keepdims=True, initial=-np.inf)
    leaders = (rounded == top).sum(axis=1)
    winner = np.where(leaders == 1, rounded.argmax(axis=1), TIE)
    return np.where((rounded == 0).all(axis=1), NONE, winner)


def choose_temperature(totals: Array, truth: Places) -> tuple[float | None, float | None]:
    """Of `TEMPERATURES` the one whose softmax of totals / T has the least log loss, and that loss
    in nats; None without pairs."""
    if not len(truth):
        return None, None
    losses = []
    for temperature in TEMPERATURES:
        scaled = totals / temperature
        spread = np.logaddexp.reduce(scaled, axis=1)
        losses.append(float((spread - scaled[np.arange(len(truth)), truth]).mean()))
    best = int(np.argmin(losses))
    return TEMPERATURES[best], losses[best]
