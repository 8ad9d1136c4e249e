"""What paraphrase dedup and semantic clusters find of real rewordings, by the real embedder."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from pipelines.clean.dedup import dedup_prompts, make_dedup_scope
from pipelines.clean.semantic.retrieval import find_nearest
from pipelines.clean.splits import keep_split, split_prompts
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from tests.conftest import make_recipe
from tests.pipelines.clean.semantic.test_prompts import SCHEMA

ITEMS = 250


def read(file: Path) -> list[dict[str, str]]:
    with gzip.open(file, "rt", encoding="utf-8") as handle:
        return [json.loads(line) for line in handle]


@pytest.fixture(scope="module")
def wordings(realdata: Path) -> list[tuple[str, str]]:
    """Questions of GSM8K, each with one that asks the same (a few are empty, and left out)."""
    questions = [row["question"] for row in read(realdata / "gsm8k_test.jsonl.gz")]
    texts = [row["text"] for row in read(realdata / "gsm8k_rephrased.jsonl.gz")]
    asked = [re.sub(r"^\s*Question:\s*|\s*\n\s*Answer:.*", "", text, flags=re.S) for text in texts]
    both = [(a, b) for a, b in zip(questions, asked, strict=True) if b.strip()]
    return both[:ITEMS]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    with open_lake(str(tmp_path_factory.mktemp("reworded") / "lake")) as opened:
        yield opened


def make_prompts(wordings: list[tuple[str, str]]) -> pl.DataFrame:
    """Prompts 000a and 000b, 001a and 001b, …"""
    rows = [
        {"prompt_id": f"{place:03}{side}", "messages": [{"role": "user", "content": text}],
         "duplicates": []}
        for place, both in enumerate(wordings) for side, text in zip("ab", both, strict=True)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=SCHEMA)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("similarity", "recall", "precision"), [(0.9, 0.6, 0.98), (0.85, 0.85, 0.98), (0.8, 0.95, 0.97)]
)
def test_paraphrases_are_found_and_strangers_are_not(
    lake: Lake, wordings: list[tuple[str, str]], similarity: float, recall: float, precision: float
) -> None:
    prompts = make_prompts(wordings)
    recipe = make_recipe(clean={"paraphrase_similarity": similarity})
    dedup_prompts(lake, new_run(recipe), recipe, prompts)
    rows = lake.query(
        "SELECT item_id, representative FROM decisions WHERE scope = ? AND rule = 'paraphrase'",
        [make_dedup_scope(recipe, prompts)],
    )
    right = sum(item[:3] == kept[:3] for item, kept in rows.iter_rows())
    print(f"at {similarity}: recall {right / len(wordings):.3f}, precision {right / len(rows):.3f}")
    assert right / len(wordings) >= recall
    assert right / len(rows) >= precision


@pytest.mark.realdata
def test_paraphrases_share_a_split(lake: Lake, wordings: list[tuple[str, str]]) -> None:
    prompts = make_prompts(wordings)
    recipe = make_recipe(split={"test": 0.5, "clusters": "semantic"})
    split_prompts(lake, new_run(recipe), recipe, prompts)
    kept = keep_split(lake, recipe, prompts)
    split = dict(kept.select("prompt_id", "split").iter_rows())
    cluster = dict(kept.select("prompt_id", "cluster_id").iter_rows())
    items = [f"{place:03}" for place in range(len(wordings))]
    together = sum(cluster[f"{item}a"] == cluster[f"{item}b"] for item in items)
    assert together / len(items) >= 0.95
    apart = sum(split[f"{item}a"] != split[f"{item}b"] for item in items)
    assert apart / len(items) <= 0.03
    assert max(Counter(cluster.values()).values()) <= 8


@pytest.mark.realdata
def test_the_nearest_is_the_same_question(lake: Lake, wordings: list[tuple[str, str]]) -> None:
    run = new_run(make_recipe())
    found = find_nearest(lake, run, [b for _, b in wordings], [a for a, _ in wordings], 3)
    first = found.filter(pl.col("rank") == 1)
    assert (first["query"] == first["place"]).mean() >= 0.97
