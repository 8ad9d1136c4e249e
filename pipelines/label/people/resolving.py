"""What people said of a batch, and which of it counts.

More annotations may come back than were asked for: the desk keeps all of them. The rules, in this
order; everything stays in `judgments`, and `set_aside` names the rule:

    skipped          the person skipped the task, or said nothing
    below            the person is set aside in this batch (`standings`)
    not_a_third      an adjudication by somebody who took part in the disagreement
    repeated         the same person answered the item again later: the latest answer counts
    beyond_overlap   as many people as were wanted had begun before this one
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from pipelines.label.people.answers import UNDECIDED
from pipelines.label.people.counting import PERSON, read_details, take_standing
from pipelines.label.people.reviews import find_reviews
from pipelines.lake.catalogue import Lake

OF_REVIEW = ("pair_id", "role", "overlap", "round", "left", "why")
ITEM = ("batch", "pair_id", "role")


def find_answers(lake: Lake, batches: Sequence[str] | None = None) -> pl.DataFrame:
    """The judgments of batches (where none are named, of all reviews) that stand, as they are in
    `judgments`, with the fields of their `detail`, the columns `OF_REVIEW` of their review, and
    set_aside: null where the annotation counts, else the rule."""
    wanted = pl.DataFrame({"batch": list(batches or [])}, schema={"batch": pl.String})
    rows = lake.query(
        "SELECT * FROM judgments WHERE kind = 'human' AND starts_with(annotator, ?) "
        "AND json_extract_string(detail, '$.review_id') IS NOT NULL"
        + (" AND json_extract_string(detail, '$.batch') IN (FROM wanted)" if batches else ""),
        [PERSON],
        wanted=wanted,
    )
    reviews = find_reviews(lake).select("review_id", *OF_REVIEW)
    below = find_below(lake).select("batch", "annotator", below=pl.lit(True))
    standing = take_standing(read_details(rows)).join(reviews, on="review_id")
    return resolve(standing.join(below, on=["batch", "annotator"], how="left"))


def find_below(lake: Lake) -> pl.DataFrame:
    """batch, annotator: the people who were set aside, once and for all of that batch."""
    return lake.query(
        "SELECT DISTINCT batch_id AS batch, person AS annotator FROM standings WHERE below "
        "ORDER BY ALL"
    )


def resolve(standing: pl.DataFrame) -> pl.DataFrame:
    """With `set_aside`; see the module.

    Args:
        standing: of `counting.take_standing`, with `OF_REVIEW` and below (true, or null).
    """
    first = standing.group_by("annotation", "annotator", *ITEM, "review_id", "overlap").agg(
        pl.col("updated_at").first(),
        pl.col("began").first(),
        pl.col("below").any().fill_null(False),
        answered=pl.col("valid").any() | (pl.col("reason") == UNDECIDED).any(),
    )
    rules = pl.lit(None, pl.String)
    marked = first.with_columns(
        set_aside=pl.when(~pl.col("answered"))
        .then(pl.lit("skipped"))
        .when("below")
        .then(pl.lit("below"))
        .otherwise(rules)
    )
    counts = pl.col("set_aside").is_null()
    partakers = (
        marked.filter(counts & (pl.col("role") == "work"))
        .select("batch", "pair_id", "annotator", partook=pl.lit(True))
        .unique()
    )
    is_third = pl.col("role") == "adjudication"
    marked = marked.join(
        partakers, on=["batch", "pair_id", "annotator"], how="left", nulls_equal=True
    ).with_columns(_mark("not_a_third", is_third & pl.col("partook").fill_null(False)))
    mine = [*ITEM, "annotator"]
    marked = (
        marked.sort("updated_at", "annotation")
        .with_columns(
            last=pl.int_range(pl.len()).over(*mine, counts) == pl.len().over(*mine, counts) - 1,
            began=pl.col("began").min().over("review_id", "annotator", counts),
        )
        .with_columns(_mark("repeated", ~pl.col("last")))
        .sort("began", "annotation")
        .with_columns(place=pl.int_range(pl.len()).over("review_id", counts))
        .with_columns(_mark("beyond_overlap", pl.col("place") >= pl.col("overlap")))
    )
    return standing.join(marked.select("annotation", "set_aside"), on="annotation").sort(
        "batch", "pair_id", "annotator", "judgment_id"
    )


def _mark(rule: str, breaks: pl.Expr) -> pl.Expr:
    """`set_aside` with this rule, where no rule before it held."""
    fresh = pl.col("set_aside").is_null() & breaks
    return pl.when(fresh).then(pl.lit(rule)).otherwise("set_aside").alias("set_aside")
