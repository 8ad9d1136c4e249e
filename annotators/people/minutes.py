"""The ledger of minutes: what people's time was spent on, and what it bought.

All of it counts, as the desk tells it: nothing is cut off or filled in. A page left open over lunch
is in the mean and the total, so the median stands beside them; answers without a time are counted
as such, so a total is a lower bound where there are any. Label Studio adds a person's earlier
sittings to the time of an annotation, so the longest time of its revisions holds all of it.

    work          answers that count, to what was asked ("cannot decide" among them)
    gold          checks: answers that count, to hidden gold
    adjudication  third opinions that count
    skipped       nothing was said
    set_aside     said and not counted: of a person who is set aside, beyond the overlap, repeated
    taken_back    deleted at the desk
    unreadable    what came back and could not be read
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from annotators.agreement import find_difference, find_interval
from annotators.votes import VotesUnreadable
from schemas.errors import AssayError

PURPOSES = (
    "work", "gold", "adjudication", "skipped", "set_aside", "taken_back", "unreadable",
)  # fmt: skip
GROUPS = ("batch", "question", "annotator")
SPENT = ("purpose", "seconds", "labels")
POINT = ("minutes", "accuracy", "n")


class CurveBroken(AssayError):
    """Points of accuracy against minutes that are no measurements."""


def sum_minutes(spent: pl.DataFrame, by: Sequence[str] = ("batch",)) -> pl.DataFrame:
    """What people's time came to.

    Time on hidden gold, on what nobody could decide and on answers that do not count is part of
    what a label costs.

    Args:
        spent: one row an annotation: purpose (of `PURPOSES`), seconds (null where not known),
            labels (how many it holds; a ranking of k has k (k - 1) / 2), and the columns `by`.
        by: any of `batch`, `question` and `annotator`; none for one row over all.

    Returns:
        The columns `by`, and
        n, n_untimed: annotations, and those of them whose time is not known.
        n_labels: labels of work and adjudications. What was known before is no label.
        minutes: total of the known times; minutes_work, minutes_gold and so on: their parts.
        seconds_median, seconds_mean: of an annotation with a known time.
        seconds_per_label: all known times over `n_labels`.
        Null where nothing is known or there is nothing to divide by; sorted by `by`.

    Raises:
        VotesUnreadable: a column is missing, `by` names another, a purpose is none of `PURPOSES`,
            or seconds are negative or not finite.
    """
    wrong = [name for name in by if name not in GROUPS]
    if wrong:
        raise VotesUnreadable(f"minutes are summed by {', '.join(GROUPS)}, not by {wrong[0]!r}")
    missing = [name for name in (*SPENT, *by) if name not in spent.columns]
    if missing:
        raise VotesUnreadable(f"the times lack the column {', '.join(missing)}")
    rows = spent.with_columns(pl.col("seconds").cast(pl.Float64))
    sound = pl.col("purpose").is_in(PURPOSES) & (
        pl.col("seconds").is_null() | (pl.col("seconds").is_finite() & (pl.col("seconds") >= 0))
    )
    strange = rows.filter(~sound.fill_null(False))
    if len(strange):
        row = strange.row(0, named=True)
        raise VotesUnreadable(
            f"{row['seconds']!r} seconds on {row['purpose']!r} are no time spent: seconds are 0 or "
            f"more, or null, and were spent on one of {', '.join(PURPOSES)}"
        )
    seconds, buys = pl.col("seconds"), pl.col("purpose").is_in(["work", "adjudication"])
    parts = {
        f"minutes_{name}": seconds.filter(pl.col("purpose") == name).sum() / 60 for name in PURPOSES
    }
    summed = rows.group_by(*by, pl.lit(0).alias("all")).agg(
        n=pl.len().cast(pl.Int64),
        n_untimed=seconds.null_count().cast(pl.Int64),
        n_labels=pl.col("labels").filter(buys).sum().cast(pl.Int64),
        minutes=pl.when(seconds.is_not_null().any()).then(seconds.sum() / 60),
        **parts,
        seconds_median=seconds.median(),
        seconds_mean=seconds.mean(),
    )
    return summed.select(
        *by, "n", "n_untimed", "n_labels", "minutes", *parts, "seconds_median", "seconds_mean",
        price("n_labels").alias("seconds_per_label"),
    ).sort(by or "n")  # fmt: skip


def price(bought: str) -> pl.Expr:
    """The seconds that one of what a column counts took of all `minutes`; null where it is none."""
    return 60 * _divide("minutes", bought)


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
