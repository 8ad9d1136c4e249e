"""One pass of the loop over a pool: from gold, votes, labels and vectors to the probability of each
label.

1. Judges are read together by the light of gold (`annotators.loop.stacking`).
2. What they and gold make of the labels says how far to trust labels by their traits
   (`annotators.loop.trust`). No reward model has a say in it: its own taste (for length, say) would
   come back as a trait of right labels.
3. Label and judges are read together; with gold as it is, this teaches the best probe, as soft
   labels. The gold probe is taught by gold alone. Neither saw the prompt at hand.
4. Label, judges and probes are read together: `p`, which decides what is kept, and which teaches a
   reward model as soft labels or, where it takes none, as the likelier label with weight |2 p - 1|.

Labels that gold does not speak of have no measured voice, and do not count (`are_measured`): a jury
could say how often it agrees with them, not how often it errs with them.

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

from annotators.loop.precision import estimate_precision
from annotators.loop.stacking import LEAST_HEARD, Reading, fit_reading
from annotators.loop.trust import number_traits, trust_numbered
from annotators.probe import SPREAD, cross_fit, fold_prompts
from schemas.ids import make_seeds

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
LABEL, GOLD_PROBE, BEST_PROBE = "label", "probe:gold", "probe:best"
TAUGHT = 40_000  # rows, about, that the best probe learns from at most; drawn by prompt


@dataclass(frozen=True, eq=False)
class PoolReading:
    """What `read_pool` found.

    Attributes:
        p: (pairs) the probability that the first response is better; gold's own word where there
            is gold.
        held_out: (pairs) the same without looking at the gold of the pair's prompt.
        trust: (pairs) the chance that the label a pair came with is right, by its traits alone; NaN
            where it had none, and everywhere where the labels do not count.
        p_gold, p_best: (pairs) what the two probes say, uncalibrated, their own prompts left out.
        teacher, reading: what taught the best probe, and what made `p`.
        is_gold, is_sample: (pairs) gold, and the gold that weighed the voices.
    """

    p: Array
    held_out: Array
    trust: Array
    p_gold: Array
    p_best: Array
    teacher: Reading
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
        TooLittleGold: see `fit_reading`. NothingToLearn: see `annotators.probe.cross_fit`.
    """
    came, truth = np.asarray(label, dtype=np.float64), np.asarray(gold, dtype=np.float64)
    votes = np.asarray(said, dtype=np.float64).reshape(len(came), len(judges))
    known = ~np.isnan(truth)
    weighs = known if sample is None else known & sample
    if not are_measured(came, weighs):
        came = np.full(len(came), np.nan)
    names = np.asarray(prompts, dtype=object)
    filled = np.where(known, truth, 0.5)
    told = _tell_labels(came, votes, truth, weighs, names, traits, seed)
    opinions = np.column_stack([told, votes])
    teacher = fit_reading(
        [LABEL, *judges], opinions[weighs], truth[weighs], names[weighs].tolist(), seed=seed
    )
    soft = np.where(known, filled, teacher.predict(opinions))
    step = max(1, int(np.ceil(len(came) / TAUGHT)))
    taught = known | draw_prompts(names.tolist(), step, seed)
    p_gold = expit(
        cross_fit(apart, filled, prompts, spread, weights=known.astype(float), seed=seed)
    )
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
        trust=np.where(came > 0.5, told, 1 - told),
        p_gold=p_gold,
        p_best=p_best,
        teacher=teacher,
        reading=reading,
        is_gold=known,
        is_sample=weighs,
    )


def are_measured(label: ArrayLike, weighs: Bools) -> bool:
    """Whether labels were heard on enough of the gold that weighs the voices (`LEAST_HEARD` pairs)
    for their worth, and whom they err with, to be known. Where gold is of other pairs than the
    pool's, they were not.

    Args:
        label: (pairs) as `read_pool` has it; a tie says nothing.
        weighs: (pairs) the gold that weighs the voices.
    """
    came = np.asarray(label, dtype=np.float64)[weighs]
    return bool((~np.isnan(came) & (came != 0.5)).sum() >= LEAST_HEARD)


def draw_prompts(prompts: Sequence[str], step: int, seed: int = 0) -> Bools:
    """The pairs of one prompt in `step`, by the hashes of the prompts: (pairs)."""
    if step == 1:
        return np.ones(len(prompts), dtype=bool)
    known = list(set(prompts))
    seeds = make_seeds(map(str, known), "taught", seed)
    drawn = {name for name, number in zip(known, seeds, strict=True) if number % step == 0}
    return np.fromiter((name in drawn for name in prompts), dtype=bool, count=len(prompts))


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


def _tell_labels(
    came: Array,
    votes: Array,
    truth: Array,
    weighs: Bools,
    names: NDArray[np.object_],
    traits: pl.DataFrame,
    seed: int,
) -> Array:
    """The probability that the first response is better by the label and its traits alone, the gold
    of the pair's fold left out; NaN where there is no label."""
    p = np.full(len(came), 0.5)
    if votes.shape[1]:
        judges = [str(place) for place in range(votes.shape[1])]
        jury = fit_reading(judges, votes[weighs], truth[weighs], names[weighs].tolist(), seed=seed)
        p = jury.predict(votes)
        p[weighs] = jury.held_out
    told = np.full(len(came), np.nan)
    folds = fold_prompts(names.tolist(), seed)
    codes, count = number_traits(traits)
    for fold in np.unique(folds):
        seen = np.where(weighs & (folds != fold), truth, p)
        right = np.where(came > 0.5, seen, np.where(came < 0.5, 1 - seen, 0.5))
        mine = folds == fold
        told[mine] = trust_numbered(codes, count, right)[mine]
    return np.where(came > 0.5, told, np.where(came < 0.5, 1 - told, np.nan))
