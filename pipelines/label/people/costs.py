"""How long an answer will take, learned from how long answers took.

The prior is a fixed time a question (finding the place, choosing, typing) and the time to skim the
text at `SKIMMED` characters a second, twice the speed at which people read. What was measured
moves it by a factor: the geometric mean of measured over prior, shrunk to 1 as if `PRIOR_ANSWERS`
had taken as long as the prior says; first of a question, then of a question and a band of lengths,
shrunk to that of the question. A page left open over lunch moves it no more than `LIMIT` does.
"""

from __future__ import annotations

import polars as pl

from pipelines.lake.catalogue import Lake

FIXED_SECONDS = {
    "preference": 20.0, "correctness": 15.0, "spans": 60.0, "first_wrong_step": 45.0,
    "ranking": 40.0,
}  # fmt: skip
SKIMMED = 50.0
PRIOR_ANSWERS = 10
LIMIT = 10.0
BANDS = (1_000, 4_000)

ANSWERED = """
SELECT coalesce(json_extract_string(detail, '$.question'), 'preference') AS question,
    max(seconds) AS seconds, any_value(prompt_id) AS prompt_id,
    list_distinct(flatten(list([response_a, response_b]))) AS responses
FROM judgments
WHERE seconds > 0 AND kind = 'human' AND starts_with(annotator, 'person-')
GROUP BY question, coalesce(json_extract_string(detail, '$.annotation'), judgment_id)
"""
LENGTHS = """
WITH texts AS (
    SELECT prompt_id, sum(length(m.content)) AS characters
    FROM (SELECT prompt_id, unnest(messages) AS m FROM prompts SEMI JOIN asked USING (prompt_id))
    GROUP BY prompt_id
), shown AS (
    SELECT place, sum(length(content)) AS characters
    FROM (SELECT place, unnest(responses) AS response_id FROM asked)
    JOIN responses USING (response_id) GROUP BY place
)
SELECT asked.place, coalesce(texts.characters, 0) + coalesce(shown.characters, 0) AS characters
FROM asked LEFT JOIN texts USING (prompt_id) LEFT JOIN shown USING (place) ORDER BY asked.place
"""


def expect_seconds(lake: Lake, asked: pl.DataFrame) -> pl.Series:
    """The seconds that one answer to each row is expected to take.

    Args:
        asked: question, prompt_id, responses (ids, nulls ignored).
    """
    past = _expect_prior(lake, lake.query(ANSWERED))
    ratio = (pl.col("seconds") / pl.col("prior")).clip(1 / LIMIT, LIMIT).log()
    by_question = past.group_by("question").agg(
        of_question=ratio.sum() / (pl.len() + PRIOR_ANSWERS)
    )
    by_band = (
        past.join(by_question, on="question")
        .group_by("question", "band")
        .agg(
            of_band=(ratio.sum() + PRIOR_ANSWERS * pl.col("of_question").first())
            / (pl.len() + PRIOR_ANSWERS)
        )
    )
    expected = (
        _expect_prior(lake, asked)
        .join(by_question, on="question", how="left", maintain_order="left")
        .join(by_band, on=["question", "band"], how="left", maintain_order="left")
        .select(pl.col("prior") * pl.coalesce("of_band", "of_question", pl.lit(0.0)).exp())
    )
    return expected.to_series().alias("expected_seconds")


def _expect_prior(lake: Lake, asked: pl.DataFrame) -> pl.DataFrame:
    """With prior (seconds) and band (of length)."""
    placed = asked.with_row_index("place").with_columns(pl.col("place").cast(pl.Int64))
    lengths = lake.query(LENGTHS, asked=placed.select("place", "prompt_id", "responses"))
    fixed = pl.col("question").replace_strict(FIXED_SECONDS, return_dtype=pl.Float64)
    return (
        placed.join(lengths, on="place", how="left", maintain_order="left")
        .with_columns(
            prior=fixed + pl.col("characters") / SKIMMED,
            band=sum((pl.col("characters") >= edge).cast(pl.Int64) for edge in BANDS),
        )
        .drop("place")
    )
