"""Which prompts of the lake a recipe speaks of: those its sources made, and no others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.lake.calls import Call
from pipelines.lake.catalogue import Lake
from pipelines.make.growing import (
    make_growing_calls,
    make_grown_prompt,
    make_seed_rows,
    read_seeds,
)
from pipelines.make.synthesis import Slot, find_outcomes, list_slots, make_task_prompt
from schemas.recipe import Recipe
from schemas.tables import polars_schema

OF_GENERATOR = ("difficulty", "answer", "verifier", "verifier_data", "parent_id")
"""What a generator knows of its prompt. In a recipe that only imports the prompt they are null,
or its data set would depend on which other recipes the lake has seen."""
KEPT = ("messages", "run_id", "created_at")
Maker = Slot | Call | dict[str, Any]
"""A slot, a call that grows a prompt, or the row of a seed."""

IMPORTED = """
WITH latest AS (
    SELECT *, list_position(?, source) AS place FROM imports WHERE list_contains(?, source)
    QUALIFY coalesce(revision, 0)
        = max(coalesce(revision, 0)) OVER (PARTITION BY source, file_hash, row)
)
SELECT prompt_id,
    string_agg(DISTINCT licence, ' AND ' ORDER BY licence) AS own_licence,
    first(source ORDER BY place) AS own_source,
    first(category ORDER BY place, file_hash, row) AS own_category
FROM latest WHERE prompt_id IS NOT NULL GROUP BY prompt_id
"""


def find_prompts(lake: Lake, recipe: Recipe, base: Path | None) -> pl.DataFrame:
    """The rows of `prompts` that the recipe's sources made, sorted by `prompt_id`.

    `prompts` keeps what its first writer said. Of a prompt that the recipe generates, the row is
    what its own generator says, whoever brought the prompt to the lake first. Of one that it
    imports, `source`, `category` and `licence` are what its own imports say, in their latest
    revision; where several of them bring one prompt it comes once, with the source and category of
    the one that the recipe names first, and the union of the licences, joined by " AND ".
    """
    makers = _find_makers(lake, recipe, base)
    names = [source.name for source in recipe.prompts.imports]
    imported = lake.query(IMPORTED, [names, names])
    wanted = pl.DataFrame({"prompt_id": sorted(makers)}, schema={"prompt_id": pl.String})
    frame = lake.query(
        "SELECT prompts.* FROM prompts SEMI JOIN "
        "(SELECT prompt_id FROM wanted UNION SELECT prompt_id FROM imported) USING (prompt_id) "
        "ORDER BY prompt_id",
        wanted=wanted,
        imported=imported,
    )
    frame = frame.update(_remake(recipe, frame, makers), on="prompt_id", include_nulls=True)
    generated = pl.col("prompt_id").is_in(wanted["prompt_id"].implode())
    return (
        frame.join(imported, on="prompt_id", how="left", maintain_order="left")
        .with_columns(
            pl.coalesce("own_source", "source").alias("source"),
            pl.coalesce("own_category", "category").alias("category"),
            pl.coalesce("own_licence", "licence").alias("licence"),
            *(pl.when(generated).then(name).alias(name) for name in OF_GENERATOR),
        )
        .drop("own_source", "own_category", "own_licence")
    )


def _find_makers(lake: Lake, recipe: Recipe, base: Path | None) -> dict[str, Maker]:
    """Prompt id -> what in the recipe makes it; the first, where several do."""
    slots = {slot.request_id: slot for slot in list_slots(recipe)}
    calls = {call.request.request_id: call for call in make_growing_calls(recipe, base)}
    outcomes = find_outcomes(lake, [*slots, *calls])
    makers: dict[str, Maker] = {}
    for request_id, slot in slots.items():
        if request_id in outcomes:
            makers.setdefault(outcomes[request_id], slot)
    if recipe.prompts.open and recipe.prompts.open.include_seeds:
        for row in make_seed_rows(read_seeds(recipe.prompts.open, base)):
            makers.setdefault(row["prompt_id"], row)
    for request_id, call in calls.items():
        if request_id in outcomes:
            makers.setdefault(outcomes[request_id], call)
    return makers


def _remake(recipe: Recipe, frame: pl.DataFrame, makers: Mapping[str, Maker]) -> pl.DataFrame:
    """The rows of those prompts that something else has made first."""
    rows = []
    made = pl.col("prompt_id").is_in(pl.Series(list(makers), dtype=pl.String).implode())
    stored = frame.filter(made).select("prompt_id", "origin_id", "messages")
    for prompt_id, origin_id, messages in stored.iter_rows():
        maker = makers.get(prompt_id)
        if isinstance(maker, Slot) and origin_id != maker.request_id:
            rows.append(make_task_prompt(maker, recipe.seed))
        elif isinstance(maker, Call) and origin_id != maker.request.request_id:
            rows.append(make_grown_prompt(maker, messages[-1]["content"]))
        elif isinstance(maker, dict):
            rows.append(maker)
    schema = {k: v for k, v in polars_schema("prompts").items() if k not in KEPT}
    return pl.DataFrame(rows, schema=schema)
