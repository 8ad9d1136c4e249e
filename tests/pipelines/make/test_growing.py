"""Open prompts: the seeds and the taxonomy that ship, and what may come of a model's answer."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipelines.make.growing import (
    LONGEST,
    SHORTEST,
    Seed,
    SeedsBroken,
    clean_prompt,
    make_growing_calls,
    make_seed_rows,
    read_seeds,
    read_taxonomy,
)
from schemas.recipe import Recipe
from schemas.sourcing import OpenSource
from tests.conftest import make_recipe

GOOD = "How do bees find their way home?"


@pytest.mark.parametrize(
    ("raw", "finish_reason", "text", "reason"),
    [
        (GOOD, "stop", GOOD, None),
        (f'\n 4. "{GOOD}" \n', "stop", GOOD, None),
        (f"- {GOOD}\nBy the sun.", "length", GOOD, None),  # what was cut off is not the prompt
        (" \n\n", "stop", None, "empty"),
        (GOOD, "length", None, "truncated"),
        ("Why?", "stop", None, "too_short"),
        ("4.", "stop", None, "too_short"),
        ("x" * SHORTEST, "stop", "x" * SHORTEST, None),
        ("x" * LONGEST, "stop", "x" * LONGEST, None),
        ("x" * (LONGEST + 1), "stop", None, "too_long"),
        ("1) Why is the sea salty?", "stop", None, "copies_an_example"),
    ],
)
def test_what_becomes_of_an_answer(
    raw: str, finish_reason: str, text: str | None, reason: str | None
) -> None:
    assert clean_prompt(raw, finish_reason, ["Why is the sea salty?"]) == (text, reason)


def test_the_taxonomy_and_seeds_that_ship_cover_each_other() -> None:
    taxonomy = read_taxonomy()
    seeds = read_seeds(OpenSource(), None)
    assert len(taxonomy) >= 8 and all(taxonomy.values())
    assert len(seeds) >= 60
    counts = Counter(seed.category for seed in seeds)
    assert set(counts) == set(taxonomy)
    assert min(counts.values()) >= 3  # as many as one growing prompt shows
    assert len({seed.prompt for seed in seeds}) == len(seeds)
    assert all(SHORTEST <= len(seed.prompt) <= LONGEST for seed in seeds)
    rows = make_seed_rows(seeds)
    assert len({row["prompt_id"] for row in rows}) == len(seeds)
    assert {(row["source"], row["origin_id"]) for row in rows} == {("seed", None)}


def write_seeds(folder: Path, *lines: str) -> OpenSource:
    (folder / "mine.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return OpenSource(seeds="mine.jsonl", categories=["advice"])


def line(prompt: Any = GOOD, category: str = "advice") -> str:
    return json.dumps({"category": category, "prompt": prompt}, ensure_ascii=False)


@pytest.mark.parametrize(
    "broken",
    ["{not json", "[1, 2]", "null", '{"category": "advice"}', line(5), line(" "),
     '{"category": "advice", "prompt": "Which way is home?", "paraphrase_of": ["x"]}'],
)  # fmt: skip
def test_a_broken_seed_is_named_by_file_and_line(tmp_path: Path, broken: str) -> None:
    spec = write_seeds(tmp_path, line(), "", broken)
    with pytest.raises(SeedsBroken, match=r"mine\.jsonl: line 3 is not"):
        read_seeds(spec, tmp_path)


def test_a_paraphrase_names_a_prompt_of_its_file_and_is_no_example(tmp_path: Path) -> None:
    other = {"category": "advice", "prompt": "Which way do bees take home?"}
    spec = write_seeds(tmp_path, json.dumps({**other, "paraphrase_of": GOOD}), line())
    seeds = read_seeds(spec, tmp_path)
    paraphrase, original = make_seed_rows(seeds)
    assert (paraphrase["parent_id"], original["parent_id"]) == (original["prompt_id"], None)
    source = {"seeds": "mine.jsonl", "categories": ["advice"]}
    for call in make_growing_calls(make_open_recipe(3, **source), tmp_path):
        assert call.context == ("advice", [GOOD])
    for original_text in ("How do bees find home?", other["prompt"]):
        text = json.dumps({**other, "paraphrase_of": original_text})
        with pytest.raises(SeedsBroken, match=r"mine\.jsonl: line 2: paraphrase_of is '"):
            read_seeds(write_seeds(tmp_path, line(), text), tmp_path)


def test_a_line_ends_where_json_lines_end(tmp_path: Path) -> None:
    spec = write_seeds(tmp_path, line("One line\u2028and its rest"), line() + "\r")
    assert read_seeds(spec, tmp_path) == [
        Seed("advice", "One line\u2028and its rest"), Seed("advice", GOOD)]  # fmt: skip


def test_a_category_needs_seeds_and_a_place_in_the_taxonomy(tmp_path: Path) -> None:
    spec = write_seeds(tmp_path, line(), line(category="opinion"))
    assert read_seeds(spec, tmp_path) == [Seed("advice", GOOD)]
    with pytest.raises(SeedsBroken, match=r"mine\.jsonl has no seed of category 'coding'"):
        read_seeds(spec.model_copy(update={"categories": ["coding"]}), tmp_path)
    with pytest.raises(SeedsBroken, match="names 'cooking'; the taxonomy has: explanation, "):
        read_seeds(spec.model_copy(update={"categories": ["cooking"]}), tmp_path)


def make_open_recipe(count: int, seed: int = 0, **source: Any) -> Recipe:
    prompts = {"open": {"model": "m", "count": count, **source}}
    return make_recipe("http://localhost/v1", prompts=prompts, seed=seed)


def test_calls_go_round_the_categories_and_show_only_their_seeds() -> None:
    calls = make_growing_calls(make_open_recipe(2 * len(read_taxonomy())), None)
    seeds = {(seed.category, seed.prompt) for seed in read_seeds(OpenSource(), None)}
    assert set(Counter(call.context[0] for call in calls).values()) == {2}
    for call in calls:
        category, shown = call.context
        assert {(category, prompt) for prompt in shown} < seeds
        content = call.request.messages[0]["content"]
        assert all(prompt in content for prompt in shown)
        assert read_taxonomy()[category] in content
    assert len({call.request.request_id for call in calls}) == len(calls)


def test_growing_further_pays_only_for_what_is_new() -> None:
    def list_ids(recipe: Recipe) -> list[str]:
        return [call.request.request_id for call in make_growing_calls(recipe, None)]

    few = list_ids(make_open_recipe(5))
    assert list_ids(make_open_recipe(12))[:5] == few
    assert not set(list_ids(make_open_recipe(5, seed=1))) & set(few)
    assert make_growing_calls(make_recipe("http://localhost/v1"), None) == []
