"""The other questions go round too: queued, pushed, answered, released."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from flows.commands.people import QUESTIONS as OFFERED
from pipelines.label.people.assessing import assess_batches
from pipelines.label.people.pulling import pull_reviews
from pipelines.label.people.pushing import push_reviews
from pipelines.label.people.queueing import queue_reviews
from pipelines.label.people.releasing import release_batch
from pipelines.label.people.targets import list_targets
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import new_run
from schemas.evidence import QUESTIONS
from schemas.ids import make_pair_id, make_prompt_id, make_response_id
from schemas.recipe import ReviewSpec
from tests.pipelines.label.people.people_lake import list_pushed, open_desk

TWO = ReviewSpec(overlap=2, min_alpha=-1)


def fill(lake: Lake, prompts: int, responses: int) -> Any:
    """A view of prompts with so many responses each, of which every pair is undecided."""
    made, pairs = {"prompts": [], "responses": []}, []
    for number in range(prompts):
        messages = [{"role": "user", "content": f"Question {number}?"}]
        prompt_id = make_prompt_id(messages)
        made["prompts"].append({"prompt_id": prompt_id, "messages": messages, "source": "test",
                                "category": "advice", "licence": "mit"})  # fmt: skip
        texts = [f"Answer {n}." for n in range(responses)]
        ids = sorted(make_response_id(prompt_id, text) for text in texts)
        made["responses"] += [
            {"response_id": make_response_id(prompt_id, t), "prompt_id": prompt_id, "content": t}
            for t in texts
        ]
        pairs += [(make_pair_id(prompt_id, a, b), prompt_id, a, b)
                  for place, a in enumerate(ids) for b in ids[place + 1 :]]  # fmt: skip
    lake.append(made, run=new_run(), stage="test")
    labels = pl.DataFrame(
        pairs, schema=["pair_id", "prompt_id", "response_a", "response_b"], orient="row"
    ).with_columns(
        status=pl.lit("to_review"), reason=pl.lit("tie"), entropy=pl.lit(1.0, pl.Float64)
    )
    recipe = SimpleNamespace(review=ReviewSpec(limit=50), loop=None)
    return SimpleNamespace(labels=labels, recipe=recipe)


ANSWERS = {
    "correctness": ({"correct": True}, {"correct": False}),
    "first_wrong_step": ({"index": None}, {"index": 1}),
    "spans": (
        {"spans": []},
        {"spans": [{"start": 0, "end": 2, "label": "fact", "text": "An"}]},
    ),
}


@pytest.mark.parametrize("question", sorted(ANSWERS))
def test_a_question_about_single_responses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    good, bad = ANSWERS[question]
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        view = fill(lake, 3, 2)
        summary = queue_reviews(lake, new_run(), view, question)
        assert summary.extra["queued"] == 6  # each response once
        assert queue_reviews(lake, new_run(), view, question).extra["queued"] == 0
        assert push_reviews(lake, new_run(), desk, TWO).kept == 0  # nothing waits as a preference
        push_reviews(lake, new_run(), desk, TWO, question=question)
        title = f"Assay {question.replace('_', ' ')}"
        assert desk.ask("SELECT title, question FROM projects") == [(title, question)]
        first, second, third, *_ = list_pushed(lake)
        for review, answers in ((first, (good, good)), (second, (bad, bad)), (third, (good, bad))):
            for person, answer in zip(("ada", "bob"), answers, strict=True):
                desk.submit(review["review_id"], person, **answer)
        pull_reviews(lake, new_run(), desk)
        assert assess_batches(lake, new_run(), TWO)["adjudications"] == 1
        batch = lake.query("FROM batches")["batch_id"][0]
        summary = release_batch(lake, new_run(), batch, "Mira", TWO)
        assert (summary.kept, summary.extra["waiting"]) == (2, 4)
        gold = lake.query("FROM judgments WHERE gold AND response_b IS NULL")
        scores = dict(gold.select("response_a", "score").iter_rows())
        said = {
            "correctness": (1.0, 0.0), "first_wrong_step": (-1.0, 1.0), "spans": (0.0, 1.0),
        }[question]  # fmt: skip
        assert (scores[first["response_a"]], scores[second["response_a"]]) == said
        assert len(scores) == 2


def test_a_ranking_of_four_becomes_gold_of_six_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        view = fill(lake, 2, 4)
        assert queue_reviews(lake, new_run(), view, "ranking").extra["queued"] == 2
        push_reviews(lake, new_run(), desk, TWO, question="ranking")
        first, second = list_pushed(lake)
        assert len(first["responses"]) == 4
        for person in ("ada", "bob"):
            desk.submit(first["review_id"], person, order=[2, 0, 1, 3], ranks=[2, 2, 1, 4])
        desk.submit(second["review_id"], "ada", order=[0, 1, 2, 3], ranks=[1, 2, 3, 4])
        desk.submit(second["review_id"], "bob", order=[0, 1, 3, 2], ranks=[1, 2, 4, 3])
        pull_reviews(lake, new_run(), desk)
        assert assess_batches(lake, new_run(), TWO)["adjudications"] == 1
        batch = lake.query("FROM batches")["batch_id"][0]
        summary = release_batch(lake, new_run(), batch, "Mira", TWO)
        assert (summary.kept, summary.extra["waiting"], summary.extra["gold"]) == (1, 1, 6)
        shown = first["responses"]
        gold = {
            frozenset((row["response_a"], row["response_b"])): row
            for row in lake.query("FROM judgments WHERE gold").to_dicts()
        }
        best = [row for pair, row in gold.items() if shown[2] in pair]
        assert len(best) == 3
        assert all(r["p_a"] == float(r["response_a"] == shown[2]) for r in best)
        assert gold[frozenset(shown[:2])]["p_a"] == 0.5


def test_two_or_ten_responses_are_no_ranking() -> None:
    pairs = pl.DataFrame(
        [("p", "x", "a", "b", "tie")],
        schema=["pair_id", "prompt_id", "response_a", "response_b", "reason"],
        orient="row",
    )
    assert list_targets(pairs, "ranking") == []
    many = pl.DataFrame(
        [(f"p{n}", "x", "a", f"b{n}", "tie") for n in range(9)], schema=pairs.schema, orient="row"
    )
    assert list_targets(many, "ranking") == []
    assert len(list_targets(many[:8], "ranking")[0]["responses"]) == 9


def test_the_command_line_offers_every_question() -> None:
    assert OFFERED == QUESTIONS
