"""Batches: what is chosen, what the desk sees, and that nothing is lost or sent twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.label.people.pulling import pull_reviews
from pipelines.label.people.pushing import push_reviews
from pipelines.label.people.reviews import find_reviews
from pipelines.lake.run import new_run
from schemas.recipe import ReviewSpec
from tests.pipelines.label.people.people_lake import fill_lake, list_pushed, open_desk


def test_a_batch_holds_what_the_budget_pays_for_with_gold_among_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 200, gold=30)
        spec = ReviewSpec(minutes=60, overlap=2, gold_rate=0.2)
        summary = push_reviews(lake, new_run(), desk, spec)
        (batch,) = lake.query("FROM batches").to_dicts()
        assert summary.extra["batch"] == batch["batch_id"]
        assert 50 < batch["expected_minutes"] <= 60
        assert (batch["overlap"], batch["minutes"], batch["question"]) == (2, 60, "preference")
        pushed = list_pushed(lake)
        assert len(pushed) == batch["reviews"] + batch["gold"] == summary.kept
        assert batch["gold"] == pytest.approx(0.2 * len(pushed), abs=1)
        assert {row["overlap"] for row in pushed} == {2}
        assert desk.ask("SELECT overlap FROM projects") == [(2,)]
        assert summary.extra["waiting"] == 200 - batch["reviews"]
        # neither the data of a task nor its place in the project tells gold from work
        tasks = desk.ask("SELECT review_id, data FROM tasks ORDER BY id")
        roles = [{r["review_id"]: r["role"] for r in pushed}[key] for key, _ in tasks]
        half = len(roles) // 2
        assert 0 < roles[:half].count("gold") < batch["gold"]
        assert len({tuple(sorted(json.loads(data))) for _, data in tasks}) == 1
        for _, data in tasks:
            assert not {"gold", "role", "truth", "worth"} & set(json.loads(data))
            assert "judge" not in data and "import" not in data


def test_a_second_push_sends_what_is_left_and_no_task_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 30)
        spec = ReviewSpec(minutes=5)
        first = push_reviews(lake, new_run(), desk, spec)
        assert 0 < first.kept < 30
        rest = push_reviews(lake, new_run(), desk, ReviewSpec())
        assert first.kept + rest.kept == 30
        assert push_reviews(lake, new_run(), desk, spec).rows_in == 0
        assert len(lake.query("FROM batches")) == 2
        assert desk.ask("SELECT count(*), count(DISTINCT review_id) FROM tasks") == [(30, 30)]


def test_a_push_of_the_same_minutes_tops_up_what_was_answered_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 60, gold=5)
        spec = ReviewSpec(minutes=20, overlap=2, gold_rate=0.2)  # fewer known pairs than wanted
        first = push_reviews(lake, new_run(), desk, spec)
        told: list[str] = []
        again = push_reviews(lake, new_run(tell=told.append), desk, spec)
        assert (again.rows_in, again.extra["waiting"]) == (0, first.extra["waiting"])
        assert "still waits at the desk" in told[0] and "give more minutes" in told[0]
        for review in list_pushed(lake, "work")[:2]:
            for person in ("ada", "bob"):
                desk.submit(review["review_id"], person, 60.0, choice="left", strength=1)
        assert push_reviews(lake, new_run(), desk, spec).rows_in == 0  # it was not pulled yet
        pull_reviews(lake, new_run(), desk)
        assert 0 < push_reviews(lake, new_run(), desk, spec).kept < first.kept
        assert push_reviews(lake, new_run(), desk, spec, title="Another").kept > 0


@pytest.mark.parametrize("died_in", ["import", "note"])
def test_a_push_that_died_is_carried_out_and_nothing_new_is_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, died_in: str
) -> None:
    with open_desk(tmp_path, monkeypatch, chunk=3) as (lake, desk):
        fill_lake(lake, 40, gold=10)
        spec = ReviewSpec(minutes=10, gold_rate=0.2)
        with monkeypatch.context() as patch:
            if died_in == "note":
                patch.setattr("pipelines.label.people.pushing.advance", lambda *_, **__: 1 / 0)
            else:
                ticks = iter(range(5))
                real = desk.tick
                patch.setattr(desk, "tick", lambda: (next(ticks), real())[1])
            with pytest.raises((StopIteration, ZeroDivisionError, RuntimeError)):
                push_reviews(lake, new_run(), desk, spec)
        planned = find_reviews(lake, "status = 'planned'")
        assert len(planned) > 5 and not list_pushed(lake)
        told: list[str] = []
        again = push_reviews(lake, new_run(tell=told.append), desk, spec)
        assert again.kept == len(planned) and "cut short" in told[0]
        assert {row["review_id"] for row in list_pushed(lake)} == set(planned["review_id"])
        assert len(lake.query("FROM batches")) == 1
        n = len(planned)
        assert desk.ask("SELECT count(*), count(DISTINCT review_id) FROM tasks") == [(n, n)]


def test_each_person_has_a_project_and_each_pair_as_many_people_as_are_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = ["ada@example.org", "bob@example.org", "cy@example.org"]
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        pairs = fill_lake(lake, 12, gold=4)
        spec = ReviewSpec(overlap=2, per_person=True, people=people, gold_rate=0.25)
        push_reviews(lake, new_run(), desk, spec, title="Blind")
        titles = [title for (title,) in desk.ask("SELECT title FROM projects ORDER BY title")]
        assert titles == [f"Blind for {person}" for person in people]
        tasks = list_pushed(lake)
        assert len(tasks) == 2 * 16
        for pair in pairs:
            mine = [row for row in tasks if row["pair_id"] == pair["pair_id"]]
            assert len({row["assignee"] for row in mine}) == 2
        assert "@" not in json.dumps([row["assignee"] for row in tasks])
        counts = [n for (n,) in desk.ask("SELECT count(*) FROM tasks GROUP BY project")]
        assert max(counts) - min(counts) <= 1
        assert len({row["left"] for row in tasks}) == 2


def test_a_review_whose_texts_are_gone_is_quarantined_and_the_others_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 3)
        stray = {"review_id": "stray", "status": "queued", "pair_id": "p", "prompt_id": "q",
                 "response_a": "a", "response_b": "b", "left": "a"}  # fmt: skip
        lake.append({"reviews": [stray]}, run=new_run(), stage="test")
        summary = push_reviews(lake, new_run(), desk)
        assert (summary.rows_in, summary.kept) == (4, 3)
        assert summary.quarantined == {"not_in_lake": 1}
        assert lake.query("FROM quarantine")["position"].to_list() == ["stray"]
        assert push_reviews(lake, new_run(), desk).rows_in == 0
