"""Duplicate prompts: exact after normalisation, and near by MinHash.

Two prompts are near-duplicates where the MinHash estimate of the Jaccard similarity of their word
5-grams (words for short texts) reaches the recipe's threshold (Broder 1997; `rensa` computes the
signatures). A prompt with a verifier is only compared exactly: 3 + 4 and 3 + 5 are near, and
different tasks.

Of a group one prompt stays, and stands for the others wherever they would matter, as in the split:
the one that had its split first (one that is examined on before one that is trained on), so that a
duplicate that comes later with a smaller id changes nothing; of new ones that with the smallest id.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from pipelines.clean.texts import join_messages, normalise
from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import Decided, decide_stage, make_scope
from pipelines.lake.run import Run, StageSummary
from schemas.recipe import Recipe

STAGE = "dedup"
RULES = 3
PERMUTATIONS = 128
BANDS = 32
SHINGLE = 5
BUCKET = 64


def dedup_prompts(lake: Lake, run: Run, recipe: Recipe, prompts: pl.DataFrame) -> StageSummary:
    """Record which prompts repeat another one. One of a group stays (see the module); each dropped
    one names it as `representative`, with the estimated similarity as `value`."""
    similarity = recipe.clean.near_duplicate_similarity

    def compute() -> Decided:
        settled = lake.query(
            "SELECT prompt_id FROM splits SEMI JOIN wanted USING (prompt_id) "
            "ORDER BY split NOT IN ('test', 'gold-exam'), created_at, prompt_id",
            wanted=prompts.select("prompt_id"),
        )
        return Decided(find_duplicates(prompts, similarity, settled["prompt_id"].to_list()))

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
    similarity = recipe.clean.near_duplicate_similarity
    return make_scope(STAGE, RULES, [similarity], _list_inputs(prompts))


def _list_inputs(prompts: pl.DataFrame) -> pl.Series:
    """What the decision on each prompt depends on: whether it has a verifier is the recipe's."""
    return prompts.select(pl.format("{}:{}", "prompt_id", pl.col("verifier").is_null())).to_series()


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
        similarity: from which estimate on two prompts are near.
        settled: ids of those that have a split, whoever of a group is to stay first.
    """
    places = {prompt_id: place for place, prompt_id in enumerate(settled)}

    def order(prompt_id: str) -> tuple[int, str]:
        return places.get(prompt_id, len(places)), prompt_id

    texts = join_messages(prompts).select("prompt_id", "verifier", key=normalise(pl.col("text")))
    rows: list[dict[str, Any]] = []
    first: dict[str, str] = {}
    near: list[tuple[str, str]] = []
    for prompt_id, verifier, key in sorted(texts.iter_rows(), key=lambda row: order(row[0])):
        kept = first.setdefault(key, prompt_id)
        if kept != prompt_id:
            rows.append(_make_row(prompt_id, "exact_duplicate", kept, 1.0, 1.0))
        elif verifier is None:
            near.append((prompt_id, key))
    groups = group_near(sorted(near), similarity)
    members: dict[str, list[str]] = {}
    for prompt_id, (group, _) in groups.items():
        members.setdefault(group, []).append(prompt_id)
    for prompt_id, (group, value) in groups.items():
        kept = min(members[group], key=order)
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
