"""Splits by prompt cluster, never by row; append-only.

A cluster is a group of prompts that are close (MinHash at a looser threshold than dedup uses) or
stem from one parent; or, with `clusters: semantic`, are close by their vectors as well. Its id is
hashed to decide the split, so a recipe and its growth agree; a prompt keeps the split it once got.
The duplicates that dedup dropped belong to the cluster of the prompt that stands for them: they
bring their split to it, and get its split with it. A new prompt that stands between a train and a
test cluster would leak one into the other and is dropped as `bridges_splits`; so is the train
prompt of two that are close and got their splits apart, in two recipes that a third one brings
together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from engines.embedder import MINILM, name_embedder
from pipelines.clean.dedup import group_near
from pipelines.clean.semantic.prompts import CHECKED, group_reworded
from pipelines.clean.texts import join_messages
from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import Decided, decide_stage, drop_decided, make_scope
from pipelines.lake.run import Run, StageSummary
from schemas.ids import make_seed
from schemas.outcomes import SIDE
from schemas.recipe import Recipe

STAGE = "split"
RULES = 4
CLUSTER_SIMILARITY = 0.5
SEMANTIC_SIMILARITY = 0.8
"""From which cosine on prompts say the same: where nearly all rewordings lie above and hardly any
chain of strangers does (docs/cleaning.md)."""
Grouping = Callable[[pl.DataFrame], Mapping[str, str]]


def split_prompts(lake: Lake, run: Run, recipe: Recipe, prompts: pl.DataFrame) -> StageSummary:
    """Give every prompt of `prompts` (after dedup) and its duplicates a cluster and a split, where
    they have none."""

    def group(texts: pl.DataFrame) -> dict[str, str]:
        if recipe.split.clusters != "semantic":
            return {}
        found = group_reworded(lake, run, texts, SEMANTIC_SIMILARITY)
        return {prompt_id: first for prompt_id, (first, _) in found.items()}

    def compute() -> Decided:
        known = _find_splits(lake, prompts)
        rows, bridges = assign_splits(prompts, known, recipe.split.test, group)
        decisions = [
            {
                "item_id": prompt_id,
                "item_kind": "prompt",
                "action": "drop",
                "rule": "bridges_splits",
                "reason": "close to a train and a test prompt",
            }
            for prompt_id in bridges
        ]
        return Decided(decisions, tables={"splits": rows})

    return decide_stage(
        lake,
        run,
        stage=STAGE,
        scope=make_split_scope(recipe, prompts),
        rows_in=len(prompts),
        compute=compute,
    )


def make_split_scope(recipe: Recipe, prompts: pl.DataFrame) -> str:
    """The scope of the recipe's split over `prompts`."""
    checked, parent = pl.col("verifier").is_not_null(), pl.col("parent_id").fill_null("")
    duplicates = pl.col("duplicates").list.join(",")
    parts: list[str | pl.Expr] = ["prompt_id", checked, parent, duplicates]
    config: list[Any] = [recipe.split.test]
    if recipe.split.clusters == "semantic":
        config += [SEMANTIC_SIMILARITY, name_embedder(MINILM)]
        parts += [pl.col(name).fill_null("") for name in CHECKED if name in prompts.columns]
    inputs = prompts.select(pl.format(":".join(["{}"] * len(parts)), *parts)).to_series()
    return make_scope(STAGE, RULES, config, inputs)


def keep_split(lake: Lake, recipe: Recipe, prompts: pl.DataFrame) -> pl.DataFrame:
    """`prompts` with `cluster_id` and `split`, without those that bridge two splits."""
    kept = drop_decided(lake, prompts, "prompt_id", [make_split_scope(recipe, prompts)])
    known = _find_splits(lake, kept)
    return kept.drop("duplicates").join(known, on="prompt_id", maintain_order="left")


