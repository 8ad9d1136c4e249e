"""How annotators agree with one another, and whether they err on the same items.

Correlated errors are the hidden cost of a jury: three judges who fail together are one judge. So
agreement alone (kappa) is half the picture, and the correlation of errors against gold the other.

Votes are frames of item, annotator, label (see `annotators.votes`). Several votes of an annotator
on an item are first merged into one by majority, a draw being a tie.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from annotators.votes import LABELS, check_votes, merge_within

Counts = NDArray[np.float64]
Number = TypeVar("Number", float, Counts, pl.Expr)

Z = 1.959964  # 95 %
NAMES = ("annotator_1", "annotator_2")


def compare_annotators(votes: pl.DataFrame) -> pl.DataFrame:
    """Cohen's kappa over the three classes for every two annotators who share an item.

    kappa = (agreement - chance) / (1 - chance), chance from each one's own class shares on the
    shared items. (Cohen 1960, "A coefficient of agreement for nominal scales".)

    Returns:
        annotator_1 < annotator_2, n (shared items), agreement (share of them with one label),
        kappa (null where chance alone agrees on everything: both say one class throughout).

    Raises:
        VotesUnreadable: see `annotators.votes.check_votes`.
    """
    rows = merge_within(votes)
    kinds = pl.DataFrame({"label": LABELS}).with_row_index("kind")
    code = rows.join(kinds, on="label", maintain_order="left")["kind"]
    names, cells = _cross(rows, code, len(LABELS))
    n = cells.sum(axis=(2, 3))
    with np.errstate(divide="ignore", invalid="ignore"):
        agreement = np.trace(cells, axis1=2, axis2=3) / n
        chance = (cells.sum(axis=3) * cells.sum(axis=2)).sum(axis=2) / n**2
        kappa = (agreement - chance) / (1 - chance)
    return _list_pairs(names, n, agreement=agreement, kappa=kappa)


def correlate_errors(votes: pl.DataFrame, gold: pl.DataFrame) -> pl.DataFrame:
    """The correlation of two annotators' errors (phi) on the items that both judged and gold knows.

    An error is a label that is not gold's; a tie is an error where gold has none. Independent
    judges have a phi near 0, and a jury of them is worth more than its best member.

    Args:
        votes: item, annotator, label.
        gold: item, label.

    Returns:
        annotator_1 < annotator_2, n, errors_1 and errors_2 (rates on the shared items), both (the
        rate of erring together), phi (null where one of them errs always or never).

    Raises:
        VotesUnreadable: see `annotators.votes.check_votes`.
    """
    check_votes(gold, ("item", "label"), "gold")
    truth = gold.select(pl.col("item").cast(votes.schema["item"]), truth="label").unique()
    rows = merge_within(votes).join(truth, on="item")
    names, cells = _cross(rows, (rows["label"] != rows["truth"]).cast(pl.Int64), 2)
    n = cells.sum(axis=(2, 3))
    with np.errstate(divide="ignore", invalid="ignore"):
        both = cells[:, :, 1, 1] / n
        first, second = cells[:, :, 1].sum(axis=2) / n, cells[:, :, :, 1].sum(axis=2) / n
        spread = np.sqrt(first * (1 - first) * second * (1 - second))
        phi = np.where(spread > 0, (both - first * second) / spread, np.nan)
    return _list_pairs(names, n, errors_1=first, errors_2=second, both=both, phi=phi)


def find_interval(share: Number, n: Number) -> tuple[Number, Number]:
    """The 95 % Wilson interval of a share of `n`; numbers, arrays or columns. n must not be 0."""
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * (share * (1 - share) / n + Z**2 / (4 * n**2)) ** 0.5
    return middle - half, middle + half


def count_independent(values: ArrayLike, clusters: Sequence[object]) -> float:
    """How many independent values would give the mean of these as small an error.

    That is n over the design effect 1 + (m - 1) rho, m the mean size of the cluster that a value is
    in, rho the correlation of values of one cluster (by the analysis of variance, held within 0 and
    1). Never above n; the number of clusters where all values are alike, which says nothing of rho.

    (Kish 1965, "Survey Sampling"; Donner and Klar 2000, "Design and Analysis of Cluster
    Randomization Trials".)

    Args:
        values: (n) what is averaged: whether labels are right, say.
        clusters: (n) what values have in common that are not independent: their prompts.
    """
    x = np.asarray(values, dtype=np.float64)
    places = {name: place for place, name in enumerate(dict.fromkeys(clusters))}
    place = np.fromiter((places[name] for name in clusters), dtype=np.int64, count=len(x))
    n, count = len(x), len(places)
    if count in (0, 1, n):
        return float(count)
    size = np.bincount(place)
    mean = np.bincount(place, x) / size
    between = float((size * (mean - x.mean()) ** 2).sum()) / (count - 1)
    within = float(((x - mean[place]) ** 2).sum()) / (n - count)
    if between + within < 1e-12:
        return float(count)
    spread = (n - (size**2).sum() / n) / (count - 1)
    rho = np.clip((between - within) / (between + (spread - 1) * within), 0.0, 1.0)
    return float(n / (1 + ((size**2).sum() / n - 1) * rho))


def find_difference(
    share_1: Number, n_1: Number, share_2: Number, n_2: Number
) -> tuple[Number, Number]:
    """The 95 % interval of `share_2 - share_1`, two shares of different things: Newcombe's from the
    two Wilson intervals, which has a width even where both shares are 0 or 1. n must not be 0.

    (Newcombe 1998, "Interval estimation for the difference between independent proportions", 10.)
    """
    low_1, high_1 = find_interval(share_1, n_1)
    low_2, high_2 = find_interval(share_2, n_2)
    down = ((share_2 - low_2) ** 2 + (high_1 - share_1) ** 2) ** 0.5
    up = ((high_2 - share_2) ** 2 + (share_1 - low_1) ** 2) ** 0.5
    return share_2 - share_1 - down, share_2 - share_1 + up


def _cross(rows: pl.DataFrame, code: pl.Series, kinds: int) -> tuple[list[str], Counts]:
    """For every two annotators the table of what they say on shared items: names, and counts of
    the shape (annotator, annotator, kinds, kinds). `rows` has one vote an annotator and item."""
    from scipy.sparse import csr_array

    names = rows["annotator"].unique().sort()
    spoken = (
        rows["annotator"].cast(pl.String).replace_strict(names, range(len(names))).to_numpy()
        if len(rows)
        else np.zeros(0, dtype=np.int64)
    )
    item = rows["item"].rank("dense").to_numpy() - 1 if len(rows) else spoken
    shape = (len(names) * kinds, int(item.max()) + 1 if len(rows) else 1)
    said = csr_array((np.ones(len(rows)), (spoken * kinds + code.to_numpy(), item)), shape=shape)
    shared = (said @ said.T).toarray() if len(rows) else np.zeros((0, 0))
    cells = shared.reshape(len(names), kinds, len(names), kinds).transpose(0, 2, 1, 3)
    return names.to_list(), cells


def _list_pairs(names: list[str], n: Counts, **values: Counts) -> pl.DataFrame:
    first, second = np.nonzero(np.triu(n, 1))
    columns: dict[str, Any] = {
        NAMES[0]: pl.Series([names[place] for place in first], dtype=pl.String),
        NAMES[1]: pl.Series([names[place] for place in second], dtype=pl.String),
        "n": pl.Series(n[first, second].astype(np.int64)),
    }
    for name, value in values.items():
        columns[name] = pl.Series(value[first, second], dtype=pl.Float64).fill_nan(None)
    return pl.DataFrame(columns)
