"""What is known of each question, hidden among the tasks, and who is right on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from annotators.verifiers import ANNOTATOR
from pipelines.label.people.assessing import assess_batches, find_batched, list_annotations
from pipelines.label.people.golds import choose_gold, find_known, name_target, read_truth
from pipelines.label.people.pulling import pull_reviews
from pipelines.label.people.pushing import push_reviews
from pipelines.label.people.queueing import queue_reviews
from pipelines.label.people.releasing import release_batch
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import new_run
from schemas.recipe import ReviewSpec
from tests.pipelines.label.people.people_lake import list_pushed, open_desk
from tests.pipelines.label.people.test_questions import fill

HALF = ReviewSpec(overlap=2, gold_rate=0.5, min_alpha=-1)
NONE = ReviewSpec(overlap=1, min_alpha=-1)


def record(lake: Lake, *rows: dict[str, Any]) -> None:
    base = {"annotator": "import:pool/expert", "kind": "human", "valid": True, "tie": False,
            "sample_index": 0, "gold": True}  # fmt: skip
    known = len(lake.query("FROM judgments"))
    made = [{**base, "judgment_id": f"r{known + at}", **row} for at, row in enumerate(rows)]
    done = lake.append({"judgments": made}, run=new_run(), stage="test")
    assert not done.quarantined


def say(prompt_id: str, a: str, b: str | None = None, **more: Any) -> dict[str, Any]:
    return {"prompt_id": prompt_id, "response_a": a, "response_b": b, **more}


def list_standing(lake: Lake, batch: str) -> dict[str, tuple[int, float | None]]:
    rows = lake.query("FROM standings WHERE batch_id = ? ORDER BY created_at", [batch]).to_dicts()
    return {row["person"]: (row["gold_n"], row["gold_accuracy"]) for row in rows}


def push(lake: Lake, desk: Any, view: Any, question: str, spec: ReviewSpec) -> str:
    """Queue and push a batch; returns its id."""
    before = set(lake.query("FROM batches")["batch_id"])
    queue_reviews(lake, new_run(), view, question)
    push_reviews(lake, new_run(), desk, spec, question=question)
    (batch,) = set(lake.query("FROM batches")["batch_id"]) - before
    return str(batch)


def settle(lake: Lake, desk: Any, spec: ReviewSpec) -> None:
    pull_reviews(lake, new_run(), desk)
    assess_batches(lake, new_run(), spec)


def test_correctness_is_known_from_verifiers_and_gold_that_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        known = fill(lake, 4, 2)
        sides = known.labels.select("prompt_id", "response_a", "response_b").rows()
        (p0, a0, b0), (p1, a1, b1), (p2, a2, b2), (p3, a3, _) = sides
        old = {"annotator": "verifier:maths@1", "kind": "verifier", "gold": None}
        verifier = {**old, "annotator": ANNOTATOR.format("maths"), "criterion": "correctness"}
        record(
            lake,
            say(p0, a0, score=1.0, **verifier), say(p0, b0, score=0.0, **verifier),
            say(p1, a1, score=1.0, **verifier), say(p1, a1, score=0.0, criterion="correct"),
            say(p1, b1, score=0.4, **verifier),
            say(p2, a2, score=1.0, criterion="correct"), say(p2, b2, score=1.0, **old),
            say(p3, a3, score=1.0, criterion="tone"),
        )  # fmt: skip
        found = {row["response_a"]: row["truth"] for row in find_known(lake, "correctness")}
        assert found == {a0: "a", b0: "b", a2: "a"}, (
            "not what is denied, unsure or of an old scorer"
        )

        view = fill(lake, 8, 2)  # of which four are the prompts above
        view.labels = view.labels.join(known.labels, on="pair_id", how="anti")
        batch = push(lake, desk, view, "correctness", HALF)
        shown = list_pushed(lake, "gold")
        assert {row["response_a"] for row in shown} == set(found)
        assert all(row["left"] is None and row["response_b"] is None for row in shown)
        for row in list_pushed(lake):
            right = found.get(row["response_a"], "a") == "a"
            desk.submit(row["review_id"], "ada", correct=right)
            desk.submit(row["review_id"], "mal", correct=not right)
        settle(lake, desk, HALF)
        assert list_standing(lake, batch) == {"person-ada": (3, 1.0), "person-mal": (3, 0.0)}


def test_a_ranking_is_held_against_each_pair_that_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        known = fill(lake, 1, 4)
        prompt_id = known.labels["prompt_id"][0]
        w, x, y, z = sorted({*known.labels["response_a"], *known.labels["response_b"]})
        record(
            lake, say(prompt_id, w, x, p_a=1.0), say(prompt_id, x, y, p_a=1.0),
            say(prompt_id, y, z, p_a=0.7), say(prompt_id, w, z, p_a=0.0),
        )  # fmt: skip
        (group,) = find_known(lake, "ranking")
        assert group["responses"] == [w, x, y, z]
        assert group["truth"] == {f"{w}|{x}": "a", f"{x}|{y}": "a", f"{w}|{z}": "b"}
        assert read_truth(json.dumps(group["truth"]), f"{y}|{z}", "ranking") is None
        assert choose_gold(lake, "ranking", 3, avoid={name_target(group)}, seed="s") == []

        view = fill(lake, 2, 4)
        view.labels = view.labels.join(known.labels, on="pair_id", how="anti")
        batch = push(lake, desk, view, "ranking", HALF)
        (gold,) = list_pushed(lake, "gold")
        assert sorted(gold["responses"]) == [w, x, y, z]
        place = {response: at for at, response in enumerate(gold["responses"])}
        order = [place[response] for response in (z, w, x, y)]  # as gold has it
        desk.submit(gold["review_id"], "ada", order=order)
        desk.submit(gold["review_id"], "bob", order=[place[r] for r in (w, x, y, z)])
        settle(lake, desk, HALF)
        standing = list_standing(lake, batch)
        assert standing == {
            "person-ada": (3, 1.0), "person-bob": (3, pytest.approx(2 / 3)),
        }  # fmt: skip


@pytest.mark.parametrize("question", ["first_wrong_step", "spans"])
def test_what_an_earlier_batch_released_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    mark = {"label": "fact", "text": ""}
    answers = {
        "first_wrong_step": ({"index": 2}, {"index": 2}, {"index": 1}),
        "spans": (
            {"spans": [{**mark, "start": 0, "end": 6}]},
            {"spans": [{**mark, "start": 1, "end": 6, "label": "style"}]},
            {"spans": [{**mark, "start": 6, "end": 9}]},
        ),
    }[question]
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        first = fill(lake, 2, 2)
        assert find_known(lake, question) == []
        earlier = push(lake, desk, first, question, NONE)
        for review in list_pushed(lake):
            desk.submit(review["review_id"], "cy", **answers[0])
        settle(lake, desk, NONE)
        release_batch(lake, new_run(), earlier, "Mira", NONE)
        known = find_known(lake, question)
        assert len(known) == 4 and all(row["from_people"] for row in known)
        assert {json.dumps(row["truth"]) for row in known} == {
            {"first_wrong_step": '"2"', "spans": "[[0, 6]]"}[question]
        }

        view = fill(lake, 4, 2)
        view.labels = view.labels.join(first.labels, on="pair_id", how="anti")
        batch = push(lake, desk, view, question, HALF)
        shown = [row for row in list_pushed(lake, "gold") if row["batch_id"] == batch]
        assert len(shown) == 4
        for review in shown:
            desk.submit(review["review_id"], "ada", **answers[1])
            desk.submit(review["review_id"], "mal", **answers[2])
        settle(lake, desk, HALF)
        assert list_standing(lake, batch) == {"person-ada": (4, 1.0), "person-mal": (4, 0.0)}


def test_errors_in_different_places_are_no_agreement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = ReviewSpec(overlap=2, min_alpha=-1)
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        batch = push(lake, desk, fill(lake, 2, 2), "spans", two)
        apart, alike, clean, _ = list_pushed(lake)
        marks = {apart["review_id"]: ([[0, 3]], [[6, 9]]), clean["review_id"]: ([], []),
                 alike["review_id"]: ([[0, 4]], [[0, 2], [2, 5]])}  # fmt: skip
        for review_id, each in marks.items():
            for person, spans in zip(("ada", "bob"), each, strict=True):
                said = [{"start": s, "end": e, "label": "fact", "text": ""} for s, e in spans]
                desk.submit(review_id, person, spans=said)
        pull_reviews(lake, new_run(), desk)
        assert assess_batches(lake, new_run(), two)["adjudications"] == 1
        release_batch(lake, new_run(), batch, "Mira", two)
        gold = lake.query("FROM judgments WHERE gold").to_dicts()
        said = {row["response_a"]: (row["score"], json.loads(row["detail"])["spans"])
                for row in gold}  # fmt: skip
        assert said == {alike["response_a"]: (1.0, [[0, 4]]), clean["response_a"]: (0.0, [])}
        labels = list_annotations(find_batched(lake))["label"].to_list()
        assert sorted(labels) == ["errors"] * 4 + ["none"] * 2
