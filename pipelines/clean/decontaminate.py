"""Decontamination: prompts and responses that repeat an evaluation prompt are dropped.

Prompts are looked at after dedup and before anything is spent on them: the whole conversation, and
each message by itself, for a leak may sit in an earlier turn. Responses are looked at when they are
there, for the words of an evaluation prompt alone (`exact`, `13gram`, `8gram`): what an answer is
about says nothing on its being a leak.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.clean.contamination import References, find_copies, gather_references
from pipelines.clean.evaluation_sets import EvaluationSet, read_evaluation_set
from pipelines.clean.texts import join_messages
from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import Decided, decide_stage, drop_decided, make_scope
from pipelines.lake.run import Run, StageSummary
from schemas.cleaning import DecontaminateSpec
from schemas.recipe import Recipe

STAGE = "decontaminate"
OF_RESPONSES = "decontaminate_responses"
RULES = 1
METHODS = ("exact", "13gram", "8gram", "semantic")
"""In the order in which one of several hits gives a decision its rule."""


def decontaminate_prompts(
    lake: Lake, run: Run, recipe: Recipe, base: Path | None, prompts: pl.DataFrame
) -> StageSummary:
    """Drop the prompts that repeat a prompt of the recipe's evaluation sets
    (`contaminated_exact`, `contaminated_13gram`, `contaminated_8gram`, `contaminated_semantic`).

    `extra` holds `hits` (method -> prompts, each counted for every method that finds it),
    `hits_by_set`, `dropped_by_source`, and the `sets` with what was read of them.

    Args:
        base: the folder that the recipe's evaluation sets lie beside.
        prompts: rows of `prompts`.

    Raises:
        pipelines.clean.evaluation_sets.EvaluationSetUnusable
    """
    spec = _need(recipe)

    def compute() -> Decided:
        sets = read_sets(spec, base)
        references = gather_references(sets)
        texts = list_texts(prompts)
        hits = find_copies(texts["text"], references, list_shares(spec))
        if "semantic" in spec.methods:
            hits = pl.concat([hits, _find_semantic(lake, run, spec, texts, references)])
        return _decide(hits, texts, spec, sets, "prompt", dict(_list_sources(prompts)))

    return decide_stage(
        lake,
        run,
        stage=STAGE,
        scope=make_prompt_scope(recipe, base, prompts),
        rows_in=len(prompts),
        compute=compute,
    )


def decontaminate_responses(
    lake: Lake,
    run: Run,
    recipe: Recipe,
    base: Path | None,
    rollouts: pl.DataFrame,
    prompts: pl.DataFrame,
) -> StageSummary:
    """Drop the responses that hold an evaluation prompt; see `decontaminate_prompts`.

    Args:
        rollouts: rows of `rollouts` with `content`.
        prompts: their prompts, which know the `source`.
    """
    spec = _need(recipe)
    responses = rollouts.unique("response_id").sort("response_id")

    def compute() -> Decided:
        sets = read_sets(spec, base)
        texts = responses.select("prompt_id", item="response_id", text="content")
        hits = find_copies(texts["text"], gather_references(sets), list_shares(spec))
        sources = dict(_list_sources(prompts))
        named = {r: sources[p] for p, r, _ in texts.iter_rows()}
        return _decide(hits, texts, spec, sets, "response", named)

    return decide_stage(
        lake,
        run,
        stage=OF_RESPONSES,
        scope=make_response_scope(recipe, base, rollouts),
        rows_in=len(responses),
        compute=compute,
    )


def make_prompt_scope(recipe: Recipe, base: Path | None, prompts: pl.DataFrame) -> str:
    """The scope of the decontamination of these prompts."""
    spec = _need(recipe)
    return make_scope(STAGE, RULES, _configure(spec, base), prompts["prompt_id"])


def make_response_scope(recipe: Recipe, base: Path | None, rollouts: pl.DataFrame) -> str:
    """The scope of the decontamination of these responses."""
    lexical = {k: v for k, v in _configure(_need(recipe), base).items() if k != "semantic"}
    return make_scope(OF_RESPONSES, RULES, lexical, rollouts["response_id"].unique())


def keep_uncontaminated(
    lake: Lake, recipe: Recipe, base: Path | None, prompts: pl.DataFrame
) -> pl.DataFrame:
    """`prompts` without those that `decontaminate_prompts` dropped."""
    if recipe.clean.decontaminate is None:
        return prompts
    scope = make_prompt_scope(recipe, base, prompts)
    return drop_decided(lake, prompts, "prompt_id", [scope])


def keep_uncontaminated_responses(
    lake: Lake, recipe: Recipe, base: Path | None, rollouts: pl.DataFrame
) -> pl.DataFrame:
    """`rollouts` without those whose response `decontaminate_responses` dropped."""
    if recipe.clean.decontaminate is None:
        return rollouts
    scope = make_response_scope(recipe, base, rollouts)
    return drop_decided(lake, rollouts, "response_id", [scope])


def read_sets(spec: DecontaminateSpec, base: Path | None) -> list[EvaluationSet]:
    """The evaluation sets that a recipe names, each place once."""
    return [read_evaluation_set(path, base) for path in dict.fromkeys(spec.against)]


def _need(recipe: Recipe) -> DecontaminateSpec:
    spec = recipe.clean.decontaminate
    assert spec is not None, "a step of recipes that name evaluation sets"
    return spec


def _configure(spec: DecontaminateSpec, base: Path | None) -> dict[str, Any]:
    """All that a decision depends on but its text: the sets by their content, not by their place
    (their names stand in reasons), the methods and their numbers."""
    sets = read_sets(spec, base)
    config: dict[str, Any] = {
        "sets": sorted([part.name, part.content_hash] for part in sets),
        "shares": list_shares(spec),
    }
    if "semantic" in spec.methods:
        from engines.embedder import name_embedder

        config["semantic"] = [name_embedder(spec.model), spec.threshold]
    return config


def list_shares(spec: DecontaminateSpec) -> dict[str, float]:
    """The methods that compare words -> the least share of a prompt's n-grams."""
    least = {"exact": 1.0, "13gram": spec.min_share_13gram, "8gram": spec.min_share_8gram}
    return {method: share for method, share in least.items() if method in spec.methods}


