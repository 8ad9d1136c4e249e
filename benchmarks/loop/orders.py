"""One order, both averaged, both agreeing: what each says of a pair, and how right that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
WAYS = ("one order", "both, averaged", "both must agree")
RESAMPLES = 2_000
SURE = 1e-9  # nearer than this to a half is a tie


@dataclass(frozen=True, eq=False)
class Shares:
    """What `rights` come to: `n` (arms) with a verdict, `right` (arms) of them, `coverage` (arms),
    and `drawn` (resamples, arms), the share right when prompts are drawn anew."""

    n: NDArray[np.int64]
    right: Array
    coverage: Array
    drawn: Array

    def interval(self, arm: int) -> tuple[float, float]:
        """95 % of an arm's share."""
        return _span(self.drawn[:, arm])

    def compare(self, arm: int, other: int) -> tuple[float, float, float]:
        """The share of one less that of the other, and 95 %, the same prompts drawn for both."""
        gain = float(self.right[arm] - self.right[other])
        return (gain, *_span(self.drawn[:, arm] - self.drawn[:, other]))


def _span(drawn: Array) -> tuple[float, float]:
    known = drawn[~np.isnan(drawn)]
    low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (np.nan, np.nan)
    return float(low), float(high)


def combine_orders(p_ab: Array, p_ba: Array, is_ab: Bools) -> dict[str, Array]:
    """The probability that a is better by each of `WAYS`; NaN where a way says nothing.

    Args:
        p_ab, p_ba: (pairs) what was said with a, and with b, shown first; NaN where unreadable.
        is_ab: (pairs) which of the two `one order` is.
    """
    mean = (p_ab + p_ba) / 2
    agree = lean(p_ab) * lean(p_ba) > 0
    return {WAYS[0]: np.where(is_ab, p_ab, p_ba), WAYS[1]: mean,
            WAYS[2]: np.where(agree, mean, np.nan)}  # fmt: skip


def lean(p: Array) -> Array:
    """1 where p is above a half, -1 below, 0 at it, NaN where p is."""
    side = np.sign(p - 0.5)
    return np.where(np.abs(p - 0.5) < SURE, 0.0, side)


def score_sides(p: Array, first: Bools) -> Array:
    """1 where p leans to the side that is better (`first`: it is a), 0 to the other, a half for a
    tie, NaN where nothing is said."""
    scored: Array = 0.5 + lean(p) * np.where(first, 0.5, -0.5)
    return scored


def share_rights(
    rights: Array, prompts: Sequence[str], resamples: int = RESAMPLES, seed: int = 0
) -> Shares:
    """Shares right by arm, with a bootstrap over prompts.

    Args:
        rights: (pairs, arms), of `score_sides`.
        prompts: (pairs)
    """
    names, place = np.unique(np.asarray(prompts), return_inverse=True)
    said = ~np.isnan(rights)
    sums, counts = np.zeros((2, len(names), rights.shape[1]))
    np.add.at(sums, place, np.nan_to_num(rights))
    np.add.at(counts, place, said)
    drawn = np.random.default_rng(seed).integers(0, len(names), (resamples, len(names)))
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
        right = sums.sum(axis=0) / counts.sum(axis=0)
    return Shares(said.sum(axis=0), right, said.mean(axis=0), shares)


def tabulate_ways(
    arms: Mapping[str, Array], prompts: Sequence[str]
) -> tuple[pl.DataFrame, Shares, list[str]]:
    """arm, n, right, interval, coverage of what `score_sides` gave by arm; with the shares and the
    names in their order, for `compare`."""
    names = list(arms)
    shares = share_rights(np.column_stack(list(arms.values())), prompts)
    rows = [
        {"arm": name, "n": int(shares.n[at]), "right": float(shares.right[at]),
         "95 %": show_interval(*shares.interval(at)), "coverage": float(shares.coverage[at])}
        for at, name in enumerate(names)
    ]  # fmt: skip
    return pl.DataFrame(rows), shares, names


def tabulate_gains(
    shares: Shares, names: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> pl.DataFrame:
    """arm, less, gain with its interval: paired, the same prompts drawn for both."""
    rows: list[dict[str, Any]] = []
    for name, other in pairs:
        gain, low, high = shares.compare(names.index(name), names.index(other))
        rows.append({"arm": name, "less": other, "gain": f"{gain:+.3f}",
                     "95 %": show_interval(low, high, "+.3f")})  # fmt: skip
    return pl.DataFrame(rows)


def show_interval(low: float, high: float, form: str = ".3f") -> str:
    """In words."""
    return f"{low:{form}} to {high:{form}}"
