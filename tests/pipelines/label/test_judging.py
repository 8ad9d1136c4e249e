"""Judging as a stage: each answer becomes a judgment; one in a wrong format spoils no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.label.judges import load_judges
from pipelines.label.judging import judge_pairs
from pipelines.label.labelling import apply_policy
from pipelines.label.pairs import PAIR_SCHEMA
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import StageSummary, new_run
from schemas.ids import make_pair_id, make_prompt_id, make_response_id
from schemas.opinions import JudgeSpec
from schemas.recipe import Recipe
from tests.conftest import make_recipe
from tests.stub_server import run_stub

PAIRS = 1_000


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    with open_lake(tmp_path / "lake") as opened:
        yield opened


def make_work(n: int) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Prompts, pairs and rollouts, as the stage takes them."""
    prompts, pairs, rollouts = [], [], []
    for i in range(n):
        messages = [{"role": "user", "content": f"Which is better, {i}?"}]
        prompt_id = make_prompt_id(messages)
        contents = (f"Answer {i} of one kind.", f"Answer {i} of another.")
        responses = {make_response_id(prompt_id, text): text for text in contents}
        a, b = sorted(responses)
        prompts.append({"prompt_id": prompt_id, "messages": messages})
        pairs.append((make_pair_id(prompt_id, a, b), prompt_id, a, b, "all"))
        rollouts += [{"response_id": key, "content": text} for key, text in responses.items()]
    frame = pl.DataFrame(pairs, schema=PAIR_SCHEMA, orient="row")
    return pl.DataFrame(prompts), frame, pl.DataFrame(rollouts)


def make_judge_recipe(url: str, *names: str) -> Recipe:
    judges = [{"name": name, "model": "m"} for name in names or ("pairwise",)]
    return make_recipe(
        models={"m": {"model": "stub", "url": url, "concurrency": 64}}, judges=judges
    )


def judge(lake: Lake, recipe: Recipe, work: tuple[Any, ...], **run: Any) -> StageSummary:
    return judge_pairs(lake, new_run(**run), recipe, None, *work)


def test_one_answer_in_a_wrong_format_is_one_invalid_judgment_of_2000(lake: Lake) -> None:
    work = make_work(PAIRS)
    with run_stub(wrong_format_contains="[Answer A]\\nAnswer 777 of one kind.") as stub:
        recipe = make_judge_recipe(stub.url)
        summary = judge(lake, recipe, work)
        # the answer is sent back once; it comes back no better
        assert (summary.rows_in, summary.kept, summary.dropped) == (2001, 2001, {})
        assert (summary.extra["calls"], summary.extra["invalid"]) == (2001, 1)
        valid = lake.query("SELECT count(*) AS n FROM judgments WHERE valid AND p_a IS NOT NULL")
        assert valid["n"][0] == 1999
        bad = lake.query("SELECT p_a, raw, reason, prompt_id FROM judgments WHERE NOT valid")
        prompt_id = make_prompt_id([{"role": "user", "content": "Which is better, 777?"}])
        assert bad.rows() == [(None, "neither, sorry", "none of A, B: 'neither, sorry'", prompt_id)]
        # what was answered is paid for: an invalid answer is not asked for again, ever
        asked = stub.stats()["requests"]
        assert asked == 2001
        assert judge(lake, recipe, work).extra["calls"] == 0
        assert judge(lake, recipe, work, retry_failed=True).extra["calls"] == 0
        assert stub.stats()["requests"] == asked


def test_a_call_that_fails_is_a_failure_and_an_invalid_judgment_until_it_is_retried(
    lake: Lake,
) -> None:
    work = make_work(50)
    with run_stub(fail_contains="[Answer A]\\nAnswer 7 of one kind.", status=500) as stub:
        summary = judge(lake, make_judge_recipe(stub.url), work)
        assert (summary.rows_in, summary.kept) == (100, 99)
        assert (summary.dropped, summary.extra["invalid"]) == ({"call_failed": 1}, 1)
        again = judge(lake, make_judge_recipe(stub.url), work)
        assert (again.extra["calls"], again.extra["invalid"]) == (0, 1)
    valid = "SELECT valid, count(*) FROM judgments GROUP BY valid ORDER BY valid"
    assert lake.query(valid).rows() == [(False, 1), (True, 99)]
    with run_stub() as healthy:
        healed = judge(lake, make_judge_recipe(healthy.url), work, retry_failed=True)
        assert (healed.extra["calls"], healed.extra["invalid"]) == (1, 0)
    assert lake.query(valid).rows() == [(False, 1), (True, 100)]


def test_reasons_and_verdicts_resume_from_the_answers_in_the_lake(lake: Lake) -> None:
    """Two rounds of calls, cut into chunks as the flow does, and nothing asked twice."""
    work = make_work(30)
    with run_stub() as stub:
        spec = {"model": "m", "mode": "reason", "max_tokens": 32}
        recipe = make_judge_recipe(stub.url).model_copy(
            update={"judges": [JudgeSpec.model_validate(spec)]}
        )
        parts, limit = [], 25
        while not parts or parts[-1].extra["remaining"]:
            assert len(parts) < 10
            parts.append(judge_pairs(lake, new_run(), recipe, None, *work, limit))
        assert sum(part.extra["calls"] for part in parts) == 120
        stats = stub.stats()
        assert (stats["requests"], stats["repeated"]) == (120, 0)
    rows = lake.query("SELECT critique, valid FROM judgments")
    assert len(rows) == 60 and rows["valid"].all()
    assert rows["critique"].str.starts_with("An answer of").all()


def test_pairs_that_a_verifier_decides_are_not_judged(lake: Lake) -> None:
    prompts, pairs, rollouts = make_work(4)
    pairs = pairs.with_columns(basis=pl.Series(["verifier", "all", "import", "verifier"]))
    with run_stub() as stub:
        summary = judge(lake, make_judge_recipe(stub.url), (prompts, pairs, rollouts))
        assert summary.extra["calls"] == stub.stats()["requests"] == 4
    who = lake.query("SELECT annotator, specification FROM annotators")
    assert (
        who["annotator"].to_list()
        == lake.query("SELECT DISTINCT annotator FROM judgments")["annotator"].to_list()
    )
    assert "{{ first }}" in json.loads(who["specification"][0])["template"]
    judged = set(lake.query("SELECT prompt_id FROM judgments")["prompt_id"])
    assert judged == set(pairs.filter(pl.col("basis") != "verifier")["prompt_id"])


def test_what_a_recipe_calls_its_judge_does_not_matter(lake: Lake) -> None:
    """Two names for one model and template are one judge: asked once, and heard by both."""
    work = make_work(20)
    with run_stub() as stub:
        first, renamed = (make_judge_recipe(stub.url, name) for name in ("pairwise", "strict"))
        twice = make_judge_recipe(stub.url, "pairwise", "again")
        assert judge(lake, first, work).extra["calls"] == 40
        assert judge(lake, renamed, work).extra["calls"] == 0
        summary = judge(lake, twice, work)
        assert (summary.rows_in, summary.extra["calls"]) == (40, 0)
        labels = [
            apply_policy(lake, recipe, load_judges(recipe, None), work[1])
            for recipe in (first, renamed, twice)
        ]
    assert "no_opinion" not in labels[0]["reason"].to_list()
    assert labels[0].equals(labels[1]) and labels[0].equals(labels[2])
