"""Pairs to people and back, against a real Label Studio."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from annotators.desk import Desk, connect_desk
from engines.services import Service
from pipelines.label.people.answers import DELETED
from pipelines.label.people.pulling import pull_reviews
from pipelines.label.people.pushing import push_reviews
from pipelines.label.people.releasing import release_batch
from pipelines.label.people.resolving import find_answers
from pipelines.label.people.status import review_status
from pipelines.lake.catalogue import open_lake
from pipelines.lake.run import new_run
from pipelines.steps import Work, open_work, run_step
from tests.conftest import make_recipe
from tests.stub_server import run_stub


def ask(service: Service, path: str, body: Any = None, method: str | None = None) -> Any:
    request = urllib.request.Request(
        f"{service.url}/api{path}",
        data=json.dumps(body).encode() if body is not None else None,
        headers={"Authorization": f"Token {service.token}", "Content-Type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.loads(response.read() or "null")


def choose(service: Service, task: int, side: str) -> int:
    """Annotate a task; gives the annotation's id."""
    result = [
        {
            "from_name": "preference",
            "to_name": "prompt",
            "type": "choices",
            "value": {"choices": [side]},
        }
    ]
    body = {"result": result, "lead_time": 3.5}
    return int(ask(service, f"/tasks/{task}/annotations/", body)["id"])


def delete(service: Service, annotation: int) -> None:
    ask(service, f"/annotations/{annotation}/", method="DELETE")


def find_labels(work: Work) -> dict[str, dict[str, Any]]:
    return {row["pair_id"]: row for row in work.look().labels.iter_rows(named=True)}


def walk(work: Work, *names: str) -> None:
    for name in names:
        run_step(work, name)


def test_a_pull_from_a_desk_that_was_never_pushed_to_names_those_that_were(tmp_path: Path) -> None:
    told: list[str] = []
    run = new_run(tell=told.append)
    old, renamed = Desk("http://desk.example/", "t").name, Desk("https://Desk.example", "t")
    sides = {"pair_id": "p", "prompt_id": "q", "response_a": "a", "response_b": "b"}
    with open_lake(tmp_path / "lake") as lake:
        queued = {**sides, "review_id": "r", "status": "queued"}
        lake.append({"reviews": [queued]}, run=run, stage="test")
        assert pull_reviews(lake, run, renamed).rows_in == 0
        assert told == []  # nothing was pushed anywhere
        pushed = {**queued, "status": "pushed", "desk": old, "project_id": 1, "task_id": 1}
        lake.append({"reviews": [pushed]}, run=run, stage="test")
        assert pull_reviews(lake, run, renamed).rows_in == 0
    (line,) = told
    assert "https://Desk.example" in line and old in line


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("label_studio")
def test_undecided_pairs_reach_people_and_come_back_as_judgments(
    tmp_path: Path, label_studio: Service
) -> None:
    desk = connect_desk(label_studio.url, label_studio.token or "")
    with run_stub() as stub:
        models = {"m": {"model": "stub", "url": stub.url}}
        recipe = make_recipe(
            models=models,
            prompts={"open": {"model": "m", "count": 2, "categories": ["opinion"]}},
            label={"threshold": 0.98},  # the stub judge is never that sure: all go to people
        )
        with open_work(str(tmp_path / "lake"), recipe, None) as work:
            walk(work, "grow", "dedup", "split", "rollouts", "filter_responses", "verify", "judge")
            walk(work, "label", "review_queue")
            undecided = len(work.look().labels)
            assert undecided >= 5
            assert set(work.look().labels["status"]) == {"to_review"}

            pushed = push_reviews(work.lake, new_run(), desk, title="End to end")
            assert (pushed.rows_in, pushed.to_review) == (undecided, undecided)
            assert push_reviews(work.lake, new_run(), desk, title="End to end").rows_in == 0
            reviews = work.lake.query("FROM reviews WHERE status = 'pushed' ORDER BY review_id")
            project = reviews["project_id"][0]
            listed = ask(label_studio, f"/tasks?project={project}&fields=all&page_size=100")
            assert listed["total"] == undecided
            for task in listed["tasks"]:
                text = json.dumps(task["data"])
                assert "stub" not in text and "pairwise" not in text  # blinded

            first, second = reviews.row(0, named=True), reviews.row(1, named=True)
            choose(label_studio, first["task_id"], "left")
            choose(label_studio, second["task_id"], "tie")
            pulled = pull_reviews(work.lake, new_run(), desk)
            assert (pulled.rows_in, pulled.kept, pulled.extra["new"]) == (2, 2, 2)
            assert pull_reviews(work.lake, new_run(), desk).extra["new"] == 0
            assert review_status(work.lake)["answered"] == 2
            people = work.lake.query("SELECT annotator, seconds FROM judgments WHERE kind='human'")
            assert people["annotator"].n_unique() == 1
            assert "@" not in people["annotator"][0]
            assert people["seconds"].to_list() == [3.5, 3.5]
            assert not gold_labels(work)  # nothing counts before its release

            batch = reviews["batch_id"][0]
            assert release_batch(work.lake, new_run(), batch, "Mira").kept == 2
            labels = find_labels(work)
            label = labels[first["pair_id"]]
            assert (label["status"], label["tier"], label["decided_by"]) == (
                "labelled", "gold", "human",
            )  # fmt: skip
            assert label["chosen_id"] == first[f"response_{first['left']}"]
            tie = labels[second["pair_id"]]
            assert (tie["status"], tie["reason"]) == ("to_review", "tie")
            walk(work, "label", "review_queue")
            assert review_status(work.lake)["queued"] == 0  # nobody is asked again


