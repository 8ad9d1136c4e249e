"""What people said, as a frame: the input of everything in `annotators.people`.

    item        what was judged
    annotator   who judged it
    label       `a`, `b` or `tie`, or (where a function takes `labels`) any other text that is an
                answer; null where the person looked and cannot decide
    strength    optional: -2, -1, 0, 1 or 2, from `b` much better to `a` much better, of the sign of
                the label; null where it was not asked
    seconds     optional: time spent; null where it is not known
    updated_at  optional: when it was last changed, a Datetime
    batch       optional: what was sent out together
    category    optional: what the item is about

A person who changes an annotation leaves several rows, of which the latest counts. An annotation
that could not be read has no row here: it is not the same as "cannot decide".
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from annotators.votes import LABELS, VotesUnreadable, check_votes

KEY = ("batch", "item", "annotator")
NEEDED = ("item", "annotator", "label")
OPTIONAL = {
    "strength": pl.Float64(),
    "seconds": pl.Float64(),
    "updated_at": pl.Datetime(),
    "batch": pl.String(),
    "category": pl.String(),
}
SIDES = {"a": 1.0, "tie": 0.0, "b": -1.0}


def take_latest(annotations: pl.DataFrame, labels: Sequence[str] | None = LABELS) -> pl.DataFrame:
    """One row a batch, item and annotator: what the person said last, checked.

    Leave the column `batch` out to take a person's last word on an item over all batches.

    Args:
        labels: what may be said; None where answers are other texts too (the index of a step).

    Returns:
        The columns above and no others, null where one was missing; sorted by batch, item and
        annotator.

    Raises:
        VotesUnreadable: a column is missing or of the wrong type; a name is null; a label is none
            of `labels`; a strength is out of range or contradicts its label; seconds are negative
            or not finite; or a person says two things about an item at one time.
    """
    rows = _type_columns(annotations)
    _check_rows(rows, labels)
    last = pl.col("updated_at").max().over(KEY)  # a time that is not known counts as the earliest
    is_latest = last.is_null() | (pl.col("updated_at") == last).fill_null(False)
    latest = rows.unique().filter(is_latest).sort(KEY)
    torn = latest.filter(pl.struct(KEY).is_duplicated())
    if len(torn):
        row = torn.row(0, named=True)
        raise VotesUnreadable(
            f"{row['annotator']!r} says two things about item {row['item']!r} at one time "
            f"({row['updated_at']}): give `updated_at`, or keep one of the rows"
        )
    return latest


def take_labels(annotations: pl.DataFrame) -> pl.DataFrame:
    """`take_latest` without those who cannot decide: votes, as `annotators.consensus` and
    `annotators.agreement` count them."""
    return take_latest(annotations).filter(pl.col("label").is_not_null())


def take_gold(gold: pl.DataFrame, labels: Sequence[str] | None = LABELS) -> pl.DataFrame:
    """The truth about the hidden items, one row an item.

    Args:
        gold: item, label.
        labels: see `take_latest`.

    Returns:
        item, truth; sorted.

    Raises:
        VotesUnreadable: a column is missing, a label is none of `labels`, or an item has two.
    """
    check_votes(gold, ("item", "label") if labels == LABELS else ("item",), "gold")
    truth = (
        gold.select(pl.col("item").cast(pl.String), truth=pl.col("label").cast(pl.String))
        .unique()
        .sort("item", "truth")
    )
    torn = truth.filter(pl.col("item").is_duplicated())
    if len(torn):
        raise VotesUnreadable(
            f"gold gives item {torn['item'][0]!r} two different labels; keep one of them"
        )
    return truth


def _type_columns(annotations: pl.DataFrame) -> pl.DataFrame:
    missing = [name for name in NEEDED if name not in annotations.columns]
    if missing:
        raise VotesUnreadable(
            f"the annotations lack the column {', '.join(missing)}; "
            f"they have {', '.join(annotations.columns)}"
        )
    columns = [pl.col(name).cast(pl.String) for name in NEEDED]
    for name, dtype in OPTIONAL.items():
        given = annotations.schema.get(name, pl.Null())
        if given == pl.Null:
            columns.append(pl.lit(None, dtype).alias(name))
        elif dtype == pl.String or (dtype == pl.Float64 and given.is_numeric()):
            columns.append(pl.col(name).cast(dtype))
        elif dtype == pl.Datetime and given == pl.Datetime:
            columns.append(pl.col(name))
        else:
            raise VotesUnreadable(
                f"the column {name} of the annotations is {given}; make it {dtype}"
            )
    return annotations.select(columns)


def _check_rows(rows: pl.DataFrame, labels: Sequence[str] | None) -> None:
    strength, seconds = pl.col("strength"), pl.col("seconds")
    side = pl.col("label").replace_strict(SIDES, default=None, return_dtype=pl.Float64)
    faults = (
        ("item", pl.col("item").is_null(), "every row names its item"),
        ("annotator", pl.col("annotator").is_null(), "every row names its annotator"),
        (
            "label",
            pl.lit(False) if labels is None else ~pl.col("label").is_in(labels),
            f"it is one of {', '.join(labels or ())}, or null where the person cannot decide",
        ),
        (
            "strength",
            ~strength.is_in([-2.0, -1.0, 0.0, 1.0, 2.0]) | strength.sign().ne_missing(side),
            "it is -2, -1, 0, 1 or 2: positive for a, negative for b, 0 for a tie",
        ),
        (
            "seconds",
            ~seconds.is_finite() | (seconds < 0),
            "they are a number of at least 0, or null where they are not known",
        ),
    )
    for name, fault, rule in faults:
        strange = rows.filter(fault if name in NEEDED else fault & pl.col(name).is_not_null())
        if len(strange):
            row = strange.row(0, named=True)
            raise VotesUnreadable(
                f"the annotation of item {row['item']!r} by {row['annotator']!r}, label "
                f"{row['label']!r}, has the {name} {row[name]!r}: {rule}"
            )
