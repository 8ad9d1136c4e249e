"""How each person stands in each batch: right on hidden gold, in step with the others, at what
speed, and getting better or worse.

Conventions, which the figures depend on:

- "Cannot decide" is an answer and no label: it counts in `n` and `undecided` alone. A tie is right
  where gold is a tie, and wrong elsewhere.
- The others' consensus on an item is the label that more of them gave than any other. Where they
  draw, or nobody else gave one, there is none. It is not the truth: the best of all may disagree.
- Times are compared within a batch, as if its items were dealt out at random and nobody's longer.
- `updated_at` is the time of the last change: a change of mind late in a batch counts as late.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from annotators.agreement import find_difference, find_interval
from annotators.people.annotations import take_gold, take_latest
from annotators.votes import LABELS

BAR = 0.6
LEAST_GOLD = 30
FAST = 1 / 3
LEAST_TIMED = 10  # labels with a time, before a person's median is one
LEAST_THIRD = 10  # labels in the first third, and in the last
WHO = ("batch", "annotator")


def measure_standing(
    annotations: pl.DataFrame,
    gold: pl.DataFrame,
    *,
    bar: float = BAR,
    least: int = LEAST_GOLD,
    labels: Sequence[str] | None = LABELS,
) -> pl.DataFrame:
    """One row a batch and annotator, sorted. What cannot be measured is null, not 0. Leave the
    column `batch` out for one row an annotator.

    An annotator is `below` where at least `least` labels are on hidden gold and the *lower* end of
    the accuracy's interval is under `bar`. The lower end, because all else is measured by what
    people say: to set somebody aside costs minutes (the items return to the queue), bad gold costs
    the data set, so the doubt counts against the annotator. The least number, because even three
    right of three leave room for an accuracy of 0.44. So `bar` is what must be shown, and lies well
    under what is hoped for: at 0.6 and 30 items, 24 right are enough and 23 are not. Who is right
    0.9 of the time is then set aside 3 times in 100, at 0.8 39 times, at 0.6 98 times; with 60
    items 0, 8 and 98 times.

    Args:
        annotations: see `annotators.people.annotations`.
        gold: item, label: the truth about the hidden items.
        bar: the accuracy that must be shown.
        least: gold items that somebody must have answered before being judged.
        labels: see `annotations.take_latest`. A label is right where it is gold's, whatever it is.

    Returns:
        batch, annotator
        n, n_labels: items answered, and those of them with a label.
        ties: share of the labels; undecided: share of `n` without a label.
        n_gold, accuracy, accuracy_low, accuracy_high: labels on hidden gold, the share of them that
            is right, and its 95 % Wilson interval.
        n_others, agreement, agreement_low, agreement_high: likewise against the others' consensus.
        n_timed, seconds: labels with a time, and their median.
        pace: `seconds` over the median of the other annotators' medians in the batch (of those with
            `LEAST_TIMED` times); rushed: share of the timed labels that took less than a third
            (`FAST`) of that.
        fast: whether pace is under a third. A hint to look, which sets nobody aside.
        drift, drift_low, drift_high: accuracy in the last third of the labels on gold less that in
            the first, by time, and its 95 % interval (`agreement.find_difference`); where a third
            holds fewer than `LEAST_THIRD`, the same of agreement with the others. drift_by: `gold`
            or `others`. Where drift_high is under 0 it got worse; 1 steady person in 40 looks so.
        below: true, false, or null where gold is too little; reason: the same as a sentence.

    Raises:
        VotesUnreadable: see `annotations.take_latest` and `annotations.take_gold`.
    """
    rows = _score(take_latest(annotations, labels), take_gold(gold, labels))
    counted = rows.group_by(WHO).agg(
        n=pl.len().cast(pl.Int64),
        n_labels=pl.col("label").count().cast(pl.Int64),
        ties=(pl.col("label") == "tie").mean(),
        undecided=pl.col("label").is_null().mean(),
        n_gold=pl.col("right").count().cast(pl.Int64),
        accuracy=pl.col("right").mean(),
        n_others=pl.col("agrees").count().cast(pl.Int64),
        agreement=pl.col("agrees").mean(),
        n_timed=pl.col("spent").count().cast(pl.Int64),
        seconds=pl.col("spent").median(),
    )
    for part in (_measure_pace(rows, counted), _measure_drift(rows)):
        counted = counted.join(part, on=WHO, how="left", nulls_equal=True)
    accuracy = find_interval(pl.col("accuracy"), pl.col("n_gold"))
    agreement = find_interval(pl.col("agreement"), pl.col("n_others"))
    known = counted.with_columns(
        accuracy_low=accuracy[0],
        accuracy_high=accuracy[1],
        agreement_low=agreement[0],
        agreement_high=agreement[1],
        fast=pl.col("pace") < FAST,
    ).with_columns(below=pl.when(pl.col("n_gold") >= least).then(pl.col("accuracy_low") < bar))
    return known.with_columns(reason=_say_why(bar, least)).select(
        *WHO, "n", "n_labels", "ties", "undecided",
        "n_gold", "accuracy", "accuracy_low", "accuracy_high",
        "n_others", "agreement", "agreement_low", "agreement_high",
        "n_timed", "seconds", "pace", "rushed", "fast",
        "drift", "drift_low", "drift_high", "drift_by", "below", "reason",
    ).sort(WHO)  # fmt: skip


def _score(rows: pl.DataFrame, truth: pl.DataFrame) -> pl.DataFrame:
    """With `right`, `agrees` (null where there is nothing to compare with) and `spent` (the seconds
    of a label)."""
    task = ["batch", "item"]
    votes = rows.drop_nulls("label").group_by(*task, said="label").agg(votes=pl.len())
    others = (
        rows.select(*task, "annotator", "label")
        .join(votes, on=task, nulls_equal=True)
        .with_columns(votes=pl.col("votes") - (pl.col("said") == pl.col("label")).fill_null(False))
        .filter(pl.col("votes") > 0)
        .filter(pl.col("votes") == pl.col("votes").max().over(*task, "annotator"))
        .group_by(*task, "annotator")
        .agg(led=pl.when(pl.len() == 1).then(pl.col("said").first()))
    )
    return (
        rows.join(truth, on="item", how="left")
        .join(others, on=[*task, "annotator"], how="left", nulls_equal=True)
        .with_columns(
            right=pl.col("label") == pl.col("truth"),
            agrees=pl.col("label") == pl.col("led"),
            spent=pl.when(pl.col("label").is_not_null()).then("seconds"),
        )
    )


def _measure_pace(rows: pl.DataFrame, counted: pl.DataFrame) -> pl.DataFrame:
    timed = counted.filter(pl.col("n_timed") >= LEAST_TIMED).select(*WHO, "seconds")
    usual = (
        timed.join(timed, on="batch", suffix="_other", nulls_equal=True)
        .filter(pl.col("annotator") != pl.col("annotator_other"))
        .group_by(*WHO, "seconds")
        .agg(usual=pl.col("seconds_other").median())
        .filter(pl.col("usual") > 0)
    )
    return (
        rows.join(usual, on=WHO, nulls_equal=True, suffix="_median")
        .group_by(WHO)
        .agg(
            pace=(pl.col("seconds_median") / pl.col("usual")).first(),
            rushed=(pl.col("spent") < FAST * pl.col("usual")).mean(),
        )
    )


def _measure_drift(rows: pl.DataFrame) -> pl.DataFrame:
    parts = []
    for by, score in (("gold", "right"), ("others", "agrees")):
        place, third = pl.int_range(pl.len()), pl.len() // 3
        scored = rows.filter(pl.col(score).is_not_null() & pl.col("updated_at").is_not_null())
        parts.append(
            scored.sort("updated_at", "item")
            .group_by(WHO, maintain_order=True)
            .agg(
                third=third.cast(pl.Int64),
                first=pl.col(score).filter(place < third).mean(),
                last=pl.col(score).filter(place >= pl.len() - third).mean(),
                drift_by=pl.lit(by),
            )
            .filter(pl.col("third") >= LEAST_THIRD)
        )
    low, high = find_difference(pl.col("first"), pl.col("third"), pl.col("last"), pl.col("third"))
    best = pl.concat(parts).unique(WHO, keep="first", maintain_order=True)
    return best.select(
        *WHO, "drift_by", drift=pl.col("last") - pl.col("first"), drift_low=low, drift_high=high
    )


def _say_why(bar: float, least: int) -> pl.Expr:
    right = (pl.col("accuracy") * pl.col("n_gold")).round().cast(pl.Int64)
    low, high = ((100 * pl.col(f"accuracy_{end}")).round(1) for end in ("low", "high"))
    known = pl.format(
        "right on {} of {} hidden gold items, so {}% to {}% of the time; the lower of these must "
        f"be {bar:.1%} at least",
        *(right, "n_gold", low, high),
    )
    few = pl.format(
        f"{{}} hidden gold items have a label; {least} are the least to judge by", "n_gold"
    )
    return pl.when(pl.col("n_gold") >= least).then(known).otherwise(few)
