"""One pass of the loop over a pool: from gold, votes, labels and vectors to the probability of each
label.

1. The gold probe is taught by gold alone, the prompt at hand left out.
2. Judges and gold probe are read together by the light of gold (`annotators.loop.stacking`).
3. What they make of the labels says how far to trust labels by their traits
   (`annotators.loop.trust`).
4. The best probe is taught by what 2 and 3 make of all pairs, as soft labels, gold as it is, the
   prompt at hand left out.
5. All of them are read together, the label being one voice.

Gold decides nothing about a gold pair's own reading but in `p`: `held_out` is what a pair without
gold would have got, and tells how right the others are (`annotators.loop.precision`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from annotators.loop.jury import check_jury
from annotators.loop.precision import estimate_precision
from annotators.loop.stacking import Reading, fit_reading
from annotators.loop.trust import trust_labels
from annotators.probe import SPREAD, cross_fit

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
LABEL, GOLD_PROBE, BEST_PROBE = "label", "probe:gold", "probe:best"
TAUGHT = 40_000  # rows that the best probe learns from at most, evenly spread over the pool


@dataclass(frozen=True, eq=False)
class PoolReading:
    """What `read_pool` found.

    Attributes:
        p: (pairs) the probability that the first response is better; gold's own word where there
            is gold.
        held_out: (pairs) the same without looking at the gold of the pair's prompt.
        trust: (pairs) the chance that the label a pair came with is right, by its traits alone.
        p_gold, p_best: (pairs) what the two probes say, uncalibrated, their own prompts left out.
        jury: the reading of judges and gold probe, without label and best probe.
        reading: the last one.
        is_gold, is_sample: (pairs) gold, and the gold that weighed the voices.
    """

    p: Array
    held_out: Array
    trust: Array
    p_gold: Array
    p_best: Array
    jury: Reading
    reading: Reading
    is_gold: Bools
    is_sample: Bools

    @property
    def log_odds(self) -> Array:
        """Of `p`, held within ±14: (pairs)."""
        held = np.clip(self.p, 1e-6, 1 - 1e-6)
        return np.log(held / (1 - held))


def read_pool(
    label: ArrayLike,
    judges: Sequence[str],
    said: ArrayLike,
    apart: Array,
    prompts: Sequence[str],
    gold: ArrayLike,
    traits: pl.DataFrame,
    *,
    sample: Bools | None = None,
    spread: float = SPREAD,
    seed: int = 0,
) -> PoolReading:
    """Read a whole pool (see the module).

    Args:
        label: (pairs) what the pair came with: 1 the first response is better, 0 the second, 0.5 a
            tie, NaN no label.
        judges: a name a column of `said`; none for no jury.
        said: (pairs, judges) probabilities, NaN where a judge was not asked.
        apart: (pairs, dimensions) vector of the first response less that of the second.
        prompts: (pairs).
        gold: (pairs) 1, 0 or 0.5 where the gold that teaches knows, else NaN. Never exam gold.
        traits: a row a pair, see `trust_labels`.
        sample: (pairs) which of the gold is a random sample of the pool, and so may weigh the
            voices; gold that was chosen by need teaches the probes and settles its own pairs, but
            would show the voices where they are at their worst. All of it by default.
        spread: of the probes' weights.

    Raises:
        TooLittleGold: see `fit_reading`. NothingToLearn: see `annotators.probe.train_probe`.
        JuryNoBetterThanChance: see `check_jury`.
    """
    came, truth = np.asarray(label, dtype=np.float64), np.asarray(gold, dtype=np.float64)
    votes = np.asarray(said, dtype=np.float64).reshape(len(came), len(judges))
    known = ~np.isnan(truth)
    weighs = known if sample is None else known & sample
    if len(judges):
        check_jury(votes[weighs], truth[weighs])
    names = np.asarray(prompts, dtype=object)
    filled = np.where(known, truth, 0.5)
    p_gold = expit(
        cross_fit(apart, filled, prompts, spread, weights=known.astype(float), seed=seed)
    )

    heard = np.column_stack([votes, p_gold])
    jury = fit_reading(
        [*judges, GOLD_PROBE], heard[weighs], truth[weighs], names[weighs].tolist(), seed=seed
    )
    p_jury = jury.predict(heard)
    p_jury[weighs] = jury.held_out
    right = np.where(came > 0.5, p_jury, np.where(came < 0.5, 1 - p_jury, 0.5))
    trust = trust_labels(traits, right)
    told = np.where(came > 0.5, trust, np.where(came < 0.5, 1 - trust, np.nan))

    soft = np.where(known, filled, _join(p_jury, told))
    step = max(1, int(np.ceil(len(came) / TAUGHT)))
    taught = known | (np.arange(len(came)) % step == 0)
    p_best = expit(cross_fit(apart, soft, prompts, spread, weights=taught.astype(float), seed=seed))

    every = np.column_stack([told, votes, p_gold, p_best])
    reading = fit_reading(
        [LABEL, *judges, GOLD_PROBE, BEST_PROBE], every[weighs], truth[weighs],
        names[weighs].tolist(), seed=seed,
    )  # fmt: skip
    held_out = reading.predict(every)
    held_out[weighs] = reading.held_out
    return PoolReading(
        p=np.where(known, filled, held_out),
        held_out=held_out,
        trust=trust,
        p_gold=p_gold,
        p_best=p_best,
        jury=jury,
        reading=reading,
        is_gold=known,
        is_sample=weighs,
    )


def measure_kept(
    found: PoolReading, gold: ArrayLike, kept: Bools, categories: pl.Series
) -> pl.DataFrame:
    """`estimate_precision` of the kept pairs that are not gold, from the gold that would be kept.

    Args:
        found, gold: of `read_pool`.
        kept: (pairs); the label kept is the side that `held_out` favours.
        categories: (pairs).

    Raises:
        PrecisionUnknown: see `estimate_precision`.
    """
    truth = np.asarray(gold, dtype=np.float64)
    sure = np.maximum(found.held_out, 1 - found.held_out)
    mine = kept & ~found.is_gold
    least = sure[mine].min(initial=1.0)
    likewise = found.is_sample & (sure >= least)
    right = np.where(found.held_out > 0.5, truth, 1 - truth)
    return estimate_precision(
        sure[mine],
        categories.filter(pl.Series(mine)),
        sure[likewise],
        right[likewise],
        categories.filter(pl.Series(likewise)),
    )


def _join(p: Array, q: Array) -> Array:
    """Two independent probabilities in one, by adding their log odds; NaN says nothing."""
    one = np.clip(p, 1e-6, 1 - 1e-6)
    other = np.clip(np.where(np.isnan(q), 0.5, q), 1e-6, 1 - 1e-6)
    return expit(np.log(one / (1 - one)) + np.log(other / (1 - other)))
