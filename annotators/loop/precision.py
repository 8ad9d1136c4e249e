"""How right the kept labels are, by category, with an interval: estimated from what was measured.

The probabilities that labels are kept by are themselves an estimate. Their mean over the kept pairs
is corrected by how far they were off on gold that was kept (prediction-powered inference,
Angelopoulos et al. 2023, 2301.09633):

    precision = mean over kept pairs of p + mean over kept gold of (right - p),

p on gold from readings that did not see it. So correlation between voices that the reading missed
is in the figure, and in its width. A category's correction is drawn to that of all gold, as if it
had `PSEUDO` more gold pairs with the latter; without gold of its own it has that alone. The
interval is Wilson's for as many gold pairs as would give the estimate's own variance; gold pairs of
one prompt count as the fewer, the more they are right or wrong together
(`annotators.agreement.count_independent`).

Gold must be a random sample of the pool within each category, or weighed to be one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from annotators.agreement import count_independent, find_interval
from schemas.errors import AssayError

Array = NDArray[np.float64]
PSEUDO = 20.0
ALL = None


class PrecisionUnknown(AssayError):
    """No kept gold pair says how right the kept labels are."""


def estimate_precision(
    kept: ArrayLike,
    categories: pl.Series,
    gold: ArrayLike,
    gold_right: ArrayLike,
    gold_categories: pl.Series,
    gold_prompts: Sequence[str] | None = None,
    gold_weights: ArrayLike = 1.0,
) -> pl.DataFrame:
    """The share of the kept labels that are right.

    Args:
        kept: (kept) the probability that each kept label is right.
        categories: (kept), null for none.
        gold: (kept gold) the held-out probability that the label is right, of gold pairs that
            would be kept.
        gold_right: (kept gold) whether it is: 1 or 0, 0.5 for a tie.
        gold_categories: (kept gold).
        gold_prompts: (kept gold) which prompt a pair belongs to; each its own where it is left out.
        gold_weights: (kept gold) how many kept pairs each stands for, in any unit, where gold has
            more of some kind of pairs than what is kept.

    Returns:
        category (null, the first row, is all), n (kept pairs), n_gold, claimed (mean p), precision,
        low, high (95 %). Where all labels have one category there are two rows alike.

    Raises:
        PrecisionUnknown: there is no kept gold.
    """
    p, seen, right = (np.asarray(v, dtype=np.float64) for v in (kept, gold, gold_right))
    if not len(seen):
        raise PrecisionUnknown(
            "no gold pair is among those that would be kept, so nothing says how right they are: "
            "have people label at least 50 pairs drawn at random from the pool"
        )
    weights = np.broadcast_to(np.asarray(gold_weights, dtype=np.float64), seen.shape)
    off = (right - seen) * weights
    mean = float(off.sum() / weights.sum())
    prompts = np.asarray(range(len(off)) if gold_prompts is None else gold_prompts, dtype=object)
    rows = [_estimate(ALL, p, off / weights.mean(), prompts, mean, 0.0)]
    for name in categories.drop_nulls().unique().sort():
        mine = (categories == name).fill_null(False).to_numpy()
        own = (gold_categories == name).fill_null(False).to_numpy()
        apart = off[own] / weights[own].mean() if own.any() else off[own]
        rows.append(_estimate(name, p[mine], apart, prompts[own], mean, PSEUDO))
    kinds = {"category": pl.String, "n": pl.Int64, "n_gold": pl.Int64, "claimed": pl.Float64,
             "precision": pl.Float64, "low": pl.Float64, "high": pl.Float64}  # fmt: skip
    return pl.DataFrame(rows, schema=kinds, orient="row")


def choose_kept(p: ArrayLike, coverage: float) -> NDArray[np.bool_]:
    """The most certain pairs, that share of all (rounded up): those whose p is farthest from one
    half, the first of equals. Their label is the side that p favours."""
    sure = np.abs(np.asarray(p, dtype=np.float64) - 0.5).round(12)
    count = int(np.ceil(round(coverage * len(sure), 9)))
    chosen = np.zeros(len(sure), dtype=bool)
    chosen[np.argsort(-sure, kind="stable")[:count]] = True
    return chosen


def _estimate(
    name: str | None,
    p: Array,
    off: Array,
    prompts: NDArray[np.object_],
    mean: float,
    pseudo: float,
) -> tuple[str | None, int, int, float | None, float | None, float | None, float | None]:
    n, known = len(p), len(off)
    if not n:
        return name, 0, known, None, None, None, None
    claimed = float(p.mean())
    correction = (off.sum() + pseudo * mean) / (known + pseudo)
    share = float(np.clip(claimed + correction, 0.0, 1.0))
    # one gold pair more that is wrong and one that is right, so that few are never certain
    unseen = np.concatenate([off, [1 - claimed, -claimed]])
    many = count_independent(off, prompts.tolist())
    variance = max(unseen.var(), 1e-9) / (many + pseudo + 2) + p.var() / n
    held = float(np.clip(share, 1 / (2 * n + 2), 1 - 1 / (2 * n + 2)))
    low, high = find_interval(share, max(held * (1 - held) / variance, 1.0))
    return name, n, known, claimed, share, float(low), float(high)
