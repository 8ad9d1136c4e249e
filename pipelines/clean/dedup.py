"""Duplicate prompts: exact after normalisation, near by MinHash, and, where a recipe asks for it,
paraphrases by their vectors.

Two prompts are near-duplicates where the Jaccard similarity of their word 5-grams (words for texts
of fewer than ten) reaches the recipe's threshold; `kernels/bands.py` says how they are found. A
prompt with a verifier is only compared exactly: 3 + 4 and 3 + 5 are near, and different tasks.
Paraphrases are looked for among what is left (see `semantic/prompts.py`), in texts that the
embedder sees whole.

Of a group one prompt stays, and stands for the others wherever they would matter, as in the split:
the one that had its split first (one that is examined on before one that is trained on), so that a
duplicate that comes later with a smaller id changes nothing; of new ones that with the smallest id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from engines.embedder import MINILM, name_embedder
from pipelines.clean.semantic.prompts import CHECKED, group_reworded
from pipelines.clean.texts import join_messages
from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import Decided, decide_stage, make_scope
from pipelines.lake.run import Run, StageSummary
from schemas.recipe import Recipe

STAGE = "dedup"
RULES = 4
CHUNK = 20_000


def dedup_prompts(lake: Lake, run: Run, recipe: Recipe, prompts: pl.DataFrame) -> StageSummary:
    """Record which prompts repeat another one. One of a group stays (see the module); each dropped
    one names it as `representative`, with a similarity as `value`."""
    similarity = recipe.clean.near_duplicate_similarity
    paraphrase_similarity = recipe.clean.paraphrase_similarity

    def compute() -> Decided:
        settled = lake.query(
            "SELECT prompt_id FROM splits SEMI JOIN wanted USING (prompt_id) "
            "ORDER BY split NOT IN ('test', 'gold-exam'), created_at, prompt_id",
            wanted=prompts.select("prompt_id"),
        )["prompt_id"].to_list()
        rows = find_duplicates(prompts, similarity, settled)
        if paraphrase_similarity is not None:
            left = prompts.filter(~pl.col("prompt_id").is_in([row["item_id"] for row in rows]))
            texts = _order_texts(left, settled)
            found = group_reworded(lake, run, texts, paraphrase_similarity, whole=True)
            rows += _make_rows("paraphrase", found, paraphrase_similarity)
        return Decided(rows)

    return decide_stage(
        lake,
        run,
        stage=STAGE,
        scope=make_dedup_scope(recipe, prompts),
        rows_in=len(prompts),
        compute=compute,
    )


def make_dedup_scope(recipe: Recipe, prompts: pl.DataFrame) -> str:
    """The scope of the recipe's prompt dedup over `prompts`."""
    config: list[Any] = [recipe.clean.near_duplicate_similarity]
    parts: list[str | pl.Expr] = ["prompt_id", pl.col("verifier").is_null()]  # the recipe's word
    if recipe.clean.paraphrase_similarity is not None:
        config += [recipe.clean.paraphrase_similarity, name_embedder(MINILM)]
        parts += [pl.col(name).fill_null("") for name in CHECKED if name in prompts.columns]
    inputs = prompts.select(pl.format(":".join(["{}"] * len(parts)), *parts)).to_series()
    return make_scope(STAGE, RULES, config, inputs)


def keep_distinct(lake: Lake, recipe: Recipe, prompts: pl.DataFrame) -> pl.DataFrame:
    """`prompts` without the duplicates that `dedup_prompts` found; see `fold_duplicates`."""
    dropped = lake.query(
        "SELECT item_id, representative FROM decisions WHERE scope = ? AND action = 'drop'",
        [make_dedup_scope(recipe, prompts)],
    )
    return fold_duplicates(prompts, dict(dropped.iter_rows()))


def fold_duplicates(prompts: pl.DataFrame, leads: Mapping[str, str]) -> pl.DataFrame:
    """`prompts` without the duplicates, which `duplicates` lists for the prompt that stands for
    them.

    Args:
        leads: duplicate -> representative; the first of equal texts may itself be near to another.
    """
    stands_for: dict[str, list[str]] = {}
    for duplicate in sorted(leads):
        kept = leads[duplicate]
        while kept in leads:
            kept = leads[kept]
        stands_for.setdefault(kept, []).append(duplicate)
    distinct = prompts.filter(~pl.col("prompt_id").is_in(list(leads)))
    lists = [stands_for.get(prompt_id, []) for prompt_id in distinct["prompt_id"]]
    return distinct.with_columns(duplicates=pl.Series(lists, dtype=pl.List(pl.String)))


def find_duplicates(
    prompts: pl.DataFrame, similarity: float, settled: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Decision rows for the prompts that repeat another.

    Args:
        prompts: rows of `prompts`.
        similarity: from which one on two prompts are near.
        settled: ids of those that have a split, whoever of a group is to stay first.
    """
    from pipelines.clean.kernels.exact import find_first
    from pipelines.clean.kernels.words import hash_texts, read_texts

    texts = _order_texts(prompts, settled)
    ids = texts["prompt_id"].to_list()
    first = find_first(hash_texts(read_texts(texts["text"])), np.arange(len(ids)))
    rows = [
        _make_row(ids[row], "exact_duplicate", ids[kept], 1.0, 1.0)
        for row, kept in enumerate(first.tolist())
        if row != kept
    ]
    distinct = pl.Series(first == np.arange(len(ids)), dtype=pl.Boolean)
    near = texts.filter(distinct & texts["verifier"].is_null())
    return rows + _make_rows("near_duplicate", group_near(near, similarity), similarity)


def _order_texts(prompts: pl.DataFrame, settled: Sequence[str]) -> pl.DataFrame:
    """`prompts` with `text`, in the order of who of a group stays."""
    places = pl.DataFrame(
        {"prompt_id": settled, "place": range(len(settled))},
        schema={"prompt_id": pl.String, "place": pl.Int64},
    )
    return (
        join_messages(prompts)
        .join(places, on="prompt_id", how="left")
        .sort("place", "prompt_id", nulls_last=True)
    )


def group_near(texts: pl.DataFrame, similarity: float) -> dict[str, tuple[str, float]]:
    """Put near-duplicates together: id -> (representative, similarity to a member of its group).

    Groups are connected components; a group's representative is the one that comes first.

    Args:
        texts: prompt_id and text.
    """
    from pipelines.clean.kernels.bands import find_near

    chunks = ([part["text"]] for part in texts.iter_slices(CHUNK))
    found = find_near(chunks, similarity, np.arange(len(texts)))
    ids = texts["prompt_id"].to_list()
    rows = zip(ids, found.kept.tolist(), found.value.tolist(), strict=True)
    return {prompt_id: (ids[kept], value) for prompt_id, kept, value in rows}


def _make_rows(
    rule: str, groups: Mapping[str, tuple[str, float]], threshold: float
) -> list[dict[str, Any]]:
    return [
        _make_row(prompt_id, rule, kept, value, threshold)
        for prompt_id, (kept, value) in groups.items()
        if kept != prompt_id
    ]


def _make_row(
    prompt_id: str, rule: str, kept: str, value: float, threshold: float
) -> dict[str, Any]:
    near = f"close to {kept} ({value:.2f})"
    reasons = {
        "exact_duplicate": f"the same prompt as {kept}",
        "paraphrase": f"says what {kept} says ({value:.2f})",
    }
    return {
        "item_id": prompt_id,
        "item_kind": "prompt",
        "action": "drop",
        "rule": rule,
        "reason": reasons.get(rule, near),
        "value": value,
        "threshold": threshold,
        "group_id": kept,
        "representative": kept,
    }
