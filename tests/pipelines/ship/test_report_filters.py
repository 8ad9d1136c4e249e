"""The report of an untidy pool: its funnel, and rows to read of every rule that took some."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.lake.catalogue import Lake, open_lake
from pipelines.ship.report import gather_facts, render_report
from pipelines.ship.report_filters import _take_examples, read_examples, read_quarantined
from pipelines.steps import SETTLING_STEPS, Work, open_work, publish_settled, run_step
from tests.pipelines.ship.untidy import HOSTILE, make_untidy_recipe, write_pool

BESIDE = {"exact_duplicate", "near_duplicate", "repeats_response"}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    folder = tmp_path_factory.mktemp("untidy")
    recipe = make_untidy_recipe(write_pool(folder / "notes.jsonl"))
    with open_work(str(folder / "lake"), recipe, None) as opened:
        stages = [run_step(opened, name) for name in ("import", *SETTLING_STEPS)]
        publish_settled(opened, stages)
        yield opened


@pytest.fixture(scope="module")
def facts(work: Work) -> dict[str, Any]:
    return gather_facts(work.lake, "untidy")


@pytest.fixture
def lake_without_rows(tmp_path: Path) -> Iterator[Lake]:
    with open_lake(tmp_path / "lake") as lake:
        yield lake


def test_every_rule_that_took_rows_has_some_to_read(facts: dict[str, Any]) -> None:
    shown = {rule["rule"]: rule for rule in facts["filters"]}
    taken = {
        line["name"]: line["rows"]
        for lines in facts["funnels"].values()
        for line in lines
        if line["what"] == "dropped"
    }
    assert taken == {
        "exact_duplicate": 1, "near_duplicate": 2, "too_short": 2, "copies_prompt": 1,
        "repeats_response": 1, "over_quota_category": 3,
    }  # fmt: skip
    assert {name: shown[name]["hits"] for name in taken} == taken
    for name in taken:
        assert len(shown[name]["examples"]) == min(3, taken[name])
        for row in shown[name]["examples"]:
            assert row["sides"] and row["reason"]
            assert any("beside" in side for side in row["sides"]) == (name in BESIDE), name
    assert [lines[-1]["rows"] for lines in facts["funnels"].values()] == [9, 18, 6]
    assert facts["quarantined"][0]["reason"] == "empty response"
    assert "What is missing here?" in facts["quarantined"][0]["examples"][0]["row"]
    assert facts["shortfalls"][0]["mend"] == "make about 6 more prompts of the category safety"


def test_duplicates_stand_side_by_side_with_the_differing_words_marked(
    facts: dict[str, Any],
) -> None:
    near = next(rule for rule in facts["filters"] if rule["rule"] == "near_duplicate")
    marked = {
        frozenset(p.text for side in (row["sides"][0]["pieces"], row["sides"][0]["beside"])
                  for p in side if p.differs)
        for row in near["examples"]
    }  # fmt: skip
    assert marked == {frozenset({"winter", "the"}), frozenset({"a", "my"})}
    page = render_report(facts)
    assert "<mark>winter</mark>" in page and "<mark>the</mark>" in page
    assert re.search(r'class="head">dropped</p><p class="head right">stands for it</p>', page)
    assert "make about 6 more prompts of the category safety" in page
    assert "<summary>nearly the same as another (near_duplicate): 2 prompts" in page
    assert ">over the quota of its category<small>over_<wbr>quota_<wbr>category, mix<" in page
    assert "over the quota of its category <b>3</b>" in page


def test_texts_of_examples_are_escaped(facts: dict[str, Any]) -> None:
    page = render_report(facts)
    assert "<script" not in page and "<b>Bold" not in page
    assert "&lt;b&gt;Bold&lt;/b&gt; &amp; &lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_what_identifies_a_person_is_covered_on_both_sides(work: Work) -> None:
    prompt = work.lake.query("SELECT prompt_id FROM prompts WHERE messages[1].content = ?",
                             [HOSTILE])["prompt_id"][0]  # fmt: skip
    rule = {
        "rule": "near_duplicate",
        "examples": [{"item_id": prompt, "prompt_id": prompt, "beside": {"prompt_id": prompt}}],
    }
    side = read_examples(work.lake, [rule], lambda _: "covered")[0]["examples"][0]["sides"][0]
    assert side["pieces"][0].text == side["beside"][0].text == "covered"


def test_versions_of_before_have_examples_without_another_row(work: Work) -> None:
    rule = {"rule": "too_short", "examples": [{"item_id": "x", "prompt_id": "unknown"}]}
    assert read_examples(work.lake, [rule], str)[0]["examples"][0]["sides"] == []


def test_a_contradiction_without_a_winner_is_shown_beside_the_other(work: Work) -> None:
    ids = [{"pair_id": name, "prompt_id": "p", "chosen_id": name, "rejected_id": "r"}
           for name in "ab"]  # fmt: skip
    seen = pl.DataFrame(ids).with_columns(item_id="pair_id", source=pl.lit("s"),
                                          category=pl.lit("c"))  # fmt: skip
    hits = pl.DataFrame({"item_id": ["a", "b"], "reason": ["contradicts b", "contradicts a"],
                         "group_id": ["a", "a"], "representative": [None, None]})  # fmt: skip
    found = _take_examples(seen, hits)
    assert [row["beside"]["chosen_id"] for row in found] == ["b", "a"]
    assert json.loads(json.dumps(found)) == found


def test_the_reasons_of_a_stage_are_read_from_the_quarantine(lake_without_rows: Lake) -> None:
    stages = [{"stage": "import", "quarantined": {"empty response": 2}}]
    assert read_quarantined(lake_without_rows, stages, str) == [
        {"stage": "import", "reason": "empty response", "rows": 2, "examples": []}
    ]
