"""What status says of a loop that has gone round once, and of an empty lake."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from pipelines.label.people.pulling import pull_reviews
from pipelines.label.people.pushing import push_reviews
from pipelines.label.people.releasing import release_batch
from pipelines.label.people.status import describe_status, review_status
from pipelines.lake.catalogue import open_lake
from pipelines.lake.run import new_run
from pipelines.recipes import find_review_settings
from pipelines.steps import open_work
from schemas.recipe import ReviewSpec
from tests.conftest import make_recipe, run_here
from tests.pipelines.label.people.people_lake import answer_as, fill_lake, list_pushed, open_desk

TWO = ReviewSpec(overlap=2, min_alpha=-1, minutes=10)


def test_status_keeps_the_ledger_and_looks_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 40)
        push_reviews(lake, new_run(), desk, TWO)
        pushed = list_pushed(lake)
        for place, review in enumerate(pushed[:4]):
            for person in ("ada", "bob"):
                answer_as(desk, lake, review, person, "ab"[place % 2])  # 20 s each
        answer_as(desk, lake, pushed[4], "ada", None)
        pull_reviews(lake, new_run(), desk)
        spec = ReviewSpec(overlap=2, min_alpha=-1)
        release_batch(lake, new_run(), lake.query("FROM batches")["batch_id"][0], "Mira", spec)
        found = review_status(lake, spec)
        assert found["queued"] == 40 - len(pushed)
        assert (found["answered"], found["pushed"]) == (4, len(pushed) - 4)
        (batch,) = found["batches"]
        assert (batch["tasks"], batch["answered"]) == (len(pushed), 4)
        assert (batch["gold"], batch["discarded"]) == (4, 0)
        total = found["ledger"]["all"]
        assert (total["n"], total["n_labels"], total["minutes"]) == (9, 8, 3.0)
        assert total["seconds_per_released"] == pytest.approx(180 / 4)
        assert (total["n_kept"], total["seconds_per_kept"]) == (0, None), "nothing is published"
        assert found["learning"] is None
        assert sum(row["tasks"] for row in found["next"]) == found["queued"]
        assert {row["category"] for row in found["next"]} == {"advice", "coding", "opinion"}
        assert sum(row["minutes"] for row in found["next"]) <= 100
        words = describe_status(found)
        assert "people spent 3.0 minutes on 9 answers: 3.0 on work" in words
        assert "22 s a label, 45 s an item released as gold" in words
        assert "no published version holds a pair of it yet" in words
        assert "because nothing is known of them yet; a task takes" in words


def test_an_empty_lake_has_nothing_to_say(tmp_path: Path) -> None:
    with open_lake(tmp_path / "lake") as lake:
        found = review_status(lake)
    assert found["queued"] == found["pushed"] == found["answered"] == 0
    assert found["batches"] == found["next"] == [] and found["ledger"]["all"] is None
    assert "queued: 0" in describe_status(found)


def test_two_pulls_at_once_bring_each_answer_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 6)
        push_reviews(lake, new_run(), desk)
        for review in list_pushed(lake):
            answer_as(desk, lake, review, "ada", "a")
        shown = desk.pull_annotations(desk, 1)
        monkeypatch.setattr(desk, "pull_annotations", lambda *_, **__: shown)  # of any thread
        new: list[Any] = []
        pulls = [
            threading.Thread(target=lambda: new.append(pull_reviews(lake, new_run(), desk)))
            for _ in range(3)
        ]
        for pull in pulls:
            pull.start()
        for pull in pulls:
            pull.join()
        assert sorted(summary.extra["new"] for summary in new) == [0, 0, 6]
        people = lake.query("FROM judgments WHERE starts_with(annotator, 'person-')")
        assert len(people) == 6


def test_the_recipe_that_the_lake_saw_last_says_what_people_are_asked(tmp_path: Path) -> None:
    url = str(tmp_path / "lake")
    with open_lake(url) as lake:
        assert find_review_settings(lake, None, url) == (ReviewSpec(), ())
    asked = {"overlap": 3, "criteria": "rubrics/advice.yaml"}
    for name, review in (("first", {"overlap": 2}), ("second", asked)):
        with open_work(url, make_recipe(name=name, review=review), None):
            pass
    with open_lake(url) as lake:
        spec, criteria = find_review_settings(lake, None, url)
        assert spec.overlap == 3 and criteria and all(c.check is None for c in criteria)
        assert find_review_settings(lake, "first", url) == (ReviewSpec(overlap=2), ())


def test_a_release_names_what_it_lacks(tmp_path: Path) -> None:
    with open_lake(tmp_path / "lake") as lake:
        fill_lake(lake, 2)
    nobody = run_here("review", "release", "x", "--lake", tmp_path / "lake")
    assert nobody.returncode == 2 and "--approved-by" in nobody.stderr
    nothing = run_here(
        "review", "release", "x", "--lake", tmp_path / "lake", "--approved-by", "Mira"
    )
    assert nothing.returncode == 1 and "push one first" in nothing.stderr
    status = run_here("review", "status", "--lake", tmp_path / "lake")
    assert status.returncode == 0 and "the next 100 minutes pay most here" in status.stdout
