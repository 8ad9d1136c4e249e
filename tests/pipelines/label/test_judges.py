"""From a recipe to judges; every method through the lake, resumed, counted, asked once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from annotators.generative import GenerativeJudge
from annotators.ranking.judge import GroupRanker
from annotators.talk import Judge
from annotators.templates import TemplateBroken
from engines.assets import AssetMissing
from pipelines.label.judges import load_judges
from pipelines.label.judging import judge_pairs, make_groups, make_pair_items
from pipelines.lake.catalogue import open_lake
from pipelines.lake.run import new_run
from schemas.ids import make_pair_id
from schemas.opinions import METHODS_OF
from schemas.recipe import Recipe
from tests.conftest import make_recipe
from tests.pipelines.label.test_judging import make_work
from tests.stub_server import run_stub

METHODS: list[dict[str, Any]] = [
    {"method": "pairwise"},
    {"method": "pairwise", "mode": "vote", "k": 2, "temperature": 0.7},
    {"method": "pairwise", "mode": "reason"},
    {"method": "yes_prob"},
    {"method": "generative", "k": 2},
    {"method": "rubric"},
    {"method": "rubric", "adapt": False, "rubric": "rubrics/general.yaml"},
    {"method": "ranking"},
    {"method": "ranking", "fit": "bt"},
    {"method": "policy"},
    {"method": "failures"},
]


def make_judging(url: str, *judges: dict[str, Any]) -> Recipe:
    return make_recipe(url, judges=[{"model": "m", **judge} for judge in judges])


def test_every_method_is_an_annotator_of_its_own() -> None:
    judges = load_judges(make_judging("http://127.0.0.1:9/v1", *METHODS), None)
    assert len({judge.annotator for judge in judges}) == len(METHODS)
    for judge in judges:
        assert judge.specification["method"] in judge.annotator.replace("failures-", "failures")


@pytest.mark.parametrize("method", METHODS, ids=lambda method: "-".join(map(str, method.values())))
def test_a_method_runs_through_the_lake_and_resumes_from_it(
    tmp_path: Path, method: dict[str, Any]
) -> None:
    """The stub answers in prose: what wants JSON stays invalid, and is not asked for again."""
    work = make_work(6)
    with open_lake(tmp_path / "lake") as lake, run_stub() as stub:
        recipe = make_judging(stub.url, method)
        parts, asked = [], 0
        while not parts or parts[-1].extra["remaining"]:
            assert len(parts) < 80
            parts.append(judge_pairs(lake, new_run(), recipe, None, *work, 7))
            asked += parts[-1].extra["calls"]
        stats = stub.stats()
        assert (stats["requests"], stats["repeated"]) == (asked, 0)
        assert asked > 0
        again = judge_pairs(lake, new_run(), recipe, None, *work)
        assert again.extra["calls"] == 0
        rows = lake.query("FROM judgments")
        (annotator,) = [judge.annotator for judge in load_judges(recipe, None)]
        assert set(rows["prompt_id"]) == set(work[1]["prompt_id"])
        assert annotator in set(rows["annotator"])
        assert rows.filter(~pl.col("valid"))["reason"].is_not_null().all()
        assert lake.query("SELECT count(*) AS n FROM quarantine")["n"][0] == 0
        answers = lake.query("SELECT sum(tokens_in) AS t, count(*) AS n FROM answers")
        assert answers["n"][0] == asked
        # every call's tokens stand in exactly one row
        assert rows["tokens_in"].sum() == answers["t"][0]


def test_a_ranking_is_written_down_with_the_judge_that_compares_for_it(tmp_path: Path) -> None:
    with open_lake(tmp_path / "lake") as lake, run_stub() as stub:
        recipe = make_judging(stub.url, {"method": "ranking", "fit": "bt"})
        judge_pairs(lake, new_run(), recipe, None, *make_work(2))
        (ranker,) = load_judges(recipe, None)
        assert isinstance(ranker, GroupRanker) and ranker.fit == "bt"
        known = lake.query("SELECT annotator, specification FROM annotators")
        told = {name: json.loads(text) for name, text in known.iter_rows()}
        assert told == {
            judge.annotator: json.loads(json.dumps(judge.specification))
            for judge in (ranker, ranker.judge)
        }
        assert set(lake.query("FROM judgments")["annotator"]) == told.keys()


def test_a_missing_file_is_named() -> None:
    recipe = make_judging("http://127.0.0.1:9/v1", {"method": "rubric", "rubric": "rubrics/x.yaml"})
    with pytest.raises(AssetMissing, match=r"rubrics/x\.yaml"):
        load_judges(recipe, None)


def load_one(judge: dict[str, Any], base: Path | None = None) -> Judge:
    (found,) = load_judges(make_judging("http://127.0.0.1:9/v1", judge), base)
    return found


OTHERS: dict[str, dict[str, Any]] = {
    "template": {"template": "other.jinja"},
    "mode": {"mode": "reason"},
    "orders": {"orders": "ab"},
    "k": {"k": 2, "temperature": 0.7},
    "temperature": {"temperature": 0.7},
    "max_tokens": {"max_tokens": 99},
    "criteria": {"criteria": "Be brief."},
    "meta": {"meta": True},
    "rubric": {"rubric": "rubrics/coding.yaml"},
    "adapt": {"adapt": False},
    "policy": {"policy": "mine.yaml"},
    "taxonomy": {"taxonomy": "mine.yaml"},
    "topology": {"topology": "swiss"},
    "budget": {"budget": 9},
    "fit": {"fit": "bt"},
    "examples": {"examples": 3},
    "example_tokens": {"examples": 3, "example_tokens": 99},
}


@pytest.mark.parametrize(
    ("key", "method"), [(key, method) for key, methods in METHODS_OF.items() for method in methods]
)
def test_no_setting_that_a_method_takes_is_ignored(key: str, method: str, tmp_path: Path) -> None:
    """Each makes another annotator."""
    shown = ("prompt", "first", "second", "candidate", "opponent", "responses")
    known = {"yes_prob": shown[:1] + shown[3:5], "generative": shown[:1] + shown[5:]}
    shows = " ".join(f"{{{{ {name} }}}}" for name in known.get(method, shown[:3]))
    (tmp_path / "other.jinja").write_text(shows)
    policy = "name: mine\nversion: 1\ntext: Be kind.\n"
    taxonomy = (
        "name: mine\nversion: 1\nclasses:\n"
        "  - {name: c, definition: d, failures: [{name: f, definition: d, questions: [q]}]}\n"
    )
    (tmp_path / "mine.yaml").write_text(policy if key == "policy" else taxonomy)
    plain: dict[str, Any] = {"method": method}
    if key == "max_tokens" and method in METHODS_OF["mode"]:
        plain["mode"] = "reason"
    if key == "k":
        plain["temperature"] = 0.7
    if key == "example_tokens":
        plain["examples"] = 3
    judges = [load_one(one, tmp_path) for one in (plain, plain | OTHERS[key])]
    assert judges[0].annotator != judges[1].annotator


def test_a_greedy_generative_judge_asks_once_an_order() -> None:
    for orders, k in (("both", 2), ("ab", 1)):
        judge = load_one({"method": "generative", "temperature": 0, "orders": orders})
        assert isinstance(judge, GenerativeJudge) and judge.k == k


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("generative", "{{ prompt }}", r"never shows \{\{ responses \}\}"),
        ("generative", "{{ prompt }} {{ responses }} {{ scoers }}", "scoers"),
        (
            "generative_meta",
            "{{ prompt }} {{ responses }} {{ critique }}",
            r"never shows .* scores",
        ),
        (
            "generative_meta",
            "{{ prompt }} {{ responses }} {{ critique }} {{ scores }} {{ scoers }}",
            "nobody gives .* scoers",
        ),
    ],
)
def test_a_generative_template_is_checked_before_anything_is_paid_for(
    name: str, text: str, why: str, tmp_path: Path
) -> None:
    file = tmp_path / "judges" / f"{name}.jinja"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(TemplateBroken, match=why) as caught:
        load_one({"method": "generative", "meta": True}, tmp_path)
    assert str(file) in str(caught.value)


def test_a_rubric_that_is_named_holds_for_prompts_of_other_categories(tmp_path: Path) -> None:
    """The stub's prose is no score; what matters is that the judge asks, and does not raise."""
    prompts, pairs, rollouts = make_work(2)
    work = (prompts.with_columns(category=pl.lit("advice")), pairs, rollouts)
    with open_lake(tmp_path / "lake") as lake, run_stub() as stub:
        judge = {"method": "rubric", "adapt": False, "rubric": "rubrics/coding.yaml"}
        summary = judge_pairs(lake, new_run(), make_judging(stub.url, judge), None, *work)
        assert summary.extra["calls"] == 8
        assert not lake.query("FROM judgments")["reason"].str.contains("raised").any()


def test_the_responses_of_a_prompt_are_one_group() -> None:
    prompts, pairs, rollouts = make_work(2)
    (prompt_id, a, b) = pairs.select("prompt_id", "response_a", "response_b").row(0)
    more = pairs.head(1).with_columns(
        response_a=pl.lit("0"), pair_id=pl.lit(make_pair_id(prompt_id, "0", b))
    )
    texts = pl.concat([rollouts, pl.DataFrame({"response_id": ["0"], "content": ["a third"]})])
    items = make_pair_items(prompts, pl.concat([pairs, more.select(pairs.columns)]), texts)
    groups = {group.prompt_id: group for group in make_groups(items)}
    assert len(items) == 3 and len(groups) == 2
    assert groups[prompt_id].response_ids == tuple(sorted(("0", a, b)))
    assert groups[prompt_id].contents[0] == "a third"