def gold_labels(work: Work) -> list[str]:
    return [pair_id for pair_id, row in find_labels(work).items() if row["tier"] == "gold"]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("label_studio")
def test_what_is_deleted_at_the_desk_counts_no_more(tmp_path: Path, label_studio: Service) -> None:
    desk = connect_desk(label_studio.url, label_studio.token or "", local=True)
    # another address of the same server, as after `assay down` and `assay up`
    moved = connect_desk(
        label_studio.url.replace("127.0.0.1", "localhost"), label_studio.token or "", local=True
    )
    with run_stub() as stub:
        recipe = make_recipe(
            models={"m": {"model": "stub", "url": stub.url}},
            prompts={"open": {"model": "m", "count": 2, "categories": ["opinion"]}},
            label={"threshold": 0.98},
        )
        with open_work(str(tmp_path / "lake"), recipe, None) as work:
            walk(work, "grow", "dedup", "split", "rollouts", "filter_responses", "verify", "judge")
            walk(work, "label", "review_queue")
            push_reviews(work.lake, new_run(), desk, title="Deletions")
            reviews = work.lake.query("FROM reviews WHERE status = 'pushed' ORDER BY review_id")
            first, second, third = (reviews.row(i, named=True) for i in range(3))

            def pull() -> tuple[int, int]:
                extra = pull_reviews(work.lake, new_run(), moved).extra
                return extra["new"], extra["deleted"]

            def said(review: dict[str, Any]) -> str | None:
                """The side that the answers which count prefer."""
                rows = find_answers(work.lake).filter(
                    (pl.col("review_id") == review["review_id"]) & pl.col("set_aside").is_null()
                )
                if rows.is_empty():
                    return None
                return "left" if (rows["p_a"][0] == 1.0) == (review["left"] == "a") else "right"

            once = choose(label_studio, first["task_id"], "left")
            older = choose(label_studio, second["task_id"], "left")
            newer = choose(label_studio, second["task_id"], "right")
            kept = choose(label_studio, third["task_id"], "left")
            assert pull() == (4, 0)
            assert [said(r) for r in (first, second, third)] == ["left", "right", "left"]
            assert review_status(work.lake)["answered"] == 3

            delete(label_studio, once)
            delete(label_studio, newer)  # what the same person said before stands again
            assert pull() == (2, 2)
            assert [said(r) for r in (first, second, third)] == [None, "left", "left"]
            assert review_status(work.lake)["answered"] == 2
            assert pull() == (0, 0)

            delete(label_studio, older)
            delete(label_studio, kept)  # now nothing is left in the project
            assert pull() == (2, 2)
            assert [said(r) for r in (first, second, third)] == [None, None, None]
            assert pull() == (0, 0)

            choose(label_studio, first["task_id"], "right")
            assert pull() == (1, 0)
            assert said(first) == "right"
            people = work.lake.query("FROM judgments WHERE kind = 'human' ORDER BY created_at")
            assert people["annotator"].n_unique() == 1  # one person at both addresses
            gone = people.filter(reason=DELETED)
            assert len(gone) == 4 and gone["p_a"].null_count() == 4 and not gone["valid"].any()
            assert len(people) == 4 + 4 + 1  # what was said is still there
