"""The quality rules by name: what each measures, and how a decision says it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from pipelines.clean.rules.boilerplate import measure_boilerplate
from pipelines.clean.rules.form import (
    measure_compressibility,
    measure_repeated_lines,
    measure_repeated_ngrams,
    measure_unfinished,
)
from pipelines.clean.rules.language import measure_foreign
from pipelines.clean.rules.noise import score_label_noise
from pipelines.clean.rules.pairs import measure_disagreement, measure_length_ratio, measure_outliers
from pipelines.clean.rules.pii import count_pii
from pipelines.clean.rules.refusal import count_refusal_points
from pipelines.clean.rules.toxicity import measure_toxicity
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run

Kind = Literal["prompt", "response", "pair"]
SCORES = """
WITH wanted AS MATERIALIZED (SELECT unnest([chosen_id, rejected_id]) AS response_id FROM pairs)
SELECT annotator, response_a AS response_id, avg(score) AS score FROM judgments
WHERE kind = 'reward_model' AND valid AND response_b IS NULL AND criterion IS NULL
AND response_a IN (SELECT response_id FROM wanted)
GROUP BY ALL ORDER BY ALL
"""


@dataclass(frozen=True)
class Look:
    """What a rule may look at beside its own rows."""

    lake: Lake
    run: Run
    seed: int


@dataclass(frozen=True)
class QualityRule:
    """A rule that a recipe can name: its version, its value of each row (null: cannot be told), and
    the words of a decision. `below` says that a value at the threshold or under it is the hit."""

    version: int
    measure: Callable[[pl.DataFrame, Any, Look], pl.Series]
    words: str
    below: bool = False


def _of_text(expression: Callable[[pl.Expr], pl.Expr]) -> Callable[..., pl.Series]:
    return lambda rows, rule, look: rows.select(value=expression(pl.col("text"))).to_series()


def _of_texts(measure: Callable[[pl.Series], pl.Series]) -> Callable[..., pl.Series]:
    return lambda rows, rule, look: measure(rows["text"])


TEXT_RULES = {
    "language": QualityRule(
        1, lambda rows, rule, _: measure_foreign(rows["text"], rule.keep),
        "this share of it is in a language that is not kept",
    ),
    "toxicity": QualityRule(1, _of_texts(measure_toxicity), "offensive with this probability"),
    "pii": QualityRule(
        1, lambda rows, rule, _: count_pii(rows["text"], rule.kinds, rule.region),
        "holds so many numbers or addresses of persons",
    ),
}  # fmt: skip
RULES: dict[Kind, dict[str, QualityRule]] = {
    "prompt": TEXT_RULES,
    "response": {
        **TEXT_RULES,
        "refusal": QualityRule(1, _of_text(count_refusal_points), "has so many signs of declining"),
        "repeated_lines": QualityRule(
            1, _of_text(measure_repeated_lines), "this share of its lines says an earlier one again"
        ),
        "repeated_ngrams": QualityRule(
            1, _of_text(measure_repeated_ngrams), "this share of its word 4-grams came before"
        ),
        "compressibility": QualityRule(
            1, _of_texts(measure_compressibility), "compression saves this share of it"
        ),
        "unfinished": QualityRule(
            1, _of_text(measure_unfinished), "a fence (1) or a last sentence (0.5) stays open"
        ),
        "boilerplate": QualityRule(
            1, lambda rows, *_: measure_boilerplate(rows.rename({"text": "content"})),
            "it opens or closes as a response to this share of the prompts does",
        ),
    },
    "pair": {
        "length_ratio": QualityRule(
            1, lambda rows, *_: measure_length_ratio(rows), "one is so many times as long"
        ),
        "low_margin": QualityRule(
            1, lambda rows, *_: rows["margin"], "the margin of the label", below=True
        ),
        "disagreement": QualityRule(
            1, lambda rows, *_: measure_disagreement(rows), "this share of the opinions is against"
        ),
        "label_noise": QualityRule(
            2, lambda rows, _, look: score_label_noise(look.lake, look.run, rows, look.seed),
            "the label is the wrong way round with this probability",
        ),
        "reward_outlier": QualityRule(
            1, lambda rows, _, look: measure_outliers(rows, read_scores(look.lake, rows)),
            "a reward is so many deviations from what is usual in its source",
        ),
    },
}  # fmt: skip


def read_scores(lake: Lake, pairs: pl.DataFrame) -> pl.DataFrame:
    """annotator, response_id, score: what reward models said of the responses of `pairs`."""
    return lake.query(SCORES, pairs=pairs.select("chosen_id", "rejected_id"))
