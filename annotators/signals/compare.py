"""What scores of single responses say of pairs: the higher score is the better response.

A signal scores responses; whoever measures annotators counts opinions on pairs. The opinions are
made where they are looked at and never stored: a stored one would be a vote, and a cheap signal
votes only where a label policy asks for it.
"""

from __future__ import annotations

import polars as pl

from annotators.signals.rows import KIND, check_columns
from annotators.votes import PAIR, TIE_WIDTH

READ = (
    "judgment_id", "annotator", "kind", "prompt_id", "response_a", "response_b", "criterion",
    "score", "valid", "created_at",
)  # fmt: skip
ONE_SIDED = "a response of the pair has no score"


def compare_scores(judgments: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """An opinion for each pair and signal that speaks of both its responses.

    Only scores of the kind `reward_model` without a criterion are read; of several on one response
    the latest counts (a group has grown, a verdict has come). Equal scores are a tie. Where one of
    the two is not valid, neither is the opinion. Its p_a is 1, 0.5 or 0: how far apart the scores
    are is no probability.

    Args:
        judgments: rows of the table.
        pairs: response_a, response_b, the smaller id first; other columns do not matter.

    Returns:
        Rows with the columns of `judgments`, sorted by annotator and pair. The numbers of the
        calls (tokens, seconds) are null: those of the scores have been counted.

    Raises:
        SignalUnusable: a column is missing.
    """
    check_columns(judgments, READ, "judgments")
    check_columns(pairs, PAIR, "pairs")
    scores = (
        judgments.filter(
            (pl.col("kind") == KIND)
            & pl.col("response_b").is_null()
            & pl.col("criterion").is_null()
        )
        .sort("created_at", "judgment_id")
        .unique(["annotator", "response_a"], keep="last", maintain_order=True)
        .select("annotator", "prompt_id", pl.col("response_a").alias("response"), "valid", "score")
    )
    sides = [
        scores.select(
            "annotator",
            *(["prompt_id"] if side == "response_a" else []),
            pl.col("response").alias(side),
            pl.when("valid").then("score").alias(f"score_{side}"),
        )
        for side in PAIR
    ]
    gap = pl.col("score_response_a") - pl.col("score_response_b")
    tie = gap.abs() < TIE_WIDTH
    told = (
        pairs.select(PAIR)
        .unique()
        .join(sides[0], on="response_a")
        .join(sides[1], on=["annotator", "response_b"])
        .with_columns(
            kind=pl.lit(KIND),
            judgment_id=pl.concat_str("annotator", *PAIR, separator="|"),
            p_a=pl.when(tie).then(0.5).when(gap > 0).then(1.0).when(gap < 0).then(0.0),
            tie=tie.fill_null(False),
            valid=gap.is_not_null(),
            reason=pl.when(gap.is_null()).then(pl.lit(ONE_SIDED)),
            sample_index=pl.lit(0, pl.Int64),
            gold=pl.lit(False),
        )
    )
    return told.select(
        pl.col(name).cast(dtype) if name in told.columns else pl.lit(None, dtype).alias(name)
        for name, dtype in judgments.schema.items()
    ).sort("annotator", *PAIR)
