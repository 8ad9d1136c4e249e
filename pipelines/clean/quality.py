"""The quality rules as stages: what each rule of a recipe hits among prompts, responses and pairs.

Each rule has a scope of its own, so that a changed threshold computes one rule again, and a row of
`decisions` for each hit: `drop`, `mark` (kept, and named in the row's `defects`) or `redact` (kept,
and what was found is covered in whatever leaves the lake; ids and the lake's text stay). Every rule
looks at every row, whatever the others dropped, so that its rate is its own.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from pipelines.clean.rules.table import RULES, Kind, Look, QualityRule, read_scores
from pipelines.clean.texts import join_messages
from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import Decided, decide_stage, drop_decided, make_scope
from pipelines.lake.run import Run, StageSummary
from schemas.cleaning import QualitySpec
from schemas.ids import make_id
from schemas.recipe import Recipe

STAGES: dict[Kind, str] = {
    "prompt": "quality_prompts",
    "response": "quality_responses",
    "pair": "quality_pairs",
}


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
            values = known.measure(rows, rule, Look(lake, run, recipe.seed))
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
    kept = {
        what: {name: n for name, part in parts.items() if (n := part.extra.get(what, {}).get(name))}
        for what in ("marked", "redacted")
    }
    hits = {
        name: part.dropped.get(name, 0) + sum(counts.get(name, 0) for counts in kept.values())
        for name, part in parts.items()
    }
    return StageSummary(
        stage=stage,
        rows_in=len(rows),
        kept=len(left),
        dropped=by_first,
        seconds=sum(part.seconds for part in parts.values()),
        extra={name: counts for name, counts in {"hits": hits, **kept}.items() if counts},
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
            scores = read_scores(lake, rows)
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
