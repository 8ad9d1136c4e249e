"""Duplicate prompts: exact after normalisation, and near by MinHash.

Two prompts are near-duplicates where the MinHash estimate of the Jaccard similarity of their word
5-grams (words for short texts) reaches the recipe's threshold (Broder 1997; `rensa` computes the
signatures). A prompt with a verifier is only compared exactly: 3 + 4 and 3 + 5 are near, and
different tasks.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import polars as pl

from pipelines.clean.texts import join_messages, normalise
from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import Decided, decide_stage, drop_decided, make_scope
from pipelines.lake.run import Run, StageSummary
from schemas.recipe import Recipe

STAGE = "dedup"
RULES = 2
PERMUTATIONS = 128
BANDS = 32
SHINGLE = 5
BUCKET = 64


def dedup_prompts(lake: Lake, run: Run, recipe: Recipe, prompts: pl.DataFrame) -> StageSummary:
    """Record which prompts repeat another one. The smallest prompt id of a group stays; each
    dropped one names it as `representative`, with the estimated similarity as `value`."""
    similarity = recipe.clean.near_duplicate_similarity

    return decide_stage(
        lake,
        run,
        stage=STAGE,
        scope=make_dedup_scope(recipe, prompts),
        rows_in=len(prompts),
        compute=lambda: Decided(find_duplicates(prompts, similarity)),
    )


def make_dedup_scope(recipe: Recipe, prompts: pl.DataFrame) -> str:
    """The scope of the recipe's prompt dedup over `prompts`."""
    similarity = recipe.clean.near_duplicate_similarity
    return make_scope(STAGE, RULES, [similarity], _list_inputs(prompts))


def _list_inputs(prompts: pl.DataFrame) -> pl.Series:
    """What the decision on each prompt depends on: whether it has a verifier is the recipe's."""
    return prompts.select(pl.format("{}:{}", "prompt_id", pl.col("verifier").is_null())).to_series()


def keep_distinct(lake: Lake, recipe: Recipe, prompts: pl.DataFrame) -> pl.DataFrame:
    """`prompts` without the duplicates that `dedup_prompts` found."""
    return drop_decided(lake, prompts, "prompt_id", [make_dedup_scope(recipe, prompts)])


def find_duplicates(prompts: pl.DataFrame, similarity: float) -> list[dict[str, Any]]:
    """Decision rows for the prompts that repeat another."""
    texts = (
        join_messages(prompts)
        .select("prompt_id", "verifier", key=normalise(pl.col("text")))
        .sort("prompt_id")
    )
    rows: list[dict[str, Any]] = []
    first: dict[str, str] = {}
    near: list[tuple[str, str]] = []
    for prompt_id, verifier, key in texts.iter_rows():
        kept = first.setdefault(key, prompt_id)
        if kept != prompt_id:
            rows.append(_make_row(prompt_id, "exact_duplicate", kept, 1.0, 1.0))
        elif verifier is None:
            near.append((prompt_id, key))
    groups = group_near(near, similarity)
    for prompt_id, (kept, value) in groups.items():
        if kept != prompt_id:
            rows.append(_make_row(prompt_id, "near_duplicate", kept, value, similarity))
    return rows


def group_near(texts: Iterable[tuple[str, str]], similarity: float) -> dict[str, tuple[str, float]]:
    """Put near-duplicates together: id -> (representative, similarity to a member of its group).

    Candidates come from MinHash bands and are confirmed by comparing signatures; groups are the
    connected components, and the representative is a group's smallest id.
    """
    ids: list[str] = []
    signatures = []
    for item_id, text in texts:
        ids.append(item_id)
        signatures.append(_sign(text))
    parent = list(range(len(ids)))
    value = [1.0] * len(ids)

    def find(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for left, right in _candidates(signatures):
        estimate = (
            sum(x == y for x, y in zip(signatures[left], signatures[right], strict=True))
            / PERMUTATIONS
        )
        if estimate >= similarity:
            for node in (left, right):
                value[node] = estimate
            a, b = find(left), find(right)
            if a != b:
                low, high = (a, b) if ids[a] < ids[b] else (b, a)
                parent[high] = low
    return {item_id: (ids[find(i)], value[i]) for i, item_id in enumerate(ids)}


def _sign(text: str) -> list[int]:
    from rensa import RMinHash

    words = text.split()
    shingles = [" ".join(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1)]
    sketch = RMinHash(num_perm=PERMUTATIONS, seed=1)
    sketch.update(shingles if len(words) >= 2 * SHINGLE else words)
    return list(sketch.digest())


def _candidates(signatures: list[list[int]]) -> Iterator[tuple[int, int]]:
    """Pairs that agree on a whole band, each once."""
    rows = PERMUTATIONS // BANDS
    seen: set[tuple[int, int]] = set()
    for band in range(BANDS):
        buckets: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for i, signature in enumerate(signatures):
            buckets[tuple(signature[band * rows : (band + 1) * rows])].append(i)
        for members in buckets.values():
            crowd = len(members) > BUCKET  # then a chain, for all pairs would be too many
            pairs = itertools.pairwise(members) if crowd else itertools.combinations(members, 2)
            for left, right in pairs:
                if (left, right) not in seen:
                    seen.add((left, right))
                    yield left, right


def _make_row(
    prompt_id: str, rule: str, kept: str, value: float, threshold: float
) -> dict[str, Any]:
    reason = f"the same prompt as {kept}" if value == 1.0 else f"close to {kept} ({value:.2f})"
    return {
        "item_id": prompt_id,
        "item_kind": "prompt",
        "action": "drop",
        "rule": rule,
        "reason": reason,
        "value": value,
        "threshold": threshold,
        "group_id": kept,
        "representative": kept,
    }
