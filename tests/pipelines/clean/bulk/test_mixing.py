"""Mixing rows by numbers comes to what mixing them by words does."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines.clean.bulk.mixing import count_prompts, mix_rows
from pipelines.clean.bulk.pool import list_parts
from pipelines.clean.bulk.sketch import Plan, Sketch, load_all, sketch_part
from pipelines.clean.kernels.filling import scatter_keys
from pipelines.clean.mix import CLUSTER, choose_rows, describe_full, list_counted, report_counted
from pipelines.clean.strata import UNKNOWN, cut_lengths
from schemas.mixing import MixSpec
from tests.pipelines.clean.bulk.pools import write_pool

BOUNDS = (30, 60)
MIXES = [
    MixSpec(),
    MixSpec(total=90),
    MixSpec(total=100, categories={"maths": 0.3, "nobody's": 0.1}, sources={"x": 0.5}),
    MixSpec(total=100, balance=["category", "length"], temperature=3, length_bounds=BOUNDS),
    MixSpec(total=150, lengths={"short": 0.2, "long": 0.1}, length_bounds=BOUNDS, per_cluster=2),
    MixSpec(total=150, categories={"unknown": 0.2}, balance=["source", "category"], per_cluster=1),
    MixSpec(blends={"a": {"maths": 2, "größe": 1}}, blend="a", per_cluster=3),
]


def make_sketches(folder: Path, seed: int) -> tuple[list[dict[str, Any]], list[Sketch]]:
    """Pairs of few prompts, of lengths about the bounds, some without a category."""
    rng = random.Random(seed)
    rows = [
        {"prompt": f"prompt {rng.randrange(80)}",
         "chosen": f"{i}".ljust(rng.choice([29, 30, 59]), "x"),
         "rejected": f"no {i} ".ljust(rng.choice([1, 60, 61]), "y"),
         "source": rng.choice("xyz"), "category": rng.choice(["maths", "größe", None])}
        for i in range(240)
    ]  # fmt: skip
    pool = write_pool(folder / "pool", [rows[:100], rows[100:103], rows[103:]])
    plan = Plan()
    return rows, [sketch_part(part, plan, folder / "state") for part in list_parts(pool)]


def mix_words(
    rows: list[dict[str, Any]], places: np.ndarray, mix: MixSpec
) -> tuple[list[tuple[str, str] | None], dict[str, Any]]:
    """Of each row what it was dropped for, and the report."""
    chars = [max(len(row["chosen"]), len(row["rejected"])) for row in rows]
    frame = pl.DataFrame(rows).with_columns(
        cut_lengths(pl.Series(chars), mix), pl.col("category").fill_null(UNKNOWN),
        cluster_id="prompt",
    )  # fmt: skip
    total = mix.total if mix.total is not None else len(rows)
    counted = list_counted(frame, mix, total)
    outcome, reached = choose_rows(places, counted, total)
    return describe(counted, outcome, reached, total)


def describe(
    counted: Sequence[Any], outcome: np.ndarray, reached: list[np.ndarray], total: int
) -> tuple[list[tuple[str, str] | None], dict[str, Any]]:
    said = describe_full(counted, outcome, total)
    parts = [pair for pair in zip(counted, reached, strict=True) if pair[0].kind != CLUSTER]
    report = {part.kind: report_counted(part, got) for part, got in parts}
    found = [said.get(code) for code in outcome.tolist()]
    return [one and (one[0], "" if "cluster" in one[0] else one[1]) for one in found], report


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("seed", range(3))
def test_it_comes_to_what_words_do(tmp_path: Path, mix: MixSpec, seed: int) -> None:
    rows, sketches = make_sketches(tmp_path, seed)
    keys = load_all(sketches, "item_keys")
    some = np.flatnonzero(np.random.default_rng(seed).random(len(rows)) < 0.9)
    outcome, (counted, reached, total) = mix_rows(sketches, some, keys, mix, seed)
    found = describe(counted, outcome, reached, total)
    expected = mix_words([rows[i] for i in some], scatter_keys(keys[some], seed), mix)
    assert found == expected
    if mix != MixSpec():
        assert {None} < set(found[0])


@pytest.mark.parametrize("limit", [1, 3, 300])
def test_only_prompts_that_can_be_full_are_counted(limit: int) -> None:
    sizes = [1, limit, limit + 1, 1000]
    names = np.array([5, 5 + 2**40, 5 + 2**50, 5 + 2**60], dtype=np.uint64)  # alike at the end
    keys = np.random.default_rng(0).permutation(np.repeat(names, sizes))
    counted = count_prompts(keys, limit)
    assert counted.names.to_list() == names[2:].tolist()
    assert counted.limits.tolist() == [limit, limit]
    places = {int(names[2]): 0, int(names[3]): 1}
    assert counted.codes[:, 0].tolist() == [places.get(int(key), -1) for key in keys]


def test_no_rows_count_for_nothing() -> None:
    counted = count_prompts(np.zeros(0, dtype=np.uint64), 2)
    assert counted.codes.shape == (0, 1) and len(counted.names) == len(counted.limits) == 0
