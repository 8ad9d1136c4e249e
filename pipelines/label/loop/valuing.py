"""What the word of the jury is expected to gain, and on which pairs a loop's calls are spent."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from annotators.loop.spending import Source, expect_gain, spend
from annotators.loop.stacking import Reading

SUREST = 0.99  # right on all of a little gold is not always right
JURY = "jury"


@dataclass(frozen=True)
class Jury:
    """The recipe's judges as one voice: the `log_odds` that its word adds to a pair, the `calls`
    that are left, and how many of them a pair takes (`each`)."""

    log_odds: float
    calls: int
    each: int

    @property
    def source(self) -> Source:
        """To be asked among others."""
        return Source(JURY, self.log_odds, float(self.calls))

    def gain(self, z: ArrayLike) -> list[float]:
        """See `annotators.loop.spending.expect_gain`."""
        found: list[float] = expect_gain(z, self.log_odds).tolist()
        return found


def measure_jury(reading: Reading, judges: Collection[str], calls: int, each: int) -> Jury:
    """The judges as gold shows them: Σ wₖ logit(aₖ), with a a judge's accuracy and w its weight
    beside all other voices, which is less where it errs with them."""
    odds = 0.0
    for name, weight, accuracy in zip(
        reading.voices, reading.weights, reading.accuracy, strict=True
    ):
        if name in judges and accuracy > 0.5 and weight > 0:
            right = min(float(accuracy), SUREST)
            odds += float(weight) * float(np.log(right / (1 - right)))
    return Jury(odds, calls, each)


def spend_calls(pairs: pl.DataFrame, jury: Jury) -> pl.DataFrame:
    """The pairs that the jury is asked about: all of them where its calls reach, otherwise those
    on which they are expected to put most labels right, and then, as far as the rest of the calls
    reaches, those whose label one word cannot turn. Agreement too is worth something: a label is
    kept by it, and none is turned round that no judge rejects.

    Args:
        pairs: pair_id, z (the log odds of the label); least sure first.

    Returns:
        pair_id and gain (expected labels put right), in the order of asking.
    """
    z = pairs["z"].to_numpy()
    worth = pairs.select("pair_id").with_columns(gain=pl.Series(jury.gain(z), dtype=pl.Float64))
    reach = jury.calls // jury.each
    if reach >= len(pairs):
        return worth
    spent = spend(z, (jury.source,), {JURY: float(jury.each)})["place"].to_list()
    others = np.setdiff1d(np.arange(len(pairs)), spent).tolist()
    return worth[[*spent, *others][:reach]]
