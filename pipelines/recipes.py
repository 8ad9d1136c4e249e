"""Recipes and their settings by name: from a file, from those that ship with Assay, or as a lake
saw them last."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from annotators.rubrics.rubric import Criterion, load_rubric
from engines.assets import AssetMissing, find_asset
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.places import LakeMissing
from schemas.recipe import (
    LabelSpec,
    PrototypeSpec,
    Recipe,
    RecipeError,
    ReviewSpec,
    load_recipe,
    parse_recipe,
)


def find_recipe(name: str, lake_url: str | None = None) -> tuple[Recipe, Path | None]:
    """A recipe by its file, by the name of one that ships with Assay, or by the name under which
    the lake saw it last; and the folder that its own files lie beside.

    Raises:
        RecipeError: none of these, or a recipe that cannot be used.
    """
    file = Path(name)
    if file.suffix in (".yaml", ".yml") or file.is_file():
        return load_recipe(file), file.absolute().parent
    try:
        return load_recipe(find_asset(f"recipes/{name}.yaml")), None
    except AssetMissing as error:
        stored = None
        if lake_url is not None:
            with suppress(LakeMissing), open_lake(lake_url, create=False) as lake:
                stored = find_stored(lake, name)
        if stored is None:
            raise RecipeError(
                f"{name}: no such recipe file, {error}; and the lake has seen no recipe of that "
                "name"
            ) from error
        content = json.loads(stored)
        base = Path(content["base"]) if content["base"] else None
        return parse_recipe(content["recipe"], name), base


def find_review_settings(
    lake: Lake, name: str | None, lake_url: str
) -> tuple[ReviewSpec, tuple[Criterion, ...]]:
    """What a recipe asks of people and the criteria that they rate: of the recipe of that name (see
    `find_recipe`), else of the one that the lake saw last, else the defaults.

    Raises:
        RecipeError, engines.assets.AssetMissing, annotators.rubrics.rubric.RubricError
    """
    recipe, base = _find_latest(lake, name, lake_url)
    spec = recipe.review if recipe else ReviewSpec()
    if spec.criteria is None:
        return spec, ()
    return spec, load_rubric(find_asset(spec.criteria, base)).asked


def find_label_settings(lake: Lake, name: str | None, lake_url: str) -> LabelSpec:
    """How the same recipe labels. Raises RecipeError."""
    recipe, _ = _find_latest(lake, name, lake_url)
    return recipe.label if recipe else LabelSpec()


def find_stored(lake: Lake, name: str) -> str | None:
    """The recipe of that name that the lake saw last, with its folder, as JSON."""
    found = lake.query(
        "SELECT value FROM lake_meta WHERE starts_with(key, ?) ORDER BY created_at DESC LIMIT 1",
        [f"recipe:{name}:"],
    )
    return found["value"][0] if len(found) else None


def find_base(lake: Lake, name: str) -> Path | None:
    """The folder that the own files of the recipe of that name lay beside when the lake saw it
    last; None where it has none, or the lake has never seen it."""
    stored = find_stored(lake, name)
    base = json.loads(stored)["base"] if stored else None
    return Path(base) if base else None


def speak_for(recipe: Recipe, prototype: str) -> Recipe:
    """The recipe with the labels of one prototype of annotators, under a name that says so.

    Raises:
        RecipeError: no prototype can be called that.
    """
    content = heed_prototypes(recipe).model_dump(mode="json")
    content["name"] = f"{recipe.name}.{prototype}"
    content["label"]["prototype"] = prototype
    return parse_recipe(content, recipe.name)


def heed_prototypes(recipe: Recipe) -> Recipe:
    """The recipe with `review.prototypes`, its own or as it is where nothing is said."""
    spec = recipe.review.prototypes or PrototypeSpec()
    review = recipe.review.model_copy(update={"prototypes": spec})
    return recipe.model_copy(update={"review": review})


def _find_latest(lake: Lake, name: str | None, lake_url: str) -> tuple[Recipe | None, Path | None]:
    if name is None:
        seen = lake.query(
            "SELECT key FROM lake_meta WHERE starts_with(key, 'recipe:') "
            "ORDER BY created_at DESC LIMIT 1"
        )["key"]
        if seen.is_empty():
            return None, None
        content = json.loads(find_stored(lake, seen[0].split(":")[1]) or "")
        return parse_recipe(content["recipe"]), content["base"] and Path(content["base"])
    return find_recipe(name, lake_url)