def _list_sources(prompts: pl.DataFrame) -> list[tuple[str, str]]:
    return prompts.select("prompt_id", "source").rows()


def list_texts(prompts: pl.DataFrame) -> pl.DataFrame:
    """What is looked at of prompts: (item, text, asked). The whole conversation and, where it has
    several messages, each; `asked` are those that somebody asks: users' messages."""
    whole = join_messages(prompts).select(
        "text",
        item="prompt_id",
        asked=(pl.col("messages").list.len() == 1),
    )
    messages = (
        prompts.filter(pl.col("messages").list.len() > 1)
        .select("messages", item="prompt_id")
        .explode("messages")
        .select(
            pl.col("messages").struct.field("content").alias("text"),
            "item",
            asked=pl.col("messages").struct.field("role") == "user",
        )
    )
    return pl.concat([whole, messages]).unique(["item", "text"], maintain_order=True)


def _find_semantic(
    lake: Lake, run: Run, spec: DecontaminateSpec, texts: pl.DataFrame, references: References
) -> pl.DataFrame:
    from pipelines.clean.paraphrases import find_paraphrases
    from pipelines.lake.vectors import embed_cached

    asked = texts.with_row_index("place").filter("asked")
    hits = find_paraphrases(
        asked["text"],
        references,
        lambda wanted: embed_cached(lake, run, wanted, spec.model),
        spec.threshold,
        spec.model,
    )
    places = asked["place"].cast(pl.Int64).gather(hits["item"]) if len(hits) else hits["item"]
    return hits.with_columns(item=places)


def _decide(
    hits: pl.DataFrame,
    texts: pl.DataFrame,
    spec: DecontaminateSpec,
    sets: list[EvaluationSet],
    kind: str,
    sources: Mapping[str, str],
) -> Decided:
    """One decision for each item with a hit: that of its first method, at its highest value."""
    least = {**list_shares(spec), "semantic": spec.threshold}
    order = pl.col("method").replace_strict(dict(zip(METHODS, range(len(METHODS)), strict=True)))
    found = hits.with_columns(item=texts["item"].gather(hits["item"])).sort(
        "item", order, -pl.col("value"), "set", "row"
    )
    rows = []
    for hit in found.unique("item", keep="first", maintain_order=True).iter_rows(named=True):
        method = hit["method"]
        rows.append({
            "item_id": hit["item"],
            "item_kind": kind,
            "action": "drop",
            "rule": f"contaminated_{method}",
            "reason": f"{_describe(hit)}: “{hit['excerpt']}”",
            "value": hit["value"],
            "threshold": least[method],
            "group_id": f"{hit['set']}:{hit['row']}",
        })  # fmt: skip
    each = found.select("item", "method", "set").unique()
    return Decided(
        rows,
        extra={
            "hits": {m: each.filter(method=m)["item"].n_unique() for m in spec.methods},
            "hits_by_set": dict(sorted(Counter(each.unique(["item", "set"])["set"]).items())),
            "dropped_by_source": dict(sorted(Counter(sources[r["item_id"]] for r in rows).items())),
            "sets": [
                {"name": s.name, "place": s.place, "prompts": len(s.texts), "unread": s.unread}
                for s in sets
            ],
        },
    )


def _describe(hit: Mapping[str, Any]) -> str:
    where = f"{hit['set']} row {hit['row']}"
    if hit["method"] == "exact":
        return f"the same words as {where}"
    if hit["method"] == "semantic":
        return f"says what {where} says (similarity {hit['value']:.2f})"
    return f"holds {hit['value']:.0%} of the {hit['method']}s of {where}"
