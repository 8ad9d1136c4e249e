"""Recipes: unknown keys, impossible quotas, names of nothing; each names the file and the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.assets import assets_folder
from schemas.recipe import RecipeError, load_recipe, parse_import, parse_recipe

SMALL = {"name": "t", "prompts": {"arithmetic": {"count": 3}}}


@pytest.mark.parametrize("file", sorted((assets_folder() / "recipes").glob("*.yaml")))
def test_shipped_recipes_are_valid(file: Path) -> None:
    assert load_recipe(file).name == file.stem


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labell": {}}, "labell: unknown key; did you mean 'label'"),
        ({"label": {"treshold": 0.7}}, "label.treshold: unknown key; did you mean 'threshold'"),
        ({"prompts": {"open": {"cuont": 3}}}, "prompts.open.cuont: unknown key; did you mean"),
        (
            {"rollouts": [{"temprature": 1}]},
            "rollouts.0.temprature: unknown key; did you mean 'temperature'",
        ),
        ({"mix": {"categories": {"a": 0.7, "b": 0.6}}}, "mix: impossible quota: the shares under"),
        ({"mix": {"total": 1, "sources": {"a": 0.5, "b": 0.5}}}, "cannot share 1 pairs"),
        ({"rollouts": [{"model": "embeded"}]}, "did you mean 'embedded'"),
        ({"prompts": {}}, "name at least one of verifiable"),
        ({"label": {"threshold": 0.4}}, "label.threshold"),
        ({"name": "no spaces"}, "name"),
    ],
)
def test_a_broken_recipe_names_the_key_and_the_mend(change: dict, message: str) -> None:
    with pytest.raises(RecipeError, match=r"^file\.yaml: ") as caught:
        parse_recipe({**SMALL, **change}, "file.yaml")
    assert message in str(caught.value)


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such recipe"):
        load_recipe(tmp_path / "absent.yaml")
    for content, message in ((b"a: [", "not valid YAML"), (b"- a", "mapping"), (b"\xff", "read")):
        file = tmp_path / "bad.yaml"
        file.write_bytes(content)
        with pytest.raises(RecipeError, match=message) as caught:
            load_recipe(file)
        assert str(file) in str(caught.value)


def test_the_hash_sees_every_value_and_no_order() -> None:
    first = parse_recipe({"seed": 1, **SMALL})
    assert parse_recipe({**SMALL, "seed": 1}).recipe_hash == first.recipe_hash
    assert parse_recipe({**SMALL, "seed": 2}).recipe_hash != first.recipe_hash


def test_an_import_source_is_checked_too() -> None:
    assert parse_import("x.jsonl", name="x").licence == "unknown"
    with pytest.raises(RecipeError, match="name"):
        parse_import("x.jsonl", name="no spaces")
