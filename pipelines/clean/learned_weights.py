"""Weights of domains (sources, categories) learned from gold: what a domain's labels are worth.

Bi-level optimisation as in DreamPRM (2505.20241): below, a reward model is fitted to the pool with
each domain's loss weighted; above, the weights move so that the model does better on gold. Here the
model is a logistic Bradley-Terry model w on frozen vectors of pairs (chosen minus rejected), and
the upper gradient takes one step ahead: after w' = w - eta sum_k a_k g_k, where g_k is the gradient
of domain k's mean loss, d L_gold(w') / d a_k = -eta g_k . grad L_gold(w'). A domain whose gradient
points the way gold's does gains, by a multiplicative update; an entropy term pulls towards equal
weights, and none falls below a floor or rises above a cap. Weights have mean 1 before these bounds.

The gold that teaches is training data from then on. So it is split: one half teaches, the other
says whether the learned weights are any better than equal ones, and they are used only if they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from schemas.errors import AssayError
from schemas.ids import make_seed

LEAST_GOLD = 50
STEPS = 300
RATE = 0.5
UPPER_RATE = 0.05
ENTROPY = 0.002
RIDGE = 1e-3
RESAMPLES = 20
Array = NDArray[np.float64]


class TooLittleGold(AssayError):
    """Too few gold pairs to learn weights from."""


@dataclass(frozen=True, eq=False)
class Learned:
    """What `learn_weights` found.

    Attributes:
        table: domain, pairs, weight, low, high (the middle 95 % over resampled gold and pairs).
        used: whether the held-out gold liked them better than equal weights.
        accuracy, equal_accuracy: of models trained with them and with equal ones on the held-out
            gold; losses likewise (mean negative log likelihood a pair).
        taught, held_out: gold pairs of each half.
    """

    table: pl.DataFrame
    used: bool
    accuracy: float
    equal_accuracy: float
    loss: float
    equal_loss: float
    taught: int
    held_out: int

    @property
    def weights(self) -> dict[str, float]:
        """Domain -> weight; all 1 where they are not used."""
        return {name: weight if self.used else 1.0
                for name, weight in self.table.select("domain", "weight").iter_rows()}  # fmt: skip


def learn_weights(
    vectors: ArrayLike,
    domains: pl.Series,
    gold: ArrayLike,
    gold_ids: pl.Series,
    *,
    floor: float = 0.02,
    cap: float = 3.0,
    seed: int = 0,
) -> Learned:
    """Learn a weight for each domain (see the module).

    Args:
        vectors: (n, d): of each pool pair, chosen minus rejected.
        domains: (n,): which domain it belongs to.
        gold: (m, d): the same of gold pairs, none of which is in the pool.
        gold_ids: (m,): what decides by hash which half a gold pair is in.
        floor, cap: the least and the greatest weight.

    Raises:
        TooLittleGold: fewer than `LEAST_GOLD` gold pairs in either half.
    """
    pool = np.asarray(vectors, dtype=np.float64)
    answers = np.asarray(gold, dtype=np.float64)
    teaches = np.array([make_seed("weights", seed, key) % 2 == 0 for key in gold_ids], dtype=bool)
    taught, held_out = int(teaches.sum()), int((~teaches).sum())
    if min(taught, held_out) < LEAST_GOLD:
        raise TooLittleGold(
            f"{len(answers)} gold pairs make halves of {taught} and {held_out}, and each needs "
            f"{LEAST_GOLD}: verify about {2 * (LEAST_GOLD + 10) - len(answers)} more pairs, or "
            "give quotas by hand"
        )
    scale = np.sqrt(np.mean(pool**2)) or 1.0
    pool, answers = pool / scale, answers / scale
    names = domains.unique().sort()
    places = {name: place for place, name in enumerate(names)}
    member = domains.replace_strict(places, return_dtype=pl.Int64).to_numpy()
    teach, exam = answers[teaches], answers[~teaches]
    rows = _sort_rows(pool, member, len(names))
    climbed = _climb(rows, *_resample(rows, teach, seed), teach, floor, cap)
    weights, spread = climbed[0], climbed[1:]
    learned = fit_weighted(pool, member, weights)
    equal = fit_weighted(pool, member, np.ones(len(names)))
    loss, equal_loss = _measure_loss(learned, exam), _measure_loss(equal, exam)
    table = pl.DataFrame(
        {
            "domain": names,
            "pairs": np.bincount(member, minlength=len(names)),
            "weight": weights.round(4),
            "low": np.quantile(spread, 0.025, axis=0).round(4),
            "high": np.quantile(spread, 0.975, axis=0).round(4),
        }
    )
    return Learned(
        table=table,
        used=bool(loss < equal_loss),
        accuracy=_measure_accuracy(learned, exam),
        equal_accuracy=_measure_accuracy(equal, exam),
        loss=loss,
        equal_loss=equal_loss,
        taught=taught,
        held_out=held_out,
    )


@dataclass(frozen=True, eq=False)
class _Rows:
    """The `pool` (n, d) with each domain's rows together: domain i has `counts[i]` of them, at
    `places[i]`."""

    pool: Array
    counts: NDArray[np.int64]
    places: list[slice]


def _sort_rows(pool: Array, member: NDArray[np.int64], k: int) -> _Rows:
    counts = np.bincount(member, minlength=k)
    ends = np.cumsum(counts).tolist()
    places = [slice(end - n, end) for end, n in zip(ends, counts.tolist(), strict=True)]
    return _Rows(pool[np.argsort(member, kind="stable")], counts, places)


def _resample(rows: _Rows, gold: Array, seed: int) -> tuple[Array, Array]:
    """How often each row of the pool (n, 1 + RESAMPLES) and of the gold (m, 1 + RESAMPLES) is
    drawn: once each, then with replacement, domain sizes kept."""
    rng = np.random.default_rng(make_seed("weights", "resample", seed))
    times = np.ones((len(rows.pool), 1 + RESAMPLES))
    answered = np.ones((len(gold), 1 + RESAMPLES))
    for draw in range(1, 1 + RESAMPLES):
        for part, n in zip(rows.places, rows.counts, strict=True):
            times[part, draw] = np.bincount(rng.integers(0, n, n), minlength=n)
        drawn = rng.integers(0, len(gold), len(gold))
        answered[:, draw] = np.bincount(drawn, minlength=len(gold))
    return times, answered


def _climb(
    rows: _Rows, times: Array, answered: Array, gold: Array, floor: float, cap: float
) -> Array:
    """(draws, k): the weights of each draw, mean 1 but for the bounds. The draws climb side by
    side, so that a step reads the pool once for all of them.

    Args:
        times, answered: see `_resample`.
        gold: (m, d), as all `answered` draw from it.
    """
    k, draws = len(rows.counts), times.shape[1]
    share = rows.counts / rows.counts.sum()
    w = np.zeros((rows.pool.shape[1], draws))
    weights = np.ones((draws, k))
    for _ in range(STEPS):
        slopes = _slope_by_domain(rows, times, w)
        ahead = w - RATE * (np.einsum("ak,kda->da", weights * share, slopes) + RIDGE * w)
        upper = -gold.T @ (answered * expit(-(gold @ ahead))) / len(gold)
        gain = np.einsum("kda,da->ak", slopes, upper) * k * share
        size = np.abs(gain).max(axis=1, keepdims=True)
        weights = weights * np.exp(UPPER_RATE * gain / np.where(size > 0, size, 1.0))
        weights = weights ** (1 - ENTROPY)
        weights = np.clip(weights / weights.mean(axis=1, keepdims=True), floor, cap)
        w = ahead
    return weights


def _slope_by_domain(rows: _Rows, times: Array, w: Array) -> Array:
    """(k, d, draws): the gradient of each domain's mean loss at the w (d, draws) of each draw."""
    pull = times * expit(-(rows.pool @ w))
    return np.stack([
        -(rows.pool[part].T @ pull[part]) / n
        for part, n in zip(rows.places, rows.counts, strict=True)
    ])  # fmt: skip


def fit_weighted(pool: Array, member: NDArray[np.int64], weights: Array) -> Array:
    """(d,): the logistic model of the pool with the pairs of domain k weighted by `weights[k]`."""
    from scipy.optimize import minimize

    share = weights[member]
    share = share / share.sum()

    def measure(w: Array) -> tuple[float, Array]:
        margin = pool @ w
        loss = share @ np.logaddexp(0.0, -margin) + RIDGE * w @ w / 2
        return float(loss), RIDGE * w - (share * expit(-margin)) @ pool

    return minimize(measure, np.zeros(pool.shape[1]), jac=True, method="L-BFGS-B").x


def _measure_loss(w: Array, gold: Array) -> float:
    return float(np.logaddexp(0.0, -(gold @ w)).mean())


def _measure_accuracy(w: Array, gold: Array) -> float:
    margin = gold @ w
    return float(((margin > 0) + 0.5 * (margin == 0)).mean())
