"""The ledger of minutes: what people's time was spent on, and what it bought.

Times are as the desk tells them: nothing is cut off or filled in. A page left open over lunch is in
the mean and the total, so the median stands beside them; annotations without a time are counted and
left out, so a total is a lower bound where there are any. Label Studio adds a person's earlier
sittings to the time of an annotation, so the latest revision holds all of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from annotators.agreement import find_difference, find_interval
from annotators.people.annotations import take_latest
from annotators.votes import VotesUnreadable
from schemas.errors import AssayError

GROUPS = ("batch", "category", "annotator")
POINT = ("minutes", "accuracy", "n")


class CurveBroken(AssayError):
    """Points of accuracy against minutes that are no measurements."""


def sum_minutes(
    annotations: pl.DataFrame, kept: pl.DataFrame | None = None, by: Sequence[str] = ("batch",)
) -> pl.DataFrame:
    """What people's time came to.

    Time spent on hidden gold, on items that somebody cannot decide and on pairs that were discarded
    is part of what a label and a kept pair cost.

    Args:
        annotations: see `annotators.people.annotations`.
        kept: item, a row for each pair that was kept; without it nothing is said of them.
        by: any of `batch`, `category` and `annotator`; none for one row over all.

    Returns:
        The columns `by`, and
        n, n_labels: annotations, and those of them with a label.
        n_untimed: annotations whose time is not known.
        minutes: total of the known times.
        seconds_median, seconds_mean: of an annotation with a known time.
        seconds_per_label: all known times over the labels whose time is known.
        n_kept: distinct kept pairs that have an annotation in the group. A pair that two people
            judged is in the row of each.
        seconds_per_kept: all known times over `n_kept`.
        Null where there is nothing to divide by; sorted by `by`.

    Raises:
        VotesUnreadable: see `annotations.take_latest`; or `by` names another column.
    """
    wrong = [name for name in by if name not in GROUPS]
    if wrong:
        raise VotesUnreadable(f"minutes are summed by {', '.join(GROUPS)}, not by {wrong[0]!r}")
    rows = take_latest(annotations)
    names = rows["item"].clear() if kept is None else kept["item"].cast(pl.String)
    timed, labelled = pl.col("seconds").is_not_null(), pl.col("label").is_not_null()
    pairs = pl.col("item").filter(pl.col("item").is_in(names.unique().implode())).n_unique()
    summed = rows.group_by(*by, pl.lit(0).alias("all")).agg(
        n=pl.len().cast(pl.Int64),
        n_labels=labelled.sum().cast(pl.Int64),
        n_untimed=(~timed).sum().cast(pl.Int64),
        seconds=pl.when(timed.any()).then(pl.col("seconds").sum()),
        seconds_median=pl.col("seconds").median(),
        seconds_mean=pl.col("seconds").mean(),
        labels_timed=(timed & labelled).sum(),
        n_kept=pairs.cast(pl.Int64) if kept is not None else pl.lit(None, pl.Int64),
    )
    return summed.select(
        *by, "n", "n_labels", "n_untimed",
        (pl.col("seconds") / 60).alias("minutes"),
        "seconds_median", "seconds_mean",
        _divide("seconds", "labels_timed").alias("seconds_per_label"),
        "n_kept",
        _divide("seconds", "n_kept").alias("seconds_per_kept"),
    ).sort(by or "n")  # fmt: skip


def trace_curve(points: pl.DataFrame) -> pl.DataFrame:
    """What accuracy came of how many minutes, and what the last ones brought.

    Args:
        points: minutes (people's, all that were spent until the measurement), accuracy (0 to 1:
            of gold, or of a reward model), n (the items that it was measured on).

    Returns:
        By minutes: minutes, accuracy, n; low, high (95 % Wilson interval of the accuracy); gain
        over the point before, gain_low, gain_high (its 95 % interval, as if the two had been
        measured on different items: too wide where they are the same); gain_per_100 (of the gain,
        a hundred minutes). Gains of the first point are null, and gain_per_100 where no minutes
        were spent between two.

    Raises:
        CurveBroken: a column is missing, or a row is no measurement.
    """
    missing = [name for name in POINT if name not in points.columns]
    if missing:
        raise CurveBroken(f"the points of the curve lack the column {', '.join(missing)}")
    rows = points.select(pl.col(POINT[:2]).cast(pl.Float64), pl.col("n").cast(pl.Int64))
    minutes, share, n = (pl.col(name) for name in POINT)
    sound = minutes.is_finite() & (minutes >= 0) & share.is_between(0, 1) & (n > 0)
    strange = rows.filter(~sound.fill_null(False))
    if len(strange):
        raise CurveBroken(
            f"{strange.row(0, named=True)} is no point of a curve: minutes are 0 or more, accuracy "
            "is from 0 to 1 and n at least 1; leave out what was not measured"
        )
    low, high = find_interval(share, n)
    gain_low, gain_high = find_difference(share.shift(), n.shift(), share, n)
    return (
        rows.sort("minutes", maintain_order=True)
        .with_columns(low=low, high=high, gain=share.diff())
        .with_columns(
            gain_low=gain_low,
            gain_high=gain_high,
            gain_per_100=100 * _divide("gain", minutes.diff()),
        )
    )


def _divide(above: str, below: str | pl.Expr) -> pl.Expr:
    by = pl.col(below) if isinstance(below, str) else below
    return pl.when(by > 0).then(pl.col(above) / by)
