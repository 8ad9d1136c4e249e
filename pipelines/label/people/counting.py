"""Which of people's judgments count: the one place that says so.

A person's judgments of a batch label nothing by themselves: only what was released of it does, the
judgments of the annotator `people:BATCH`. Judgments without a batch (of lakes from before there
were batches) count as they come, the latest of a person on a pair.

`detail` (JSON) names the annotation, its `updated_at` in UTC, and the `turn`: 0 as it was given,
one more each time that the desk showed of it what a later `updated_at` does not tell (that it was
gone, was back, reads otherwise since its task was edited, or is of an earlier time, the clock of
the desk being set back). What stands of an annotation is its latest turn, and of that the latest
`updated_at`.
"""

from __future__ import annotations

import polars as pl

from pipelines.lake.catalogue import Lake

PERSON = "person-"
PEOPLE = "people:"
WHAT = ("annotator", "response_a", "response_b", "criterion")
FIELDS = ("annotation", "updated_at", "began", "review_id", "batch", "question", "turn", "deleted")


def keep_counted(judgments: pl.DataFrame) -> pl.DataFrame:
    """`judgments` without those of our own people that do not count, superseded ones among them.

    Args:
        judgments: annotator, kind, response_a, response_b, criterion, detail, created_at,
            judgment_id and others. Opinions of machines and of imported pools stay as they are.
    """
    imported = pl.col("annotator").str.starts_with("import:")
    mine = (pl.col("kind") == "human") & ~imported & ~pl.col("annotator").str.starts_with(PEOPLE)
    said = read_details(judgments.filter(mine)).filter(pl.col("batch").is_null())
    by_desk = pl.col("question").is_not_null().any().over(WHAT)  # noted so since there are batches
    former = said.filter(~by_desk).sort("created_at", "detail", "judgment_id")
    latter = take_standing(said.filter(by_desk)).sort("updated_at", "annotation")
    latest = [
        part.unique(WHAT, keep="last", maintain_order=True).select(judgments.columns)
        for part in (former, latter)
    ]
    return pl.concat([judgments.filter(~mine), *latest])


def read_details(judgments: pl.DataFrame) -> pl.DataFrame:
    """With the fields of `detail` as columns (`FIELDS`): texts, turn a number and deleted a
    boolean."""
    found = {
        name: pl.col("detail").str.json_path_match(f"$.{name}").cast(pl.String) for name in FIELDS
    }
    found["turn"] = found["turn"].cast(pl.Int64).fill_null(0)
    found["deleted"] = (found["deleted"] == "true").fill_null(False)
    return judgments.with_columns(**found)


def take_latest(judgments: pl.DataFrame) -> pl.DataFrame:
    """Of each annotation the rows that say what stands of it, tombstones among them.

    Args:
        judgments: of `read_details`. Rows that name no annotation are left out.
    """
    rows = judgments.filter(pl.col("annotation").is_not_null())
    for order in ("turn", "updated_at"):
        rows = rows.filter(pl.col(order) == pl.col(order).max().over("annotation"))
    return rows


def take_standing(judgments: pl.DataFrame) -> pl.DataFrame:
    """`take_latest` without what was deleted at the desk."""
    return take_latest(judgments).filter(~pl.col("deleted"))


def find_discarded(lake: Lake) -> pl.DataFrame:
    """The pairs that people discarded and of which no batch has released gold: pair_id, because."""
    return lake.query(
        "SELECT pair_id, max(reason) AS because FROM releases GROUP BY pair_id "
        "HAVING bool_and(outcome = 'discarded') ORDER BY pair_id"
    )
