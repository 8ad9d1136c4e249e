"""`assay sources` on small lakes: a source that is right, one that is wrong, judges and gold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.label.juries import JURIES
from pipelines.label.policies import POLICIES
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.importing import import_pool
from pipelines.lake.run import new_run
from pipelines.ship.export import make_rows
from pipelines.ship.publish import Published, find_version
from pipelines.ship.report import gather_facts, render_report
from pipelines.ship.sources import silenced, taking, worth
from pipelines.ship.sources.facts import find_said
from pipelines.ship.sources.silenced import value_voices
from pipelines.ship.sources.taking import SOURCES, take_sources
from pipelines.ship.sources.telling import render_sources
from pipelines.ship.sources.worth import note_source
from pipelines.steps import open_work, publish_settled, settle
from pipelines.view import View
from schemas.recipe import Recipe, parse_recipe
from tests.conftest import run_here
from tests.pipelines.label.loop.planted_pool import plant_pool, use_numbers, write_pool

POOLS = {"right": (170, 0.05, 110), "wrong": (70, 0.95, 12)}
"""Of each pool its pairs, the share of its labels that is wrong, and how many have gold."""


def publish(lake: Path, recipe: Recipe) -> Published:
    with open_work(str(lake), recipe, None) as work:
        for source in recipe.prompts.imports:
            import_pool(work.lake, work.run, source)
        return publish_settled(work, settle(work))


def describe(folder: Path, name: str, policy: str, *pools: str) -> Recipe:
    imports = [
        {"path": str(folder / f"{pool}.jsonl"), "name": pool, "layout": "judgments"}
        for pool in pools
    ]
    loop = {"loop": {}} if policy == "gold_loop" else {}
    return parse_recipe(
        {"name": name, "prompts": {"imports": imports}, "split": {"test": 0.4}, "train": None,
         "label": {"policy": policy, "threshold": 0.75}, **loop}
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`mixed` labels both pools as they came, `looped` by the gold loop."""
    place = tmp_path_factory.mktemp("sources")
    first = 0
    for at, (pool, (pairs, noise, gold)) in enumerate(POOLS.items()):
        planted = plant_pool(pairs, noise=noise, seed=at)
        categories = ("code", "chat") if pool == "right" else ("code",)
        write_pool(place / f"{pool}.jsonl", planted, gold=gold, first=first, categories=categories)
        first += pairs
    with pytest.MonkeyPatch.context() as patch:
        use_numbers(patch)
        publish(place / "lake", describe(place, "mixed", "imported", "right", "wrong"))
        publish(place / "lake", describe(place, "looped", "gold_loop", "right", "wrong"))
        yield place


@pytest.fixture
def lake(folder: Path) -> Iterator[Lake]:
    with open_lake(folder / "lake") as opened:
        yield opened


def take(found: dict[str, Any], source: str) -> dict[str, Any]:
    return next(row for row in found["sources"] if row["source"] == source)


def test_a_wrong_source_costs_and_a_right_one_pays(folder: Path, lake: Lake) -> None:
    found = take_sources(lake, new_run(), find_version(lake, "mixed"))
    right, wrong = take(found, "right"), take(found, "wrong")
    assert [row["source"] for row in found["sources"]] == ["right", "wrong"]
    assert found["exam"]["needed"] is None and found["exam"]["n"] >= 20
    assert right["worth"]["value_low"] > 0
    assert wrong["worth"]["value"] <= 0 and wrong["worth"]["beyond"] < right["worth"]["beyond"]
    assert wrong["worth"]["notes"] == ["all of it is of code"]
    assert right["label_right"] is None  # gold decided what it speaks on
    assert right["came_right"]["low"] > 0.85 and wrong["came_right"]["high"] < 0.5
    assert right["came_right"]["n"] == 110 and set(right["categories"]) == {"code", "chat"}
    assert set(right["labels"]) == {"gold", "import"}
    assert set(right["annotators"]) == {"human", "import"}
    agree = {judge["annotator"]: judge["agree"] for judge in right["judges"]}
    assert len(agree) == 3 and all(value > 0.65 for value in agree.values())
    against = {judge["annotator"]: judge["agree"] for judge in wrong["judges"]}
    assert all(value < 0.6 for value in against.values())
    again = take_sources(lake, new_run(), find_version(lake, "mixed"))
    assert again == json.loads(json.dumps(found))
    assert len(lake.query("FROM grades WHERE name = 'mixed'")) == 1


