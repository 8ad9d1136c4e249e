"""The arithmetic of `annotators.planning`, on arrays: who votes best together, how many samples
are enough, how sharp a vote is.

Verdicts are classes by number (0 a, 1 b, 2 tie, -1 none).
"""

from __future__ import annotations

from itertools import combinations
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from annotators.votes import TIE_WIDTH

Array = NDArray[np.float64]
Places = NDArray[np.int64]

NONE = -1
TIE = 2
DOUBT = 0.05
MOST_JUDGES = 12  # the best by themselves are tried together
SAMPLE_COUNTS = (1, 2, 4, 8, 16)
RESAMPLES = 64
TEMPERATURES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)


def choose_jury(said: Places, truth: Places, folds: Places) -> tuple[int, ...]:
    """The places of the judges that vote best together, greedily by held-out accuracy.

    Starts from the best judge, if it is better than `guess` with 95 % confidence (shared among all
    that were tried), else nobody is chosen; then adds one or two at a time (two equal voters never
    outvote the first, so a second alone gains nothing) while that gains more than the standard
    error of the gain. Where the jury has no verdict, it guesses. Weights are fitted on the other
    folds.

    Args:
        said: (pair, judge) the class of each verdict, -1 for none.
        truth: (pair) gold's class.
        folds: (pair) the fold that holds it out.
    """
    if not said.size:
        return ()
    parts = weigh_held_out(said, truth, folds)
    guessed = guess(truth, truth)

    def credit(*judges: int) -> Array:
        return mark(parts[:, judges].sum(axis=1), truth, guessed)

    alone = [credit(j).mean() for j in range(said.shape[1])]
    tried = sorted(range(said.shape[1]), key=lambda j: (-alone[j], j))[:MOST_JUDGES]
    sure = NormalDist().inv_cdf(1 - DOUBT / 2 / said.shape[1])
    jury: tuple[int, ...] = (tried[0],)
    right = credit(*jury)
    if not _gains(right - guessed, sure):
        return ()
    while True:
        rest = [j for j in tried if j not in jury]
        more = [*combinations(rest, 1), *combinations(rest, 2)]
        found = [credit(*jury, *new) for new in more]
        best = max(range(len(more)), key=lambda i: found[i].mean(), default=None)
        if best is None or not _gains(found[best] - right, 1.0):
            return jury
        jury, right = (*jury, *more[best]), found[best]


def guess(truth: Places, seen: Places) -> Array:
    """The chance to be right, pair by pair, of whoever reads nothing: the better, on the gold
    `seen`, of naming a side at random (which of two ids is smaller is chance) and always a tie."""
    tie = truth == TIE
    ties = (seen == TIE).mean() if len(seen) else 0.0
    chance: Array = np.where(tie, 1.0, 0.0) if ties > (1 - ties) / 2 else np.where(tie, 0.0, 0.5)
    return chance


def mark(totals: Array, truth: Places, guessed: Array) -> Array:
    """1 where the vote is gold's class and 0 where it is not; `guessed` where there is no vote."""
    winner = vote(totals)
    marks: Array = np.where(winner == NONE, guessed, (winner == truth).astype(float))
    return marks


def choose_samples(
    pair: Places, group: Places, p: Array, truth: Places, seed: int = 0
) -> tuple[tuple[int, float, float], ...]:
    """Accuracy of a judge's mean probability by the number of samples taken in each order: the
    verdict that juries and label policies read.

    Only pairs with as many samples as the largest k count, so that every k is tried on the same
    ones; that k is the largest of `SAMPLE_COUNTS` that half of the pairs have. A mean of one half
    is a tie.

    Args:
        pair: (verdict) its pair, 0 .. pairs - 1.
        group: (verdict) its pair and order, 0 .. groups - 1.
        p: (verdict) the probability that it gives the first response.
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
    pair, group, p = pair[use], group[use], p[use]
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
            total = np.bincount(pair[taken], p[taken] - 0.5, minlength=len(truth))
            mean = total / np.maximum(np.bincount(pair[taken], minlength=len(truth)), 1)
            leans = np.where(mean > TIE_WIDTH, 0, np.where(mean < -TIE_WIDTH, 1, TIE))
            right[at] += leans == truth
    shares = right[:, kept] / RESAMPLES
    unseen = np.tile([0.0, 1.0], (len(counts), 1))  # so that no error of a few pairs is nought
    errors = np.hstack([shares, unseen]).std(axis=1) / np.sqrt(len(kept) + 2)
    return tuple(
        (k, float(share.mean()), float(error))
        for k, share, error in zip(counts, shares, errors, strict=True)
    )


def _gains(gain: Array, errors: float) -> bool:
    """Whether a gain is greater, on average, than so many of its standard errors."""
    return bool(gain.mean() > errors * gain.std() / np.sqrt(len(gain)))


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
