"""Which prompts of the lake a recipe speaks of: those its sources made, and no others."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from pipelines.lake.catalogue import Lake
from pipelines.make.growing import make_growing_calls, make_seed_rows, read_seeds
from pipelines.make.synthesis import find_outcomes, list_slots
from schemas.recipe import Recipe

OF_GENERATOR = ("difficulty", "answer", "verifier", "verifier_data", "parent_id")
"""What a generator knows of its prompt. In a recipe that only imports the prompt they are null,
or its data set would depend on which other recipes the lake has seen."""

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

    `prompts` keeps what its first writer said; of a prompt that the recipe imports, `source`,
    `category` and `licence` are what the recipe's own imports say, in their latest revision. Where
    several of them bring one prompt it comes once, with the source and category of the one that
    the recipe names first, and the union of the licences, joined by " AND ".
    """
    made = [slot.request_id for slot in list_slots(recipe)]
    made += [call.request.request_id for call in make_growing_calls(recipe, base)]
    ids = set(find_outcomes(lake, made).values())
    if recipe.prompts.open and recipe.prompts.open.include_seeds:
        seeds = make_seed_rows(read_seeds(recipe.prompts.open, base))
        ids |= {row["prompt_id"] for row in seeds}
    names = [source.name for source in recipe.prompts.imports]
    imported = lake.query(IMPORTED, [names, names])
    wanted = pl.DataFrame({"prompt_id": sorted(ids)}, schema={"prompt_id": pl.String})
    frame = lake.query(
        "SELECT prompts.* FROM prompts SEMI JOIN "
        "(SELECT prompt_id FROM wanted UNION SELECT prompt_id FROM imported) USING (prompt_id) "
        "ORDER BY prompt_id",
        wanted=wanted,
        imported=imported,
    )
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
