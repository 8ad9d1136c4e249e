"""What prototypes of people said of a version's pairs, as the lake stood when it was published."""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from pipelines.label.people.tastes import PARTED, Tastes, find_tastes
from pipelines.label.people.telling import EXAMPLES, tell_fit
from pipelines.label.people.voices import find_voices
from pipelines.lake.catalogue import Lake
from pipelines.ship.explain import clip, explain_pair
from pipelines.ship.publish import Published, read_pairs
from schemas.recipe import Recipe, parse_recipe

EXAMPLE_SQL = """
WITH parted AS (
    SELECT item_id AS pair_id, value, reason FROM decisions
    WHERE rule = ? AND list_contains(?, scope)
)
SELECT pair_id, reason FROM parted ORDER BY value DESC, pair_id
"""


def find_version_recipe(lake: Lake, version: Published) -> Recipe | None:
    """The recipe of a version whose labels heed prototypes; None of any other."""
    row = lake.query(
        "SELECT recipe FROM versions WHERE name = ? AND version = ?",
        [version.name, version.version],
    )
    content = json.loads(row["recipe"][0])
    if not (content.get("review") or {}).get("prototypes"):
        return None
    return parse_recipe(content, version.name)


def look_at_tastes(lake: Lake, version: Published, recipe: Recipe) -> Tastes | None:
    """What the prototypes say of the version's pairs; None where nobody had said anything."""
    pairs = read_pairs(lake, version).select(
        "pair_id",
        "prompt_id",
        response_a=pl.min_horizontal("chosen_id", "rejected_id"),
        response_b=pl.max_horizontal("chosen_id", "rejected_id"),
    )
    with lake.look_back(version.snapshot) as past:
        voices = find_voices(past, [source.name for source in recipe.prompts.imports])
        return find_tastes(past, recipe, voices, pairs)


def add_tastes(lake: Lake, version: Published, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of a version with p_prototype and p_pool: the chance that one of its people, and
    that anybody, prefers the chosen response. Of a version that is no prototype's, the rows as
    they are."""
    recipe = find_version_recipe(lake, version)
    if recipe is None or recipe.label.prototype is None:
        return rows
    tastes = look_at_tastes(lake, version, recipe)
    if tastes is None:
        return rows
    p = {"p_prototype": f"p_{recipe.label.prototype}", "p_pool": "p_pool"}
    said = tastes.said.select("pair_id", **p)
    sides = read_pairs(lake, version).select(
        "pair_id", chose_a=pl.col("chosen_id") < pl.col("rejected_id")
    )
    return (
        rows.join(sides, on="pair_id", maintain_order="left")
        .join(said, on="pair_id", how="left", maintain_order="left")
        .with_columns(pl.when("chose_a").then(name).otherwise(1 - pl.col(name)).alias(name)
                      for name in p)
        .drop("chose_a")
    )  # fmt: skip


def describe_prototypes(lake: Lake, version: Published) -> dict[str, Any] | None:
    """What a report says of prototypes: `telling.tell_fit`, `of` (the prototype whose labels these
    are, or None), `parted` (the pairs kept out of the version because prototypes part) and the
    clearest of those with their texts (`examples`). None of a version whose recipe does not heed
    them.
    """
    recipe = find_version_recipe(lake, version)
    tastes = look_at_tastes(lake, version, recipe) if recipe else None
    if recipe is None or tastes is None:
        return None
    scopes = lake.query(
        "SELECT scopes FROM versions WHERE name = ? AND version = ?",
        [version.name, version.version],
    )["scopes"][0].to_list()
    parted = lake.query(EXAMPLE_SQL, [PARTED, scopes])
    return {
        **tell_fit(tastes.fit),
        "of": recipe.label.prototype,
        "parted": len(parted),
        "examples": [_show(lake, *row) for row in parted.head(EXAMPLES).iter_rows()],
    }


def _show(lake: Lake, pair_id: str, why: str) -> dict[str, str]:
    """A pair for a reader: pair_id, why, prompt, a, b, long texts cut."""
    known = explain_pair(lake, pair_id)
    first, second = (clip(side["content"]) for side in known["responses"])
    prompt = clip(known["prompt"]["messages"][-1]["content"])
    return {"pair_id": pair_id, "why": why, "prompt": prompt, "a": first, "b": second}
