"""The implicit reward through the lake: answers are kept with their tokens and paid for once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from annotators.signals.implicit_reward import make_logprob_requests
from engines.models import resolve_model
from pipelines.label.implicit import score_implicit
from pipelines.label.talking import find_answers
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import StageSummary, new_run
from schemas.recipe import Recipe
from tests.conftest import make_recipe
from tests.pipelines.label.test_signalling import IMPLICIT, make_prompts, make_rollouts
from tests.stub_server import run_stub

PROMPTS = make_prompts(p="How should I spend the evening?", q="Why?")
ROLLOUTS = make_rollouts(
    PROMPTS,
    ("p", "m@1", "A short walk and then a book."),
    ("p", "m@1", "B comes before C."),
    ("q", "m@1", "A reason is not known."),
)
WORDS = {"A short walk and then a book.": 7, "B comes before C.": 4, "A reason is not known.": 5}
DISTINCT = 2 * (3 + 2 + 3)  # of either model: wholes, openings, and letters (two of p)


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with open_lake(tmp_path / "lake") as opened:
        yield opened


def make_implicit_recipe(url: str, **changes: Any) -> Recipe:
    models = {name: {"model": name, "url": url, "max_tries": 1} for name in ("m", "t", "r")}
    return make_recipe(models=models, signals=[{**IMPLICIT, **changes}])


def score(
    lake: Lake, recipe: Recipe, limit: int | None = None, retry_failed: bool = False
) -> StageSummary:
    run = new_run(recipe, retry_failed=retry_failed)
    responses = ROLLOUTS.select("prompt_id", "response_id", "content")
    return score_implicit(lake, run, recipe, recipe.signals[0], PROMPTS, responses, limit)


def read(lake: Lake, where: str = "true") -> pl.DataFrame:
    return lake.query(
        f"SELECT * FROM judgments JOIN texts ON response_a = response_id WHERE {where} "
        "ORDER BY content",
        texts=ROLLOUTS.select("response_id", "content"),
    )


def test_rewards_of_the_responses_own_tokens(lake: Lake) -> None:
    with run_stub() as stub:
        recipe = make_implicit_recipe(stub.url)
        summary = score(lake, recipe)
        assert (summary.rows_in, summary.kept, summary.dropped) == (3, 3, {})
        assert summary.extra["calls"] == stub.stats()["requests"] == DISTINCT
        assert (summary.extra["made"], summary.extra["invalid"]) == (3, 0)
        rows = read(lake)
        for row in rows.iter_rows(named=True):
            detail = json.loads(row["detail"])
            assert len(detail["per_token"]) == WORDS[row["content"]]
            assert row["score"] == pytest.approx(sum(detail["per_token"]), abs=1e-4)
            assert row["score"] != 0 and row["kind"] == "reward_model" and row["criterion"] is None
        # the openings of a prompt are counted with one of its responses alone
        spent = lake.query("SELECT sum(tokens_in) AS n FROM answers")["n"][0]
        assert 0 < rows["tokens_in"].sum() <= spent
        snapshot = lake.snapshot()
        again = score(lake, recipe)
        assert (again.rows_in, again.extra["calls"], again.extra["made"]) == (3, 0, 0)
        assert lake.snapshot() == snapshot
        # another lambda is another annotator, read from the answers that are there
        wider = score(lake, make_implicit_recipe(stub.url, scale=2.0))
        assert (wider.extra["calls"], wider.extra["made"]) == (0, 3)
        assert stub.stats()["requests"] == DISTINCT
    assert read(lake)["annotator"].n_unique() == 2
    by_content = read(lake).group_by("content").agg(pl.col("score").abs().sort())
    for low, high in by_content["score"]:
        assert high == pytest.approx(2 * low)


def test_the_lake_gives_back_what_the_server_said(lake: Lake) -> None:
    with run_stub() as stub:
        recipe = make_implicit_recipe(stub.url)
        score(lake, recipe)
    row = PROMPTS.row(0, named=True)
    teacher = resolve_model(recipe.models["t"])
    trio = make_logprob_requests(teacher, row["messages"], "B comes before C.")
    answers = find_answers(lake, [one.request_id for one in trio])
    whole = answers[trio[0].request_id].prompt_logprobs
    assert whole is not None and whole[0] is None
    assert all(isinstance(token[0], int) and token[1] < 0 for token in whole[1:])
    before = ["<user>", *PROMPTS["messages"][0][0]["content"].split(), "<end>", "<assistant>"]
    assert len(whole) == len(before) + WORDS["B comes before C."]


def test_a_limit_leaves_the_rest_for_later(lake: Lake) -> None:
    with run_stub() as stub:
        recipe = make_implicit_recipe(stub.url)
        parts = [score(lake, recipe, limit=6) for _ in range(3)]
        assert [part.extra["calls"] for part in parts] == [6, 6, DISTINCT - 12]
        assert [part.extra["remaining"] > 0 for part in parts] == [True, True, False]
        assert (parts[0].rows_in, parts[2].rows_in) == (0, 3)
        assert stub.stats()["requests"] == DISTINCT
    assert read(lake)["valid"].to_list() == [True] * 3


def test_a_call_that_fails_leaves_the_response_unscored_until_it_is_retried(lake: Lake) -> None:
    with run_stub(fail_contains="A reason is not known.", status=400) as stub:
        summary = score(lake, make_implicit_recipe(stub.url))
        assert (summary.kept, summary.extra["invalid"]) == (3, 1)
        assert summary.extra["failures"] == {"http_400": 2}
        assert score(lake, make_implicit_recipe(stub.url)).extra["calls"] == 0
    bad = read(lake, "NOT valid")
    assert bad.select("content", "score", "reason").rows() == [
        ("A reason is not known.", None, "call failed: http_400")
    ]
    with run_stub() as healthy:
        healed = score(lake, make_implicit_recipe(healthy.url), retry_failed=True)
    assert (healed.extra["calls"], healed.extra["invalid"], healed.extra["made"]) == (2, 0, 1)
    assert read(lake, "valid")["content"].to_list() == sorted(WORDS)


def test_a_lake_without_the_column_gets_it(tmp_path: Path) -> None:
    answer = {"request_id": "r", "annotator": "a", "stage": "judge", "text": "A"}
    with open_lake(tmp_path / "lake") as lake:
        cursor = lake._cursor()
        cursor.execute("ALTER TABLE answers DROP COLUMN prompt_logprobs")
        cursor.execute("UPDATE lake_meta SET value = '4' WHERE key = 'schema_version'")
        cursor.execute("INSERT INTO answers BY NAME SELECT 'r' AS request_id, 'a' AS annotator, "
                       "'judge' AS stage, 'A' AS text, 'x' AS run_id, now()::TIMESTAMP AS "
                       "created_at")  # fmt: skip
    with open_lake(tmp_path / "lake") as lake:
        found = find_answers(lake, ["r"])["r"]
        assert (found.text, found.prompt_logprobs) == (answer["text"], None)
        with run_stub() as stub:
            assert score(lake, make_implicit_recipe(stub.url)).extra["invalid"] == 0