def assign_splits(
    prompts: pl.DataFrame, known: pl.DataFrame, test_share: float, group: Grouping = lambda _: {}
) -> tuple[list[dict[str, str]], list[str]]:
    """New rows of `splits`, and the ids of prompts that must go because they bridge two splits.

    Args:
        prompts: rows of `prompts`, with `duplicates`: the ids that each stands for.
        known: prompt_id, cluster_id, split of those that have one.
        group: prompts with `text` -> prompt_id -> another one that says the same.
    """
    here = set(prompts["prompt_id"])
    settled = {row["prompt_id"]: row for row in known.iter_rows(named=True)}
    rows: list[dict[str, str]] = []
    bridges: list[str] = []
    torn: list[str] = []
    for name, members in _list_groups(prompts, group):
        old = [settled[m] for m in members if m in settled]
        new = [m for m in members if m not in settled]
        sides = {SIDE[row["split"]] for row in old}
        if len(sides) > 1:
            bridges += [m for m in new if m in here]
            torn += [row["prompt_id"] for row in old]
            continue
        cluster = min((row["cluster_id"] for row in old), default=name)
        held_out = make_seed("split", cluster) / 2**31 < test_share
        split = sides.pop() if sides else ("test" if held_out else "train")
        rows += [{"prompt_id": m, "cluster_id": cluster, "split": split} for m in new]
    if torn:  # without the new prompts between them, most of these are strangers again
        among = prompts.filter(pl.col("prompt_id").is_in(torn))
        for _, members in _list_groups(among, group):
            old = [m for m in members if m in settled]
            of_train = [m for m in old if SIDE[settled[m]["split"]] == "train"]
            bridges += [m for m in of_train if m in here] if len(of_train) < len(old) else []
    return rows, bridges


def _list_groups(prompts: pl.DataFrame, group: Grouping) -> list[tuple[str, list[str]]]:
    groups: dict[str, list[str]] = {}
    for prompt_id, name in _find_groups(prompts, group).items():
        groups.setdefault(name, []).append(prompt_id)
    return [(name, sorted(members)) for name, members in sorted(groups.items())]


def _find_groups(prompts: pl.DataFrame, reword: Grouping) -> dict[str, str]:
    """prompt_id -> group id: near-duplicates of the open prompts, merged through `parent_id`, and
    through what says the same; with the duplicates that each prompt stands for."""
    texts = join_messages(prompts).sort("prompt_id")
    open_ones = texts.filter(pl.col("verifier").is_null())
    near = group_near(open_ones, CLUSTER_SIMILARITY)
    group = {row: (near[row][0] if row in near else row) for row in texts["prompt_id"]}
    duplicates = texts.select("prompt_id", "duplicates").explode("duplicates").drop_nulls()
    group |= {duplicate: group[row] for row, duplicate in duplicates.iter_rows()}
    children = texts.filter(pl.col("parent_id").is_not_null())
    for prompt_id, parent_id in children.select("prompt_id", "parent_id").iter_rows():
        target, old = group.setdefault(parent_id, parent_id), group[prompt_id]
        for member, name in group.items():
            if name == old:
                group[member] = target
    named = {row: group[row] for row in [*texts["prompt_id"], *duplicates["duplicates"]]}
    return _merge(named, reword(texts))


def _merge(group: dict[str, str], same: Mapping[str, str]) -> dict[str, str]:
    """The groups, those of prompts that say the same made one, by the name of the smallest."""
    lead: dict[str, str] = {}

    def find(name: str) -> str:
        while name in lead:
            name = lead[name]
        return name

    for prompt_id, other in same.items():
        low, high = sorted((find(group[prompt_id]), find(group[other])))
        if low != high:
            lead[high] = low
    return {prompt_id: find(name) for prompt_id, name in group.items()}


def _find_splits(lake: Lake, prompts: pl.DataFrame) -> pl.DataFrame:
    return lake.query(
        "SELECT prompt_id, cluster_id, split FROM splits SEMI JOIN wanted USING (prompt_id) "
        "ORDER BY prompt_id",
        wanted=pl.DataFrame(
            {"prompt_id": [*prompts["prompt_id"], *prompts["duplicates"].explode().drop_nulls()]},
            schema={"prompt_id": pl.String},
        ),
    )
