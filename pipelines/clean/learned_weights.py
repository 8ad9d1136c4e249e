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
    weights = _climb(pool, member, len(names), teach, floor, cap)
    spread = _resample(pool, member, len(names), teach, floor, cap, seed)
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


def _climb(
    pool: Array, member: NDArray[np.int64], k: int, gold: Array, floor: float, cap: float
) -> Array:
    """The weights, mean 1 but for the bounds."""
    counts = np.bincount(member, minlength=k).astype(float)
    w = np.zeros(pool.shape[1])
    weights = np.ones(k)
    for _ in range(STEPS):
        slopes = _slope_by_domain(pool, member, k, counts, w)
        ahead = w - RATE * (weights * counts / counts.sum() @ slopes + RIDGE * w)
        upper = -(expit(-(gold @ ahead)) @ gold) / len(gold)
        gain = slopes @ upper * k * counts / counts.sum()
        size = np.abs(gain).max()
        if size > 0:
            weights = weights * np.exp(UPPER_RATE * gain / size)
        weights = weights ** (1 - ENTROPY)
        weights = np.clip(weights / weights.mean(), floor, cap)
        w = ahead
    return weights


def _slope_by_domain(
    pool: Array, member: NDArray[np.int64], k: int, counts: Array, w: Array
) -> Array:
    """(k, d): the gradient of each domain's mean loss at w."""
    pull = expit(-(pool @ w))
    slopes = np.zeros((k, pool.shape[1]))
    for domain in range(k):
        mine = member == domain
        slopes[domain] = -(pull[mine] @ pool[mine]) / max(counts[domain], 1.0)
    return slopes


def _resample(
    pool: Array,
    member: NDArray[np.int64],
    k: int,
    gold: Array,
    floor: float,
    cap: float,
    seed: int,
) -> Array:
    """(RESAMPLES, k): the weights learned from resampled gold and pool, domain sizes kept."""
    rng = np.random.default_rng(make_seed("weights", "resample", seed))
    rows = [np.flatnonzero(member == domain) for domain in range(k)]
    found = np.empty((RESAMPLES, k))
    for draw in range(RESAMPLES):
        drawn = np.concatenate([rng.choice(mine, len(mine)) for mine in rows])
        answers = gold[rng.integers(0, len(gold), len(gold))]
        found[draw] = _climb(pool[drawn], member[drawn], k, answers, floor, cap)
    return found


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
