"""What people's minutes were spent on, and what they bought: labels, gold, pairs that were kept."""

from __future__ import annotations

from typing import Any

import polars as pl

from annotators.people.minutes import price, sum_minutes
from pipelines.label.people.assessing import DECIDING
from pipelines.label.people.counting import PEOPLE, PERSON, read_details
from pipelines.label.people.resolving import find_answers
from pipelines.label.reliability import clean_numbers
from pipelines.lake.catalogue import Lake

SPENT = {
    "annotation": pl.String, "annotator": pl.String, "batch": pl.String, "question": pl.String,
    "item": pl.String, "updated_at": pl.String, "seconds": pl.Float64, "purpose": pl.String,
    "labels": pl.Int64,
}  # fmt: skip
SAID = """
SELECT * FROM judgments WHERE kind = 'human' AND starts_with(annotator, ?)
"""
UNREAD = """
SELECT position AS annotation, any_value(batch_id) AS batch, any_value(question) AS question,
    max(TRY_CAST(json_extract(json_extract_string("row", '$.raw'), '$.lead_time') AS DOUBLE))
        AS seconds
FROM quarantine LEFT JOIN (
    SELECT review_id, any_value(batch_id) AS batch_id, any_value(question) AS question
    FROM reviews GROUP BY review_id
) AS asked ON json_extract_string("row", '$.review_id') = asked.review_id
WHERE stage = 'review_pull' AND position IS NOT NULL
GROUP BY position ORDER BY position
"""
RELEASED = """
SELECT batch_id AS batch, count(*) AS n_released FROM releases WHERE outcome = 'gold'
GROUP BY batch_id
"""
GOLD = f"""
SELECT substr(annotator, {len(PEOPLE) + 1}) AS batch,
    json_extract_string(detail, '$.review_id') AS review_id, response_a, response_b, criterion
FROM judgments WHERE kind = 'human' AND starts_with(annotator, '{PEOPLE}')
ORDER BY judgment_id
"""
KEPT = f"""
SELECT DISTINCT pair_id,
    CASE WHEN starts_with(annotator, '{PEOPLE}') THEN substr(annotator, {len(PEOPLE) + 1}) END
        AS batch
FROM (SELECT pair_id, unnest(annotators) AS annotator FROM version_pairs WHERE tier = 'gold'
    AND (? IS NULL OR (name = ? AND version = ?)))
WHERE starts_with(annotator, '{PEOPLE}') OR starts_with(annotator, '{PERSON}')
"""


def list_spent(lake: Lake) -> pl.DataFrame:
    """One row an annotation that ever came back, in the order of time: its batch (null before there
    were batches), question, item (the pair, response or group), annotator (null where it could not
    be read), updated_at, seconds, purpose and labels (see `annotators.people.minutes`)."""
    rows = read_details(lake.query(SAID, [PERSON])).with_columns(
        annotation=pl.coalesce("annotation", "judgment_id"),
        question=pl.col("question").fill_null("preference"),
    )
    is_label = pl.col("valid") & (
        pl.col("criterion").is_null() | pl.col("criterion").is_in(DECIDING)
    )
    is_last = (pl.col("turn") == pl.col("turn").max().over("annotation")) & pl.col(
        "updated_at"
    ).eq_missing(pl.col("updated_at").max().over("annotation", "turn"))
    said = rows.group_by("annotation").agg(
        pl.col("annotator", "batch", "question").first(),
        pl.col("updated_at").max(),
        pl.col("seconds").max(),
        labels=(is_last & is_label).sum().cast(pl.Int64),
        former=pl.col("review_id").is_null().all(),
    )
    standing = find_answers(lake).group_by("annotation").agg(
        item=pl.col("pair_id").first(),
        set_aside=pl.col("set_aside").first(),
        role=pl.col("role").first(),
    )  # fmt: skip
    known = said.join(standing, on="annotation", how="left").with_columns(
        purpose=pl.when(pl.col("former"))
        .then(pl.lit("work"))
        .when(pl.col("role").is_null())
        .then(pl.lit("taken_back"))
        .when(pl.col("set_aside") == "skipped")
        .then(pl.lit("skipped"))
        .when(pl.col("set_aside").is_not_null())
        .then(pl.lit("set_aside"))
        .otherwise("role"),
    )
    unread = lake.query(UNREAD).join(said, on="annotation", how="anti")
    return pl.concat(
        [
            frame.select(
                (pl.col(name) if name in frame.columns else pl.lit(None)).cast(dtype).alias(name)
                for name, dtype in SPENT.items()
            )
            for frame in (
                known,
                unread.with_columns(purpose=pl.lit("unreadable"), labels=pl.lit(0)),
            )
        ]
    ).sort("updated_at", "annotation", nulls_last=False)


