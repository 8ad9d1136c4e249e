"""What more labels would give: a sigmoid of the log of their number, fitted to nested subsets.

    accuracy(n) = 0.5 + (U - 0.5) / (1 + exp(-(log n - m) / s)),   0.5 < U <= 1, s > 0

The floor is a coin: a reward model that saw no label knows no better. U is where it ends, m the
logarithm of the number at which half of the way is gone, s how slowly. The interval is over prompts
of the exam and over orders in which labels come; it says nothing of labels of another kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.ship.exams.intervals import Array, draw_counts, quantiles

FLOOR = 0.5
STEPS = 7
ORDERS = 5
LEAST_SUBSET = 16
LEAST_SIZES = 4
AHEAD = (2, 4, 10)
RESAMPLES = 200
MIDDLES = np.arange(0.0, np.log(1e7), 0.1)
WIDTHS = np.geomspace(0.1, 5.0, 30)


@dataclass(frozen=True)
class Curve:
    """A fitted sigmoid: its ceiling, and its middle and width in log labels."""

    ceiling: float
    middle: float
    width: float

    def at(self, n: Array | float) -> Array:
        """The accuracy after n labels."""
        z = (np.log(n) - self.middle) / self.width
        found: Array = FLOOR + (self.ceiling - FLOOR) * 0.5 * (1 + np.tanh(np.asarray(z) / 2))
        return found


def choose_sizes(most: int) -> list[int]:
    """The sizes of nested subsets, in equal ratios from `LEAST_SUBSET` to `most`; none where that
    is too little to see a curve."""
    if most < 2 * LEAST_SUBSET:
        return []
    return sorted({round(n) for n in np.geomspace(LEAST_SUBSET, most, STEPS)})


def fit_sigmoids(sizes: Sequence[int], accuracies: Array) -> list[Curve]:
    """For each row of accuracies (curves, sizes) the nearest curve (least squares, each size
    counting alike).

    Middle and width are searched on a grid; the ceiling, in which the curve is linear, is then the
    best one within its bounds. So there is no wrong minimum to end in.
    """
    logs = np.log(np.asarray(sizes, dtype=float))
    grid = np.stack(np.meshgrid(MIDDLES, WIDTHS, indexing="ij"), axis=-1).reshape(-1, 2)
    shapes = 0.5 * (1 + np.tanh((logs - grid[:, :1]) / grid[:, 1:] / 2))
    norms = np.maximum((shapes**2).sum(1), 1e-12)  # a curve that begins far beyond is flat here
    above = np.atleast_2d(accuracies) - FLOOR
    heights = np.clip(above @ shapes.T / norms, 1e-6, 1 - FLOOR)
    losses = heights**2 * norms - 2 * heights * (above @ shapes.T)
    best = losses.argmin(1)
    return [Curve(FLOOR + heights[row, place], *grid[place]) for row, place in enumerate(best)]


def forecast(
    sizes: Sequence[int], won: Array, prompts: Sequence[str], labels: int, seed: int
) -> dict[str, Any]:
    """What the curve says of more labels.

    Args:
        sizes: of the nested subsets, in labels, the last of all that a probe learns from.
        won: (orders, sizes, items): how right the model of each subset is on each item.
        prompts: of the items.
        labels: how many there are; more than the last size where a probe learns from some alone,
            and then the curve is followed from there.

    Returns:
        labels; points: {n, score, ci} as measured (the interval over prompts and orders); ahead:
        {n, score, ci} at 2, 4 and 10 times the labels; ceiling: {score, ci}; reason: why there is
        no forecast (then `ahead` is empty and `ceiling` None), or a warning, or None.
    """
    if len(sizes) < LEAST_SIZES or won.shape[2] < LEAST_SUBSET:
        return _give_up(
            [], labels,
            f"too little to fit a curve to: {labels} labels and "
            f"{won.shape[2]} held-out comparisons (it takes {2 * LEAST_SUBSET} and {LEAST_SUBSET})"
        )  # fmt: skip
    _, rows = np.unique(np.asarray(prompts), return_inverse=True)
    earned = np.stack([[np.bincount(rows, weights=right) for right in order] for order in won])
    counts = np.bincount(rows)
    rng = np.random.default_rng(seed)
    drawn = np.stack([
        (earned[rng.integers(0, len(won), len(won))].mean(0) @ times) / (counts @ times)
        for chunk in draw_counts(len(counts), seed, RESAMPLES)
        for times in chunk
    ])  # fmt: skip
    mean = won.mean(axis=(0, 2))
    points = [
        {"n": n, "score": float(mean[i]), "ci": list(quantiles(drawn[:, i]))}
        for i, n in enumerate(sizes)
    ]
    risen = quantiles(drawn[:, -1] - drawn[:, 0])
    if mean[-1] <= FLOOR or quantiles(drawn[:, -1])[0] <= FLOOR:
        return _give_up(
            points,
            labels,
            f"even with {sizes[-1]} labels the model is not known to be better than a coin",
        )
    if risen[0] <= 0:
        return _give_up(
            points, labels, "accuracy does not rise with the number of labels beyond doubt (from "
            f"{mean[0]:.1%} at {sizes[0]} to {mean[-1]:.1%} at {sizes[-1]}): more of the same "
            "labels are not known to help"
        )  # fmt: skip
    curve = fit_sigmoids(sizes, mean)[0]
    curves = fit_sigmoids(sizes, drawn)
    ahead = []
    for times in AHEAD:
        n = times * labels
        low, high = quantiles(np.asarray([float(c.at(n)) for c in curves]))
        ahead.append({"n": n, "score": float(curve.at(n)), "ci": [low, high]})
    low, high = quantiles(np.asarray([c.ceiling for c in curves]))
    reason = None
    if high - low > 0.15 or curve.middle > np.log(sizes[-1]):
        reason = "the curve does not bend yet: where it ends cannot be told from these labels"
    return {
        "labels": labels,
        "points": points,
        "ahead": ahead,
        "ceiling": {"score": curve.ceiling, "ci": [low, high]},
        "reason": reason,
    }


def _give_up(points: list[dict[str, Any]], labels: int, reason: str) -> dict[str, Any]:
    return {"labels": labels, "points": points, "ahead": [], "ceiling": None, "reason": reason}
