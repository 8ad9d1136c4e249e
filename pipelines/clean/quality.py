"""The quality rules as stages: what each rule of a recipe hits among prompts, responses and pairs.

Each rule has a scope of its own, so that a changed threshold computes one rule again, and a row of
`decisions` for each hit: `drop`, `mark` (kept, and named in the row's `defects`) or `redact` (kept,
and what was found is covered in whatever leaves the lake; ids and the lake's text stay). Every rule
looks at every row, whatever the others dropped, so that its rate is its own.
"""

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
from pipelines.clean.texts import join_messages
from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import Decided, decide_stage, drop_decided, make_scope
from pipelines.lake.run import Run, StageSummary
from schemas.cleaning import QualitySpec
from schemas.ids import make_id
from schemas.recipe import Recipe

Kind = Literal["prompt", "response", "pair"]
STAGES: dict[Kind, str] = {
    "prompt": "quality_prompts",
    "response": "quality_responses",
    "pair": "quality_pairs",
}
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
            1, lambda rows, _, look: score_label_noise(rows, look.seed),
            "the label is the wrong way round with this probability",
        ),
        "reward_outlier": QualityRule(
            1, lambda rows, _, look: measure_outliers(rows, look.lake.query(
                SCORES, pairs=rows.select("chosen_id", "rejected_id"))),
            "a reward is so many deviations from what is usual in its source",
        ),
    },
}  # fmt: skip


def apply_rules(lake: Lake, run: Run, recipe: Recipe, kind: Kind, rows: pl.DataFrame
                ) -> StageSummary:  # fmt: skip
    """Run the recipe's rules on prompts, responses or pairs.

    Args:
        rows: of `frame_prompts`, `frame_responses` or `frame_pairs`.

    Returns:
        The stage's summary, in which a row that several rules drop counts for the first of them;
        `extra` has `hits` (all that each rule hit) and, where there are any, `marked` and
        `redacted`, by rule.
    """
    stage, key = STAGES[kind], f"{kind}_id"
    parts = {}
    scopes = make_quality_scopes(lake, recipe, kind, rows)
    for name, rule in find_rules(recipe.clean.quality, kind).items():
        part = f"{stage}:{name}"
        known = RULES[kind][name]

        def compute(known: QualityRule = known, name: str = name, rule: Any = rule) -> Decided:
            values = known.measure(rows, rule, Look(lake, recipe.seed))
            return Decided(_decide(rows, kind, name, rule, known, values))

        parts[name] = decide_stage(
            lake, run, stage=part, scope=scopes[part], rows_in=len(rows), compute=compute
        )
    by_first: dict[str, int] = {}
    left = rows.select(key)
    for name in parts:
        fewer = drop_decided(lake, left, key, [scopes[f"{stage}:{name}"]])
        if len(left) > len(fewer):
            by_first[name] = len(left) - len(fewer)
        left = fewer
    hits = {name: sum(part.dropped.values()) + sum(
        sum(part.extra.get(what, {}).values()) for what in ("marked", "redacted")
    ) for name, part in parts.items()}  # fmt: skip
    extra: dict[str, Any] = {"hits": hits} if hits else {}
    for what in ("marked", "redacted"):
        some = {n: sum(p.extra[what].values()) for n, p in parts.items() if p.extra.get(what)}
        extra |= {what: some} if some else {}
    return StageSummary(
        stage=stage,
        rows_in=len(rows),
        kept=len(left),
        dropped=by_first,
        seconds=sum(part.seconds for part in parts.values()),
        extra=extra,
    )


def find_rules(spec: QualitySpec, kind: Kind) -> dict[str, Any]:
    """The rules of a recipe that look at this kind of row, by name."""
    named = {name: getattr(spec, name) for name in RULES[kind]}
    return {name: rule for name, rule in named.items() if rule is not None}


def make_quality_scopes(
    lake: Lake, recipe: Recipe, kind: Kind, rows: pl.DataFrame
) -> dict[str, str]:
    """stage:rule -> scope of every rule of the recipe on these rows."""
    rules = find_rules(recipe.clean.quality, kind)
    if not rules:
        return {}
    inputs = make_id("rows", sorted(_list_inputs(kind, rows)))
    scopes = {}
    for name, rule in rules.items():
        config = [RULES[kind][name].version, rule.model_dump(mode="json")]
        if name == "label_noise":
            config.append(recipe.seed)
        if name == "reward_outlier":
            scores = lake.query(SCORES, pairs=rows.select("chosen_id", "rejected_id"))
            config.append([list(row) for row in scores.iter_rows()])
        stage = f"{STAGES[kind]}:{name}"
        scopes[stage] = make_scope(stage, 1, config, [inputs])
    return scopes


def keep_good(lake: Lake, recipe: Recipe, kind: Kind, rows: pl.DataFrame, frame: pl.DataFrame
              ) -> pl.DataFrame:  # fmt: skip
    """`frame` without what the recipe's rules dropped of `rows`."""
    scopes = make_quality_scopes(lake, recipe, kind, rows)
    return drop_decided(lake, frame, f"{kind}_id", scopes.values()) if scopes else frame


def frame_prompts(prompts: pl.DataFrame) -> pl.DataFrame:
    """prompt_id, text: what a user or a system says, a message after the other."""
    return join_messages(prompts).select("prompt_id", "text")


def frame_responses(rollouts: pl.DataFrame) -> pl.DataFrame:
    """response_id, prompt_id, text: each response once."""
    return (
        rollouts.unique("response_id")
        .select("response_id", "prompt_id", text="content")
        .sort("response_id")
    )


def frame_pairs(labels: pl.DataFrame, rollouts: pl.DataFrame) -> pl.DataFrame:
    """The labelled pairs with the texts `chosen` and `rejected`."""
    texts = rollouts.unique("response_id").select("response_id", "content")
    frame = labels
    for side in ("chosen", "rejected"):
        named = texts.rename({"response_id": f"{side}_id", "content": side})
        frame = frame.join(named, on=f"{side}_id", how="left", maintain_order="left")
    return frame.sort("pair_id")


def _list_inputs(kind: Kind, rows: pl.DataFrame) -> list[str]:
    """What a rule depends on beside the texts, which the ids stand for."""
    if kind != "pair":
        return rows[f"{kind}_id"].to_list()
    said = rows.select(
        "pair_id", "chosen_id", "source", pl.col("margin", "agreement").fill_null(-1.0).round(9)
    )
    return [":".join(map(str, row)) for row in said.iter_rows()]


def _decide(rows: pl.DataFrame, kind: Kind, name: str, rule: Any, known: QualityRule,
            values: pl.Series) -> pl.DataFrame:  # fmt: skip
    value, threshold = pl.col("value"), float(rule.threshold)
    is_hit = value <= threshold if known.below else value >= threshold
    bound = "or under" if known.below else "or over"
    said = f"{known.words}: {{}}, a hit at {threshold:g} {bound}"
    return (
        rows.select(item_id=f"{kind}_id")
        .with_columns(values.cast(pl.Float64).alias("value"))
        .filter(is_hit)
        .select(
            "item_id",
            item_kind=pl.lit(kind),
            action=pl.lit(rule.then),
            rule=pl.lit(name),
            reason=pl.format(said, value.round(4)),
            value=value,
            threshold=pl.lit(threshold),
        )
    )