def test_labels_of_a_policy_are_made_again_without_each_voice(lake: Lake) -> None:
    """Without a pool's own labels its judges decide, where they are sure."""
    voices = take_sources(lake, new_run(), find_version(lake, "mixed"))["voices"]
    rows = {row["voice"]: row for row in voices["voices"]}
    assert voices["exam"] == voices["held"] >= 20
    assert rows["import:right/crowd"]["value"] > 0 > rows["import:wrong/crowd"]["value"]
    assert rows["import:wrong/crowd"]["value_high"] <= 0
    assert not any("experts" in name for name in rows)


def test_every_policy_can_label_again(folder: Path, lake: Lake) -> None:
    for policy in (*POLICIES, *JURIES):
        view = View(lake, describe(folder, "mixed", policy, *POOLS), None)
        said = find_said(view)
        names = pl.DataFrame({"annotators": [said["annotator"].unique().sort().to_list()]})
        found = value_voices(view, said, names)
        rows = {row["voice"]: row for row in found["voices"]}
        assert found["unknown"] is None and found["exam"] >= 20
        assert "import:right/crowd" in rows and "import:right/experts" not in rows
        for row in rows.values():
            assert -1 <= row["value_low"] <= row["value"] <= row["value_high"] <= 1
            assert row["accuracy"] == pytest.approx(found["accuracy"] - row["value"])
        heard = any(row["value"] for row in rows.values())  # to others a pool's word is nothing
        assert heard == (policy == "imported" or policy in JURIES)


def test_a_source_that_the_exam_has_no_gold_for_is_marked(lake: Lake) -> None:
    rows = make_rows(lake, find_version(lake, "mixed"))
    assert note_source(rows, "wrong", {"code", "chat"}) == ["all of it is of code"]
    assert note_source(rows, "wrong", {"code"}) == []
    assert note_source(rows, "wrong", {"chat"})[0].startswith("the exam has no pair of code")
    assert note_source(rows, "right", {"chat"}) == []


def test_of_a_loop_the_pool_is_read_again(lake: Lake) -> None:
    found = take_sources(lake, new_run(), find_version(lake, "looped"))
    voices = found["voices"]
    kinds = {row["what"] for row in voices["voices"]}
    assert kinds == {"label", "giver", "judge"} and voices["unknown"] is None
    assert voices["held"] > voices["exam"] >= 20 and 0.8 < voices["precision"] <= 1
    assert all(row["value_low"] <= row["value"] <= row["value_high"] for row in voices["voices"])
    right = take(found, "right")["label_right"]
    assert right["right"] > 0.8 and right["low"] < right["right"] < right["high"]
    assert take(found, "wrong")["pairs"] < 50  # it was read to be wrong, and most of it dropped
    text = render_sources(found)
    for words in ("sources of looped@1", "what a source is worth: accuracy", "points",
                  "what a voice is worth: labels made with it", "reading"):  # fmt: skip
        assert words in text


def test_without_enough_exam_gold_it_says_what_is_needed(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (worth, silenced):
        monkeypatch.setattr(module, "LEAST_EXAM", 1000)
    monkeypatch.setattr(taking, "SOURCES_VERSION", 0)
    found = take_sources(lake, new_run(), find_version(lake, "mixed"))
    assert "held-out pairs of" in found["exam"]["needed"] and found["exam"]["score"] is None
    assert found["sources"][0]["worth"] is None and found["sources"][0]["pairs"] > 100
    assert "pairs of the test side have gold" in found["voices"]["unknown"]
    text = render_sources(found)
    assert "unknown; mixed@1 has" in text and "publish again" in text
    page = render_report(gather_facts(lake, "mixed", 1))
    assert "Sources and voices" in page and "publish again" in page


def test_the_command_the_file_and_the_report_say_the_same(folder: Path, lake: Lake) -> None:
    arguments = ("--lake", str(folder / "lake"), "--out", str(folder / "sources.json"))
    done = run_here("sources", "looped@1", *arguments)
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "sources.json").read_text())
    assert render_sources(found) in done.stdout
    facts = gather_facts(lake, "looped", 1)
    page = render_report(facts)
    assert "Sources and voices" in page and "What each source is worth" in page
    assert SOURCES not in [one["set"] for one in facts["exams"]["sets"]]
    missing = run_here("sources", "nothing", "--lake", str(folder / "lake"))
    assert missing.returncode == 1 and "published: " in missing.stderr


def test_a_recipe_file_means_its_newest_version(folder: Path) -> None:
    recipe = describe(folder, "looped", "gold_loop", *POOLS)
    file = folder / "any.yaml"
    file.write_text(json.dumps(recipe.model_dump(mode="json")))
    done = run_here("sources", file, "--lake", str(folder / "lake"), "--json")
    assert json.loads(done.stdout)["version"] == "looped@1"
