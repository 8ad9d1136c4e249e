"""How well people agree: Krippendorff's alpha, and the kappa of every two.

alpha = 1 - D_observed / D_expected: 1 is perfect, 0 is what chance gives, below 0 is worse than
chance. Any number of annotators, with gaps. Two metrics:

- `nominal`: any two different values disagree alike;
- `ordinal`: values far apart disagree more, by the squared difference of their mid-ranks among all
  values, so that only their order counts. For strengths of preference and for ratings.

(Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability".)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from annotators.agreement import compare_annotators
from annotators.people.annotations import take_labels
from annotators.votes import VotesUnreadable

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats = NDArray[np.float64]
Metric = Literal["nominal", "ordinal"]

RESAMPLES = 1_000
CHUNK = 50  # resamples at a time
DEFINED = 0.95  # of the resamples, or there is no interval


@dataclass(frozen=True)
class Alpha:
    """Krippendorff's alpha of one column.

    `value` is None where it is undefined: no item has two values, or all values are the same.
    `low` and `high` are its 95 % bootstrap interval over items, None where fewer than 95 % of the
    resamples define an alpha. (Where everybody agrees on everything, so does every resample: an
    interval of [1, 1] says nothing of other items.) `items` are those with two values or more, on
    which alone it stands, `n` their values, `annotators` who gave them.
    """

    metric: Metric
    value: float | None
    low: float | None
    high: float | None
    items: int
    annotators: int
    n: int


def measure_alpha(
    votes: pl.DataFrame,
    value: str = "label",
    metric: Metric = "nominal",
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Alpha:
    """Krippendorff's alpha with a bootstrap interval over items.

    Neither the order of the rows nor the names of annotators and items change anything.

    Args:
        votes: item, annotator and the column `value`, null where it is missing; one row an item
            and annotator (of people `annotations.take_latest`, of judges `votes.merge_within`).
        value: what they agree on: `label`, `strength`, a rating.
        metric: `ordinal` needs numbers.
        resamples: 0 for no interval.

    Raises:
        VotesUnreadable: a column is missing, an annotator has two rows for an item, or the metric
            is ordinal and the values are not numbers.
    """
    shared = _select_values(votes, value, metric)
    if not len(shared):
        return Alpha(metric, None, None, None, 0, 0, 0)
    tallies, times = _tally(shared)
    items = int(times.sum())
    found = float(_compute_alphas(tallies, times[:, None], metric)[0])
    low = high = None
    if resamples and not np.isnan(found):
        alphas = _draw_alphas(tallies, times, metric, resamples, seed)
        if np.isfinite(alphas).mean() >= DEFINED:
            low, high = (float(end) for end in np.nanpercentile(alphas, [2.5, 97.5]))
    measured = None if np.isnan(found) else found
    return Alpha(metric, measured, low, high, items, shared["annotator"].n_unique(), len(shared))


def compare_people(annotations: pl.DataFrame) -> pl.DataFrame:
    """`annotators.agreement.compare_annotators` on people's labels, their last ones over all
    batches: kappa of every two who share an item. Who cannot decide has no label.

    Raises:
        VotesUnreadable: see `annotations.take_latest`.
    """
    return compare_annotators(take_labels(annotations.drop("batch", strict=False)))


def _select_values(votes: pl.DataFrame, value: str, metric: Metric) -> pl.DataFrame:
    """item, annotator, value: the values of items that have two or more."""
    missing = [name for name in ("item", "annotator", value) if name not in votes.columns]
    if missing:
        raise VotesUnreadable(
            f"the votes lack the column {', '.join(missing)}; they have {', '.join(votes.columns)}"
        )
    dtype = votes.schema[value]
    if metric == "ordinal" and not (dtype.is_numeric() or dtype == pl.Null):
        raise VotesUnreadable(
            f"the column {value} is {dtype}, and an ordinal alpha needs numbers: give strengths or "
            "ratings, or take the nominal metric"
        )
    held = pl.col(value).fill_nan(None) if dtype.is_float() else pl.col(value)
    rows = votes.select("item", "annotator", value=held).drop_nulls("value")
    twice = rows.filter(pl.struct("item", "annotator").is_duplicated()).sort("item", "annotator")
    if len(twice):
        raise VotesUnreadable(
            f"{twice['annotator'][0]!r} gives item {twice['item'][0]!r} several values of {value}: "
            "keep one of them (people: the latest), or merge them first (judges)"
        )
    return rows.filter(pl.len().over("item") > 1)


def _tally(shared: pl.DataFrame) -> tuple[csr_array, Floats]:
    """How often each value was given (a row a pattern, a column a value in ascending order), and
    how many items have that pattern.

    Items of one pattern are alike to alpha, so drawing items is drawing patterns: there are few.
    """
    from scipy.sparse import csr_array

    given = shared["value"].unique().sort()
    patterns = (
        shared.with_columns(code=pl.col("value").rank("dense") - 1)
        .group_by("item")
        .agg(pl.col("code").sort())
        .with_columns(name=pl.col("code").cast(pl.List(pl.String)).list.join(","))
        .group_by("name")
        .agg(pl.col("code").first(), times=pl.len())
        .sort("name")
    )
    cells = patterns.with_row_index("at").explode("code").select("at", "code")
    at = (cells["at"].to_numpy(), cells["code"].to_numpy())
    tallies = csr_array((np.ones(len(cells)), at), shape=(len(patterns), len(given)))
    return tallies, patterns["times"].cast(pl.Float64).to_numpy()


def _draw_alphas(
    tallies: csr_array, times: Floats, metric: Metric, resamples: int, seed: int
) -> Floats:
    generator, items = np.random.default_rng(seed), int(times.sum())
    parts = []
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        drawn = generator.multinomial(items, times / items, size=size).T.astype(np.float64)
        parts.append(_compute_alphas(tallies, drawn, metric))
    return np.concatenate(parts)


def _compute_alphas(tallies: csr_array, times: Floats, metric: Metric) -> Floats:
    """Alpha of each column of `times` (patterns, draws); NaN where it is undefined.

    The sum over the pairs of an item's n values of (rank - rank')^2 is 2 (n sum rank^2 - (sum
    rank)^2), so no table of values by values is needed. Ranks are doubled to be whole numbers, for
    which agreement is exactly 0.
    """
    sizes = tallies.sum(axis=1)[:, None]
    totals = tallies.T @ times
    n = totals.sum(axis=0)
    if metric == "nominal":
        apart = sizes**2 - (tallies**2).sum(axis=1)[:, None]
        expected = n**2 - (totals**2).sum(axis=0)
    else:
        ranks = 2 * totals.cumsum(axis=0) - totals
        apart = 2 * (sizes * (tallies @ ranks**2) - (tallies @ ranks) ** 2)
        expected = 2 * (n * (totals * ranks**2).sum(axis=0) - (totals * ranks).sum(axis=0) ** 2)
    observed = (times * apart / np.maximum(sizes - 1, 1)).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        several = (totals > 0).sum(axis=0) > 1
        return np.where(several, 1 - (n - 1) * observed / expected, np.nan)
