"""Right verdicts become right labels, for every form in which a judge gives them: through the lake,
with groups of four."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import polars as pl
import pytest

from pipelines.label.describing import describe_pairs
from pipelines.label.judges import load_judges
from pipelines.label.judging import judge_pairs
from pipelines.label.labelling import apply_policy
from pipelines.label.pairs import PAIR_SCHEMA
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from schemas.ids import make_pair_id, make_prompt_id, make_response_id
from schemas.recipe import Recipe
from tests.conftest import make_recipe
from tests.stub_server import run_stub

PROMPTS = 2
WORTHS = (2, 4, 6, 8)
METHODS: dict[str, dict[str, Any]] = {
    "choice": {"method": "pairwise"},
    "generative": {"method": "generative", "k": 4, "meta": True},
    "rubric, adapted": {"method": "rubric"},
    "rubric, as it stands": {"method": "rubric", "adapt": False},
    "ranking": {"method": "ranking"},
}
TEXTS = ("task_category", "objectivity", "controversiality", "guideline", "difference")
Work = tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]


def make_groups() -> Work:
    """Prompts, all pairs of their four responses, and the responses, each of another worth."""
    prompts, pairs, rollouts = [], [], []
    for number in range(PROMPTS):
        messages = [{"role": "user", "content": f"What is it worth, {number}?"}]
        prompt_id = make_prompt_id(messages)
        prompts.append({"prompt_id": prompt_id, "messages": messages})
        contents = [f"I, number {number}, am worth {worth}." for worth in WORTHS]
        texts = {make_response_id(prompt_id, text): text for text in contents}
        rollouts += [{"response_id": key, "content": text} for key, text in texts.items()]
        pairs += [
            (make_pair_id(prompt_id, a, b), prompt_id, a, b, "all")
            for a, b in combinations(sorted(texts), 2)
        ]
    frame = pl.DataFrame(pairs, schema=PAIR_SCHEMA, orient="row")
    return pl.DataFrame(prompts), frame, pl.DataFrame(rollouts)


def make_judging(url: str, *methods: dict[str, Any], policy: str = "judge_only") -> Recipe:
    judges = [{"model": "m", **method} for method in methods]
    return make_recipe(url, judges=judges, label={"policy": policy}, attributes={"model": "m"})


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lake, str, Work]]:
    """A lake in which each method has judged every pair, by a model that is always right."""
    work = make_groups()
    with (
        open_lake(tmp_path_factory.mktemp("judged") / "lake") as lake,
        run_stub(judges=True) as stub,
    ):
        recipe = make_judging(stub.url, *METHODS.values())
        summary = judge_pairs(lake, new_run(), recipe, None, *work)
        assert (summary.dropped, summary.extra["invalid"], summary.extra["remaining"]) == ({}, 0, 0)
        described = describe_pairs(lake, new_run(), recipe, None, *work)
        assert (described.extra["calls"], described.extra["invalid"]) == (len(work[1]), 0)
        yield lake, stub.url, work


def label(lake: Lake, recipe: Recipe, work: Work) -> pl.DataFrame:
    """The labels of `apply_policy` with the worths of the chosen and the rejected response."""
    worths = work[2].select(
        "response_id", worth=pl.col("content").str.extract(r"worth (\d+)").cast(pl.Int64)
    )
    return (
        apply_policy(lake, recipe, load_judges(recipe, None), work[1])
        .join(worths.rename({"response_id": "chosen_id", "worth": "chosen"}), on="chosen_id",
              how="left")
        .join(worths.rename({"response_id": "rejected_id", "worth": "rejected"}),
              on="rejected_id", how="left")
    )  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_what_a_method_prefers_is_chosen(judged: tuple[Lake, str, Work], name: str) -> None:
    lake, url, work = judged
    recipe = make_judging(url, METHODS[name])
    (judge,) = load_judges(recipe, None)
    rows = lake.query("FROM judgments WHERE annotator = ?", [judge.annotator])
    assert len(rows) and rows["valid"].all()
    labels = label(lake, recipe, work)
    labelled = labels.filter(pl.col("status") == "labelled")
    assert (labelled["chosen"] > labelled["rejected"]).all()
    assert labelled["annotators"].to_list() == [[judge.annotator]] * len(labelled)
    if name != "ranking":
        assert len(labelled) == len(work[1])


def test_a_ranking_orders_its_group_and_speaks_for_the_pairs_it_is_sure_of(
    judged: tuple[Lake, str, Work],
) -> None:
    lake, url, work = judged
    recipe = make_judging(url, METHODS["ranking"])
    (judge,) = load_judges(recipe, None)
    scores = lake.query(
        "SELECT j.prompt_id, r.content, j.score FROM judgments j JOIN texts r "
        "ON r.response_id = j.response_a WHERE annotator = ? AND response_b IS NULL "
        "ORDER BY ALL",
        [judge.annotator],
        texts=work[2],
    )
    assert len(scores) == PROMPTS * len(WORTHS)
    for _, group in scores.group_by("prompt_id"):
        assert group["content"].str.extract(r"worth (\d)").to_list() == [str(w) for w in WORTHS]
        assert group["score"].is_sorted() and group["score"].n_unique() == len(WORTHS)
    labels = label(lake, recipe, work)
    sure = labels.filter(pl.col("status") == "labelled")
    assert sorted(sure.filter(pl.col("chosen") - pl.col("rejected") > 4)["chosen"]) == [8] * PROMPTS
    unsure = labels.filter(pl.col("status") == "to_review")
    assert len(unsure) and set(unsure["reason"]) == {"no_opinion"}


@pytest.mark.parametrize("policy", ["unanimous", "weighted_vote", "dawid_skene"])
def test_a_jury_of_all_methods_is_of_one_mind(judged: tuple[Lake, str, Work], policy: str) -> None:
    lake, url, work = judged
    labels = label(lake, make_judging(url, *METHODS.values(), policy=policy), work)
    assert set(labels["status"]) == {"labelled"}
    assert (labels["chosen"] > labels["rejected"]).all()
    assert labels["annotators"].list.len().min() >= len(METHODS) - 1


def test_the_parts_of_a_judgment_are_kept(judged: tuple[Lake, str, Work]) -> None:
    """Scores of samples and of criteria, critiques, and what sets two responses apart."""
    lake, _, work = judged
    kinds = {
        "generative": "NOT NULL AND criterion IS NULL",
        "rubric": "NOT NULL AND criterion <> ''",
    }
    for method, what in kinds.items():
        parts = lake.query(
            f"SELECT score, critique FROM judgments WHERE starts_with(annotator, '{method}:') "
            f"AND critique IS {what}"
        )
        assert len(parts) >= 2 * len(work[1]) and parts["score"].is_not_null().all()
    described = lake.query("FROM attributes")
    assert set(described["target"]) == set(work[1]["pair_id"])
    assert not described.select(TEXTS).null_count().sum_horizontal().item()
    assert described["desired_attributes"].list.len().min() >= 1
