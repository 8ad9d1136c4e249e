"""Expectation maximisation on arrays: the engine of `annotators.consensus`, without frames.

Dawid and Skene (1979), "Maximum likelihood estimation of observer error-rates using the EM
algorithm", for the three classes a, b, tie; with clamped gold, tied confusions and a prior added.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Places = NDArray[np.int64]

CLASSES = 3
SWAP = [1, 0, 2]  # where each class goes when the two responses change places
PRIOR_ROW = (0.7, 0.15)  # the share of the prior's pseudo-votes that is right, and each wrong one
TINY = 1e-10


@dataclass(frozen=True, eq=False)
class Tally:
    """Votes as arrays: row i says `count[i]` times that item `item[i]` has the label and annotator
    of `code[i]` = annotator * 3 + label. `known` is the class of each item in gold, or -1."""

    item: Places
    code: Places
    count: Array
    known: Places
    annotators: int

    def sum_by_item(self, values: Array) -> Array:
        """Sum a number of each row over the rows of each item."""
        return np.bincount(self.item, values, minlength=len(self.known)).astype(np.float64)

    def clamp(self, posterior: Array) -> Array:
        """Put gold's certainty over the posterior, in place."""
        rows = np.flatnonzero(self.known >= 0)
        posterior[rows] = 0.0
        posterior[rows, self.known[rows]] = 1.0
        return posterior

    def keep(self, items: NDArray[np.bool_]) -> Tally:
        """The votes on some of the items, these numbered afresh."""
        places, rows = np.cumsum(items) - 1, items[self.item]
        return replace(
            self,
            item=places[self.item[rows]],
            code=self.code[rows],
            count=self.count[rows],
            known=self.known[items],
        )


@dataclass(frozen=True, eq=False)
class Fit:
    """`posterior` (item, class), `prior` (class), `confusions` (annotator, truth, label), the log
    likelihood with the prior's penalty, and the rounds it took."""

    posterior: Array
    prior: Array
    confusions: Array
    log_likelihood: float
    rounds: int


def run_em(
    tally: Tally, *, symmetric: bool, smoothing: float, max_iterations: int, tolerance: float
) -> Fit:
    """Fit from the vote shares on; the arguments are those of `annotators.consensus.fit_consensus`.
    The log likelihood never falls from one round to the next.

    Only what `find_checked` says teaches. A lone vote fits any accuracy equally well; from the vote
    shares on it would take its own word for the truth, the surer the more of its kind there are.
    """
    pseudo = np.full((CLASSES, CLASSES), smoothing * PRIOR_ROW[1])
    np.fill_diagonal(pseudo, smoothing * PRIOR_ROW[0])
    share = np.full(CLASSES, smoothing / CLASSES)
    checked = find_checked(tally)
    taught = tally.keep(checked)
    enough = tolerance * max(float(taught.count.sum()), 1.0)

    posterior = taught.clamp(share_votes(taught))
    prior, confusions = maximise(taught, posterior, pseudo, share, symmetric)
    before, gained, rounds = -np.inf, 0.0, 0
    while rounds < max_iterations:
        rounds += 1
        posterior, gained = expect(taught, prior, confusions)
        gained += float((pseudo * np.log(confusions)).sum() + (share * np.log(prior)).sum())
        prior, confusions = maximise(taught, posterior, pseudo, share, symmetric)
        if gained - before < enough:
            break
        before = gained
    everywhere, _ = expect(tally, prior, confusions)
    everywhere[checked] = posterior
    return Fit(everywhere, prior, confusions, gained, rounds)


def find_checked(tally: Tally) -> NDArray[np.bool_]:
    """Which items say something of those who spoke: gold knows them, or two annotators did."""
    annotator = tally.code // CLASSES
    one = np.zeros(len(tally.known), dtype=np.int64)
    one[tally.item] = annotator
    others = np.bincount(tally.item, annotator != one[tally.item], minlength=len(one))
    return (others > 0) | (tally.known >= 0)


def share_votes(tally: Tally) -> Array:
    """The share of each class among the votes of each item; even where there is none."""
    label = tally.code % CLASSES
    votes = np.stack(
        [tally.sum_by_item(tally.count * (label == k)) for k in range(CLASSES)], axis=1
    )
    total = votes.sum(axis=1, keepdims=True)
    return np.where(total > 0, votes / np.maximum(total, 1), 1 / CLASSES)


def maximise(
    tally: Tally, posterior: Array, pseudo: Array, share: Array, symmetric: bool
) -> tuple[Array, Array]:
    """Class shares (3) and confusions (annotator, truth, label) from the posteriors."""
    cells = tally.annotators * CLASSES
    votes = np.stack(
        [
            np.bincount(tally.code, tally.count * posterior[tally.item, k], minlength=cells)
            for k in range(CLASSES)
        ],
        axis=1,
    )
    counts: Array = votes.astype(np.float64).reshape(-1, CLASSES, CLASSES).transpose(0, 2, 1)
    classes = posterior.sum(axis=0)
    if symmetric:
        counts = (counts + counts[:, SWAP][:, :, SWAP]) / 2
        classes = (classes + classes[SWAP]) / 2
    counts = np.maximum(counts + pseudo, TINY)
    classes = np.maximum(classes + share, TINY)
    return classes / classes.sum(), counts / counts.sum(axis=2, keepdims=True)


def expect(tally: Tally, prior: Array, confusions: Array) -> tuple[Array, float]:
    """The posterior of each item (item, class), and the log likelihood of the votes and gold."""
    spoken = np.log(confusions).transpose(0, 2, 1).reshape(-1, CLASSES)
    joint = np.stack(
        [
            tally.sum_by_item(tally.count * spoken[tally.code, k]) + np.log(prior[k])
            for k in range(CLASSES)
        ],
        axis=1,
    )
    top = joint.max(axis=1, keepdims=True, initial=-np.inf)
    raised = np.exp(joint - top)
    total = raised.sum(axis=1, keepdims=True)
    told = np.flatnonzero(tally.known >= 0)
    evidence = (top + np.log(total))[:, 0]
    evidence[told] = joint[told, tally.known[told]]
    return tally.clamp(raised / total), float(evidence.sum())
