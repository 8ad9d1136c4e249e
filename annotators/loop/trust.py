"""How far to trust the labels that pairs came with, by what is known of them: who gave them, where
they come from, whether they favour the longer response.

Gold on a tenth of the pairs says little of one annotator's labels; the jury on all of them says
much, once gold has said what the jury is worth. With q(x) = sigma(b0 + b . x) the chance that a
label is right, x its traits, and p what all other voices make of its being right, the label's pair
is seen with the likelihood

    q p + (1 - q) (1 - p),

p being 1 or 0 where gold knows. That is the mixture that Dawid-Skene's EM climbs with the judges'
matrices held fixed, with traits in the place of one rate. It takes the other voices' errors not to
depend on whether the label is right, given the traits; what dependence there is is measured
afterwards, when the label is read as one voice among the others (`annotators.loop.stacking`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

Array = NDArray[np.float64]
START = 1.0  # log odds before anything is known: labels are right 73 % of the time
SPREAD = 1.0  # of the log odds that a trait adds, before anything is known


def trust_labels(traits: pl.DataFrame, right: ArrayLike, spread: float = SPREAD) -> Array:
    """The chance that each label is right, by its traits: (pairs).

    Traits add up (in log odds); each value of each column has its own share, drawn to nought the
    more the fewer pairs have it. Without traits it is one number for all.

    Args:
        traits: a row a pair; each column is read as a category, null as one of its own.
        right: (pairs) the probability that the label is right as the other voices see it, 1 or 0
            where gold knows.
        spread: standard deviation of the shares' normal prior.
    """
    return trust_numbered(*number_traits(traits), right, spread)


def trust_numbered(
    codes: NDArray[np.int64], count: int, right: ArrayLike, spread: float = SPREAD
) -> Array:
    """`trust_labels` with the traits as `number_traits` gives them."""
    from scipy.optimize import minimize

    p = np.asarray(right, dtype=np.float64)

    def measure(numbers: Array) -> tuple[float, Array]:
        z = numbers[0] + numbers[1:][codes].sum(axis=1)
        q = expit(z)
        seen = np.clip(q * p + (1 - q) * (1 - p), 1e-12, None)
        pull = -(2 * p - 1) * q * (1 - q) / seen
        slope = np.concatenate([[pull.sum()], np.zeros(count)])
        for column in codes.T:
            slope[1:] += np.bincount(column, pull, minlength=count)
        rest = np.concatenate([[numbers[0] - START], numbers[1:]])
        scale = np.concatenate([[0.25], np.full(count, 1 / spread**2)])
        loss = -np.log(seen).sum() + (scale * rest**2).sum() / 2
        return float(loss), slope + scale * rest

    start = np.concatenate([[START], np.zeros(count)])
    found = minimize(measure, start, jac=True, method="L-BFGS-B").x
    trusted: Array = expit(found[0] + found[1:][codes].sum(axis=1))
    return trusted


def number_traits(traits: pl.DataFrame) -> tuple[NDArray[np.int64], int]:
    """The values of all columns numbered through: (pairs, columns), and how many there are."""
    columns, count = [], 0
    for name in traits.columns:
        values = traits[name].cast(pl.String).fill_null("\0")
        places = {value: count + at for at, value in enumerate(values.unique().sort())}
        columns.append(values.replace_strict(places, return_dtype=pl.Int64).to_numpy())
        count += len(places)
    shape = (len(traits), 0)
    return (np.stack(columns, axis=1) if columns else np.zeros(shape, dtype=np.int64)), count


def band_lengths(chosen: Sequence[int] | Array, rejected: Sequence[int] | Array) -> pl.Series:
    """The trait of length: whether the label favours the longer response, and by how much.

    Args:
        chosen, rejected: characters of the response that the label favours, and of the other.

    Returns:
        `far_shorter`, `shorter`, `alike` (within 10 %), `longer` or `far_longer` (more than twice).
    """
    ratio = np.log((np.asarray(chosen, float) + 1) / (np.asarray(rejected, float) + 1))
    size = np.digitize(np.abs(ratio), [np.log(1.1), np.log(2.0)])
    words = np.array(["far_shorter", "shorter", "alike", "longer", "far_longer"])
    return pl.Series("length", words[(size * np.sign(ratio)).astype(np.int64) + 2])
