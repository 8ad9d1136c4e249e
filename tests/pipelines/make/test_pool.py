"""The pool of a recipe: its own prompts, with what its own sources say of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.importing import import_pool
from pipelines.lake.run import new_run
from pipelines.make.growing import grow_prompts
from pipelines.make.pool import find_prompts
from pipelines.make.rollouts import make_rollout_calls
from pipelines.make.synthesis import synthesise
from schemas.recipe import Recipe
from tests.conftest import make_recipe
from tests.stub_server import run_stub

OF_WRITER = ("language", "origin_id")  # of an imported prompt, whoever was first knows these
ROW = {"prompt": "Why?", "chosen": "Because.", "rejected": "No."}


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with open_lake(tmp_path / "lake") as opened:
        yield opened


def write_pool(folder: Path, name: str, *rows: dict[str, Any]) -> str:
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def bring(lake: Lake, *imports: dict[str, Any], **sources: Any) -> Recipe:
    """Import the pools as a recipe that has these sources; gives the recipe."""
    recipe = make_recipe(prompts={"imports": list(imports), **sources})
    for source in recipe.prompts.imports:
        import_pool(lake, new_run(), source)
    return recipe


def test_what_another_recipe_imported_first_is_seen_as_ones_own(lake: Lake, tmp_path: Path) -> None:
    file = write_pool(tmp_path, "pool", ROW)
    first = bring(lake, {"path": file, "name": "a", "licence": "MIT", "category": "theirs"})
    second = bring(lake, {"path": file, "name": "b", "licence": "CC0", "category": "ours"})
    for recipe, expected in ((first, ("a", "MIT", "theirs")), (second, ("b", "CC0", "ours"))):
        prompts = find_prompts(lake, recipe, None)
        assert prompts.select("source", "licence", "category").rows() == [expected]
        assert make_rollout_calls(recipe, prompts) == [[]]  # the pool brought its responses


def test_a_prompt_of_two_pools_has_the_first_ones_name_and_both_licences(
    lake: Lake, tmp_path: Path
) -> None:
    one = {"path": write_pool(tmp_path, "one", ROW), "name": "z", "licence": "MIT"}
    two = {"path": write_pool(tmp_path, "two", ROW, ROW), "name": "b", "licence": "CC0"}
    recipe = bring(lake, one, {**two, "category": "other"})
    prompt = find_prompts(lake, recipe, None).row(0, named=True)
    assert (prompt["source"], prompt["category"]) == ("z", "imported")
    assert prompt["licence"] == "CC0 AND MIT"


def test_a_corrected_licence_is_the_one_that_counts(lake: Lake, tmp_path: Path) -> None:
    pool = {"path": write_pool(tmp_path, "pool", ROW), "name": "a"}
    bring(lake, pool)
    recipe = bring(lake, {**pool, "licence": "MIT"})
    assert find_prompts(lake, recipe, None)["licence"].to_list() == ["MIT"]


def test_what_was_misread_under_another_layout_is_no_longer_in_the_pool(
    lake: Lake, tmp_path: Path
) -> None:
    both = {"instruction": "Rewrite.", "response1": "One.", "response2": "Two.", "annotator1": 1}
    pool = {"path": write_pool(tmp_path, "pool", {**ROW, **both}), "name": "a"}
    misread = bring(lake, pool)
    assert find_prompts(lake, misread, None)["messages"][0][0]["content"] == "Rewrite."
    recipe = bring(lake, {**pool, "layout": "trl"})
    prompts = find_prompts(lake, recipe, None)
    assert [row[0]["content"] for row in prompts["messages"]] == ["Why?"]


def see(lake: Lake, recipe: Recipe, *besides: str) -> list[tuple[Any, ...]]:
    """The pool of a recipe, but for when and in which run its rows came, and `besides`."""
    return find_prompts(lake, recipe, None).drop("run_id", "created_at", *besides).rows()


@pytest.mark.parametrize("pool_first", [True, False])
@pytest.mark.parametrize("kind", ["arithmetic", "verifiable", "open", "other seed"])
def test_whoever_was_first_each_recipe_sees_the_prompts_of_its_own_sources(
    tmp_path: Path, kind: str, pool_first: bool
) -> None:
    """What is made alone in a lake is what is made beside a pool, and beside another recipe, that
    have the same prompts."""
    with run_stub() as stub:
        models = {"m": {"model": "stub", "url": stub.url}}
        sources: dict[str, Any] = {
            "arithmetic": {"arithmetic": {"count": 5}},
            "verifiable": {"verifiable": {"families": ["gcd"], "per_cell": 2}},
            "open": {"open": {"model": "m", "count": 4, "categories": ["opinion"]}},
            "other seed": {"verifiable": {"families": ["count_bits"], "per_cell": 9}},
        }[kind]
        recipe = make_recipe(models=models, prompts=sources)

        def make(lake: Lake, recipe: Recipe) -> None:
            synthesise(lake, new_run(), recipe)
            grow_prompts(lake, new_run(), recipe, None)

        with open_lake(tmp_path / "alone") as lake:
            make(lake, recipe)
            alone = see(lake, recipe)
            texts = [row[0]["content"] for row in find_prompts(lake, recipe, None)["messages"]]
        file = write_pool(tmp_path, "pool", *({**ROW, "prompt": text} for text in texts))
        pool = {"path": file, "name": "a", "licence": "MIT"}
        with open_lake(tmp_path / "pool") as lake:
            imported = see(lake, bring(lake, pool), *OF_WRITER)
        assert {len(alone), len(imported)} == {len(texts)} and len(texts) >= 2
        with open_lake(tmp_path / "both") as lake:
            if kind == "other seed":
                make(lake, make_recipe(models=models, prompts=sources, seed=2))
            for turn in (pool_first, not pool_first):
                if turn:
                    importer = bring(lake, pool)
                else:
                    make(lake, recipe)
            assert see(lake, recipe) == alone
            assert see(lake, importer, *OF_WRITER) == imported


def test_the_answer_of_a_generated_prompt_is_for_the_recipe_that_generates_it(
    lake: Lake, tmp_path: Path
) -> None:
    maker = make_recipe(prompts={"arithmetic": {"count": 2}})
    synthesise(lake, new_run(), maker)
    made = find_prompts(lake, maker, None)
    assert made["answer"].null_count() == 0 and set(made["source"]) == {"arithmetic"}
    question = made["messages"][0][0]["content"]
    pool = {"path": write_pool(tmp_path, "pool", {**ROW, "prompt": question}), "name": "a"}
    importer = bring(lake, pool)
    imported = find_prompts(lake, importer, None).row(0, named=True)
    assert (imported["source"], imported["answer"], imported["verifier"]) == ("a", None, None)
    both = bring(lake, pool, arithmetic={"count": 2})
    prompts = find_prompts(lake, both, None)
    assert sorted(prompts["source"]) == ["a", "arithmetic"]
    assert prompts.select("answer", "verifier").equals(made.select("answer", "verifier"))