def find_kept(lake: Lake, version: tuple[str, int] | None = None) -> pl.DataFrame:
    """pair_id, batch: the pairs that a published version (this one, or any) holds as gold because
    people said so; batch is null where they said it outside one."""
    name, number = version or (None, None)
    return lake.query(KEPT, [name, name, number])


def keep_ledger(lake: Lake, kept: pl.DataFrame) -> dict[str, Any]:
    """`annotators.people.minutes.sum_minutes` of all that came back (`all`, None where nothing
    did), `by_batch` and `by_question`; each with what it bought: n_released (items released as
    gold), n_kept (pairs of `kept`), seconds_per_released and seconds_per_kept (all known times
    over these).

    Args:
        kept: of `find_kept`.
    """
    spent = list_spent(lake)
    if spent.is_empty():
        return {"all": None, "by_batch": [], "by_question": []}
    questions = spent.select("batch", "question").unique("batch", maintain_order=True)
    released = lake.query(RELEASED)
    bought = released.join(
        kept.group_by("batch").agg(n_kept=pl.col("pair_id").n_unique()),
        on="batch", how="full", coalesce=True, nulls_equal=True,
    ).join(questions, on="batch", how="left", nulls_equal=True)  # fmt: skip
    total = sum_minutes(spent, ()).with_columns(
        n_released=pl.lit(released["n_released"].sum(), pl.Int64),
        n_kept=pl.lit(kept["pair_id"].n_unique(), pl.Int64),
    )
    tables = {"all": total}
    for name in ("batch", "question"):
        frame = bought.group_by(name).agg(pl.col("n_released", "n_kept").sum())
        tables[f"by_{name}"] = sum_minutes(spent, (name,)).join(
            frame, on=name, how="left", nulls_equal=True, maintain_order="left"
        )
    priced = {
        name: table.with_columns(pl.col("n_released", "n_kept").fill_null(0)).with_columns(
            seconds_per_released=price("n_released"), seconds_per_kept=price("n_kept")
        )
        for name, table in tables.items()
    }
    return clean_numbers(  # type: ignore[no-any-return]
        {
            "all": priced["all"].row(0, named=True),
            "by_batch": priced["by_batch"].to_dicts(),
            "by_question": priced["by_question"].to_dicts(),
        }
    )


def time_gold(lake: Lake, spent: pl.DataFrame) -> pl.DataFrame:
    """When each label that people's batches made gold was known: response_a, response_b, criterion
    and minutes, all that people had spent when the last answer to its item was in that counts. A
    ranking makes one of each two responses. What two batches made, the earlier one did.

    Args:
        spent: of `list_spent`.
    """
    clock = spent.with_columns(minutes=pl.col("seconds").fill_null(0).cum_sum() / 60)
    done = (
        clock.filter(pl.col("purpose").is_in(["work", "adjudication"]))
        .group_by("batch", "item")
        .agg(pl.col("minutes").max())
    )
    items = lake.query("SELECT review_id, pair_id AS item FROM releases WHERE outcome = 'gold'")
    what = ["response_a", "response_b", "criterion"]
    return (
        lake.query(GOLD)
        .join(items.unique("review_id"), on="review_id")
        .join(done, on=["batch", "item"])
        .group_by(what)
        .agg(pl.col("minutes").min())
        .sort("minutes", *what)
    )
