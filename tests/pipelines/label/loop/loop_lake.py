"""A lake with a planted pool and a loop over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.label.loop.progress import find_iterations, name_loop
from pipelines.lake.importing import import_pool
from pipelines.lake.run import new_run
from pipelines.steps import Work, open_work, settle
from schemas.recipe import Recipe
from tests.pipelines.label.loop.planted_pool import (
    make_pool_recipe,
    plant_pool,
    write_pool,
)


def make_loop_recipe(folder: Path, url: str, **changes: Any) -> Recipe:
    """160 pairs, 90 of them gold, and a judge at `url` that is right on 85 % of them."""
    known = {"accuracy": 0.85, **changes.pop("pool", {})}
    pool = plant_pool(160, judges=1, **known)
    file = write_pool(folder / "pool.jsonl", pool, gold=changes.pop("gold", 90), worths=True)
    content = {
        "models": {"m": {"model": "stub", "url": url, "concurrency": 16, "max_tries": 1}},
        "judges": [{"name": "judge", "model": "m"}],
        "loop": {"iterations": 2, "neighbours": 2},
    }
    return make_pool_recipe(file, **{**content, **changes})


@contextmanager
def open_loop(
    folder: Path, recipe: Recipe, tell: Callable[[str], None] = lambda _: None, again: bool = False
) -> Iterator[Work]:
    run = new_run(recipe, tell=tell, retry_failed=again)
    with open_work(str(folder / "lake"), recipe, None, run) as work:
        import_pool(work.lake, work.run, recipe.prompts.imports[0])
        settle(work, until="verify")
        yield work


def list_rows(work: Work) -> list[dict[str, Any]]:
    return find_iterations(work.lake, name_loop(work.recipe))


def release(work: Work, keys: list[str]) -> None:
    """People say of these pairs that the first response is better."""
    reviews = work.lake.query("SELECT * FROM reviews WHERE status = 'queued'")
    rows = reviews.filter(pl.col("pair_id").is_in(keys)).rows(named=True)
    released = [
        {"batch_id": "b", "review_id": row["review_id"], "pair_id": row["pair_id"],
         "outcome": "gold", "tie": False, "annotators": [], "approved_by": "test", "gates": "{}"}
        for row in rows
    ]  # fmt: skip
    sides = ("prompt_id", "response_a", "response_b")
    said = [
        {**{name: row[name] for name in sides}, "judgment_id": f"gold-{row['review_id']}",
         "kind": "human", "annotator": "people:b", "p_a": 1.0, "tie": False, "valid": True,
         "sample_index": 0, "gold": True}
        for row in rows
    ]  # fmt: skip
    work.lake.append({"releases": released, "judgments": said}, run=work.run, stage="test")
