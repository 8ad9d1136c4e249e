"""What a judge's 0.9 is worth: calibration fitted on gold, stored beside the raw probability and
never over it, and the error that is left.

Which response of a pair is called `a` is chance, so a map for pairs should treat p and 1 - p
alike: fit it on `mirror_pairs(p, truth)`. A probability that speaks of a candidate against a
reference has no such symmetry and is fitted as it is.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from schemas.errors import AssayError

Array = NDArray[np.float64]

BINS = 10
EDGE = 1e-4  # probabilities of 0 and 1 are this far from certain, so that their logit is finite
DIGITS = 12  # 1 - p is not exact, and must not make two points of one
RIDGE = 1.0  # strength of the pull of the Platt map towards leaving probabilities as they are


class CalibrationUnreadable(AssayError):
    """Input to a fit that is no probability, or a stored calibration that cannot be read."""


@dataclass(frozen=True)
class Platt:
    """p -> 1 / (1 + exp(-(slope · logit(p) + intercept))); `n` gold labels were seen."""

    slope: float
    intercept: float
    n: int

    def apply(self, p: ArrayLike) -> Array:
        """The calibrated probabilities."""
        return _expit(self.slope * _logit(np.asarray(p, dtype=float)) + self.intercept)

    def to_json(self) -> str:
        """For `calibration_from_json`."""
        return json.dumps({"method": "platt", **asdict(self)})


@dataclass(frozen=True)
class Isotonic:
    """A rising map, linear between the knots `x` -> `y` and level outside; without knots it leaves
    probabilities as they are. `n` gold labels were seen."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    n: int

    def apply(self, p: ArrayLike) -> Array:
        """The calibrated probabilities."""
        raw = np.asarray(p, dtype=float)
        return np.interp(raw.round(DIGITS), self.x, self.y) if self.x else raw

    def to_json(self) -> str:
        """For `calibration_from_json`."""
        return json.dumps({"method": "isotonic", **asdict(self)})


Calibration = Platt | Isotonic


def fit_platt(p: ArrayLike, truth: ArrayLike) -> Platt:
    """A logistic map of the logit, two numbers, for little gold.

    Maximum likelihood by Newton's method with a normal prior around the identity (slope 1,
    intercept 0, variance 1), so that separable labels stay finite and no labels change nothing.
    (Platt 1999, "Probabilistic outputs for support vector machines"; the prior replaces his
    smoothed targets.)

    Args:
        p: raw probabilities in [0, 1].
        truth: 0 or 1 for each, or anything between (a gold tie is 0.5).

    Raises:
        CalibrationUnreadable: lengths differ, or a number is outside [0, 1].
    """
    raw, target = _check(p, truth)
    inputs = np.stack([_logit(raw), np.ones(len(raw))], axis=1)
    rest = np.array([1.0, 0.0])
    weights = rest.copy()

    def loss(w: Array) -> float:
        z = inputs @ w
        return float((np.logaddexp(0, z) - target * z).sum() + RIDGE / 2 * ((w - rest) ** 2).sum())

    for _ in range(100):
        q = _expit(inputs @ weights)
        slope = inputs.T @ (q - target) + RIDGE * (weights - rest)
        curve = (inputs * (q * (1 - q))[:, None]).T @ inputs + RIDGE * np.eye(2)
        step = np.linalg.solve(curve, slope)
        size, before = 1.0, loss(weights)
        while loss(weights - size * step) > before and size > 1e-8:
            size /= 2
        weights = weights - size * step
        if np.abs(size * step).max() < 1e-10:
            break
    return Platt(float(weights[0]), float(weights[1]), len(raw))


def fit_isotonic(p: ArrayLike, truth: ArrayLike) -> Isotonic:
    """The rising map of least squares, for hundreds of gold labels or more: it fits little gold
    too well, and may answer 0 and 1.

    Pool adjacent violators (Ayer et al. 1955); equal probabilities are one point.

    Args:
        p: raw probabilities in [0, 1].
        truth: 0 or 1 for each, or anything between.

    Raises:
        CalibrationUnreadable: lengths differ, or a number is outside [0, 1].
    """
    raw, target = _check(p, truth)
    x, place, counts = np.unique(raw.round(DIGITS), return_inverse=True, return_counts=True)
    sums = np.bincount(place, target, minlength=len(x))
    blocks: list[tuple[float, float, int, int]] = []  # sum, weight, first point, last point
    for at, (total, weight) in enumerate(zip(sums.tolist(), counts.tolist(), strict=True)):
        first = at
        while blocks and blocks[-1][0] * weight >= total * blocks[-1][1]:
            more, heavier, first, _ = blocks.pop()
            total, weight = total + more, weight + heavier
        blocks.append((total, weight, first, at))
    knots = {
        float(x[end]): total / weight
        for total, weight, first, last in blocks
        for end in (first, last)
    }
    return Isotonic(tuple(knots), tuple(knots.values()), len(raw))


