"""What people can do to a real Label Studio, and that a pull is right about it: counts in both."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from annotators.desk import Desk, DeskRefused, DeskUnreachable, connect_desk
from annotators.desk.annotations import EDITED
from annotators.desk.client import ask, list_tasks, speak_to
from annotators.desk.questions import render_config
from engines.services import Service
from pipelines.label.people.assessing import assess_batches
from pipelines.label.people.pulling import pull_reviews
from pipelines.label.people.pushing import push_reviews
from pipelines.label.people.resolving import find_answers
from pipelines.label.people.reviews import find_reviews
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from schemas.recipe import ReviewSpec
from tests.pipelines.label.people.people_lake import fill_lake, list_pushed

pytestmark = [
    pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("label_studio"),
]  # fmt: skip
SPEC = ReviewSpec(overlap=1)


@dataclass(frozen=True)
class Scene:
    """A lake whose pairs stand in one project of a real desk."""

    lake: Lake
    desk: Desk
    title: str

    def ask(self, method: str, path: str, **options: Any) -> Any:
        with speak_to(self.desk) as client:
            return ask(client, method, path, **options)

    def push(self) -> Any:
        return push_reviews(self.lake, new_run(), self.desk, SPEC, title=self.title)

    def pull(self, *, full: bool = False) -> tuple[dict[str, Any], list[str]]:
        """What a pull found, and what it told; another one right after it finds nothing."""
        told: list[str] = []
        run = new_run(tell=told.append)
        found = pull_reviews(self.lake, run, self.desk, full=full)
        assess_batches(self.lake, new_run(), SPEC)
        again = pull_reviews(self.lake, new_run(tell=told.append), self.desk, full=not full)
        assert (again.extra["new"], again.extra["gone"]) == (0, 0)
        return found.extra, told

    def answer(self, task: int, value: str = "left2", name: str = "preference") -> int:
        result = {"from_name": name, "to_name": "prompt", "type": "choices",
                  "value": {"choices": [value]}}  # fmt: skip
        body = {"result": [result], "lead_time": 2.0}
        return int(self.ask("POST", f"/api/tasks/{task}/annotations/", json=body)["id"])

    def count(self, project: int) -> tuple[int, int]:
        """Tasks and annotations at the desk."""
        with speak_to(self.desk) as client:
            tasks = list(list_tasks(client, project, "id,total_annotations"))
        return len(tasks), sum(task["total_annotations"] for task in tasks)

    def said(self) -> dict[str, float | None]:
        """What stands in the lake, by review."""
        counted = find_answers(self.lake).filter(pl.col("set_aside").is_null())
        return dict(counted.select("review_id", "p_a").iter_rows())


@contextmanager
def open_scene(folder: Path, service: Service, pairs: int) -> Iterator[Scene]:
    desk = connect_desk(service.url, service.token or "")
    title = f"Faults {uuid.uuid4().hex[:12]}"
    with open_lake(folder / "lake") as lake:
        fill_lake(lake, pairs)
        scene = Scene(lake, desk, title)
        scene.push()
        yield scene
    for project in scene.ask("GET", "/api/projects", params={"title": title})["results"]:
        scene.ask("DELETE", f"/api/projects/{project['id']}")


def test_annotations_and_tasks_that_people_change(tmp_path: Path, label_studio: Service) -> None:
    with open_scene(tmp_path, label_studio, 6) as scene:
        first, second, third, fourth, fifth, _ = reviews = list_pushed(scene.lake)
        project, p_left = first["project_id"], {r["review_id"]: r["left"] == "a" for r in reviews}
        once, twice, *_ = (scene.answer(r["task_id"]) for r in (first, second, third, fourth))
        assert scene.pull()[0]["new"] == 4 and len(scene.said()) == 4
        assert scene.count(project) == (6, 4)

        changed = [{"from_name": "preference", "value": {"choices": ["right1"]}}]
        scene.ask("PATCH", f"/api/annotations/{once}/", json={"result": changed})
        scene.ask("DELETE", f"/api/annotations/{twice}/")
        found, _ = scene.pull()
        assert (found["new"], found["deleted"]) == (2, 1)
        assert scene.count(project) == (6, 3) and len(scene.said()) == 3
        assert scene.said()[first["review_id"]] == float(not p_left[first["review_id"]])

        # a text is edited, and put back
        path = f"/api/tasks/{third['task_id']}/"
        data = scene.ask("GET", path)["data"]
        scene.ask("PATCH", path, json={"data": {**data, "left": "what nobody pushed"}})
        found, told = scene.pull()
        assert EDITED in told[0] and (found["new"], found["deleted"]) == (1, 0)
        assert third["review_id"] not in scene.said() and len(scene.said()) == 2
        scene.ask("PATCH", path, json={"data": data})
        assert scene.pull()[0]["new"] == 1 and len(scene.said()) == 3

        # a task is copied, and the copy answered: nothing of the task is lost
        copied = scene.ask("GET", f"/api/tasks/{fourth['task_id']}/")["data"]
        options = {"params": {"return_task_ids": "true"}, "json": [{"data": copied}]}
        (copy,) = scene.ask("POST", f"/api/projects/{project}/import", **options)["task_ids"]
        scene.answer(copy, "tie")
        found, told = scene.pull()
        assert (found["new"], found["deleted"], found["gone"]) == (1, 0, 0)
        assert "copies of its tasks" in told[0] and len(scene.said()) == 3
        assert scene.count(project) == (7, 4)

        # two tasks are deleted, answered and not, and two are made by hand
        for review in (third, fifth):
            scene.ask("DELETE", f"/api/tasks/{review['task_id']}")
        scene.ask("POST", f"/api/projects/{project}/import", json=[{"data": copied}] * 2)
        found, told = scene.pull()
        assert (found["deleted"], found["gone"]) == (1, 2)
        assert "2 tasks of project" in told[0] and scene.count(project) == (7, 3)
        assert scene.push().kept == 2
        assert scene.count(project) == (9, 3)
        shown = {row["pair_id"]: row for row in list_pushed(scene.lake)}
        assert len(shown) == 6 and {shown[r["pair_id"]]["round"] for r in (third, fifth)} == {1}
        for review in (third, fifth):
            scene.answer(shown[review["pair_id"]]["task_id"])
        assert scene.pull()[0]["new"] == 2 and len(scene.said()) == 4

        once_more = scene.said()
        with open_lake(tmp_path / "other") as lake:  # one that pulls for the first time
            rows = scene.lake.query("FROM reviews").drop("run_id", "created_at")
            texts = ("prompts", "responses")
            tables = {
                name: scene.lake.query(f"FROM {name}").drop("run_id", "created_at")
                for name in texts
            }
            lake.append({**tables, "reviews": rows}, run=new_run(), stage="test")
            late = Scene(lake, scene.desk, scene.title)
            late.pull()
            assert late.said() == once_more


def test_a_wrong_token_changes_nothing(tmp_path: Path, label_studio: Service) -> None:
    with open_scene(tmp_path, label_studio, 2) as scene:
        (first, _) = list_pushed(scene.lake)
        scene.answer(first["task_id"])
        wrong = Desk(scene.desk.url, "0" * 40)
        for work in (pull_reviews, push_reviews):
            scene.lake.append(
                {"reviews": [{**first, "status": "queued", "review_id": "new", "batch_id": None}]},
                run=new_run(), stage="test",
            )  # fmt: skip
            with pytest.raises(DeskUnreachable, match="set LABEL_STUDIO_API_KEY") as caught:
                work(scene.lake, new_run(), wrong)
            assert "0000" not in str(caught.value)
        assert scene.count(first["project_id"]) == (2, 1) and not scene.said()
        assert scene.pull()[0]["new"] == 1
        assert (scene.count(first["project_id"]), len(scene.said())) == ((2, 1), 1)


def test_a_config_that_is_changed(tmp_path: Path, label_studio: Service) -> None:
    with open_scene(tmp_path, label_studio, 3) as scene:
        first, second, third = list_pushed(scene.lake)
        path = f"/api/projects/{first['project_id']}"
        ours = render_config("preference")
        other = ours.replace('name="preference"', 'name="better"')
        other = other.replace('alias="left2"', 'alias="left9"')
        scene.ask("PATCH", path, json={"label_config": other})
        odd = [
            scene.answer(first["task_id"], "left1", "better"),
            scene.answer(second["task_id"], "left9"),
        ]
        found, told = scene.pull()
        assert (found["new"], found["invalid"]) == (2, 2) and not scene.said()
        (line,) = told
        assert "2 annotations in project" in line and "'better', which is not asked" in line
        assert "does not offer" in line
        assert len(scene.lake.query("FROM quarantine")) == 2
        queue = {**third, "status": "queued", "review_id": "new", "pair_id": "n", "batch_id": None}
        scene.lake.append({"reviews": [queue]}, run=new_run(), stage="test")
        with pytest.raises(DeskRefused, match="put its labelling config back"):
            scene.push()
        # the desk takes the old config back when nothing is left of the new one
        with pytest.raises(DeskRefused, match="incompatible"):
            scene.ask("PATCH", path, json={"label_config": ours})
        for annotation in odd:
            scene.ask("DELETE", f"/api/annotations/{annotation}/")
        scene.ask("PATCH", path, json={"label_config": ours})
        for review in (first, second):
            scene.answer(review["task_id"])
        scene.pull()
        assert len(scene.said()) == 2 and scene.count(first["project_id"]) == (3, 2)
        assert scene.push().kept == 1 and scene.count(first["project_id"]) == (4, 2)


def test_a_project_that_is_deleted(tmp_path: Path, label_studio: Service) -> None:
    with open_scene(tmp_path, label_studio, 3) as scene:
        done, *rest = list_pushed(scene.lake)
        scene.answer(done["task_id"])
        scene.pull()
        before = scene.said()
        scene.ask("DELETE", f"/api/projects/{done['project_id']}")
        found, told = scene.pull()
        assert (found["new"], found["gone"]) == (0, 3)
        (line,) = told
        assert f"project {done['project_id']} (batch {done['batch_id'][:12]})" in line
        assert "Its 2 tasks" in line and "`assay review push` sends them again" in line
        assert scene.said() == before and len(before) == 1
        assert scene.push().kept == 2
        again = list_pushed(scene.lake)
        assert {r["pair_id"] for r in again} == {r["pair_id"] for r in rest}
        (project,) = {r["project_id"] for r in again}
        for review in again:
            scene.answer(review["task_id"])
        scene.pull()
        assert len(scene.said()) == 3 and scene.count(project) == (2, 2)
        assert find_reviews(scene.lake, "status = 'queued'").is_empty()