def calibration_from_json(text: str) -> Calibration:
    """Read what `to_json` wrote.

    Raises:
        CalibrationUnreadable: it is something else.
    """
    try:
        content: dict[str, Any] = json.loads(text)
        method = content.pop("method")
        if method == "platt":
            return Platt(**content)
        if method == "isotonic":
            return Isotonic(tuple(content.pop("x")), tuple(content.pop("y")), **content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CalibrationUnreadable(
            f"no calibration can be read from {text[:80]!r} ({error}); fit it again on gold"
        ) from error
    raise CalibrationUnreadable(f"no calibration method is called {method!r}; fit it again on gold")


def mirror_pairs(p: ArrayLike, truth: ArrayLike) -> tuple[Array, Array]:
    """Each pair told both ways (p and 1 - p), so that a fit treats the two responses alike."""
    raw, target = _check(p, truth)
    return np.concatenate([raw, 1 - raw]), np.concatenate([target, 1 - target])


def fold_pairs(p: ArrayLike, truth: ArrayLike) -> tuple[Array, Array]:
    """Each pair told from the side of the response that p favours: p is at least one half, and
    truth says how often that response is better. At exactly one half it is, either way."""
    raw, target = _check(p, truth)
    favoured = np.where(raw > 0.5, target, np.where(raw < 0.5, 1 - target, 0.5))
    return np.maximum(raw, 1 - raw), favoured


def tabulate_reliability(p: ArrayLike, truth: ArrayLike, bins: int = BINS) -> pl.DataFrame:
    """What was predicted and what came true, in `bins` bins of equal width over [0, 1].

    A bin holds its lower edge; the last holds 1 too.

    Returns:
        low, high, n, p (mean prediction), truth (mean truth); empty bins are left out.

    Raises:
        CalibrationUnreadable: lengths differ, or a number is outside [0, 1].
    """
    raw, target = _check(p, truth)
    at = np.minimum((raw * bins + 1e-9).astype(np.int64), bins - 1)
    n = np.bincount(at, minlength=bins)
    full = np.flatnonzero(n)
    return pl.DataFrame(
        {
            "low": full / bins,
            "high": (full + 1) / bins,
            "n": n[full],
            "p": np.bincount(at, raw, minlength=bins)[full] / n[full],
            "truth": np.bincount(at, target, minlength=bins)[full] / n[full],
        }
    )


def measure_ece(p: ArrayLike, truth: ArrayLike, bins: int = BINS) -> float | None:
    """Expected calibration error: the mean distance of prediction and truth over the bins of
    `tabulate_reliability`, weighed by their sizes. None without data."""
    table = tabulate_reliability(p, truth, bins)
    if not len(table):
        return None
    n = table["n"].to_numpy()
    return float(np.average((table["p"] - table["truth"]).abs().to_numpy(), weights=n))


def _check(p: ArrayLike, truth: ArrayLike) -> tuple[Array, Array]:
    raw, target = (np.atleast_1d(np.asarray(values, dtype=float)) for values in (p, truth))
    if raw.shape != target.shape or raw.ndim != 1:
        raise CalibrationUnreadable(
            f"{raw.size} probabilities for {target.size} truths; give one of each a judgment"
        )
    for name, values in (("probability", raw), ("truth", target)):
        wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
        if len(wrong):
            raise CalibrationUnreadable(
                f"{name} {wrong[0]} is {values[wrong[0]]}, which is not within [0, 1]; "
                "leave unreadable opinions out"
            )
    return raw, target


def _logit(p: Array) -> Array:
    held = np.clip(p, EDGE, 1 - EDGE)
    return np.log(held / (1 - held))


def _expit(z: Array) -> Array:
    out: Array = np.exp(-np.logaddexp(0, -z))
    return out
