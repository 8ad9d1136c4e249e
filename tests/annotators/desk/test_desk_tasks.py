"""Projects and tasks at a real desk: nothing twice, nothing lost, nothing changed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from annotators.desk import tasks as tasks_module
from annotators.desk.client import Desk, DeskRefused, ask, connect_desk, list_tasks, speak_to
from annotators.desk.projects import ensure_project
from annotators.desk.questions import make_task, render_config
from annotators.desk.tasks import push_tasks
from engines.services import Service
from tests.annotators.desk.test_desk_annotations import as_sent, make_pair
from tests.annotators.desk.test_desk_answers import CRITERIA
from tests.conftest import ROOT

NOWHERE = Desk("http://127.0.0.1:1", "t")
KILLED = """
import sys
from annotators.desk import tasks
from annotators.desk.client import Desk
from tests.annotators.desk.test_desk_annotations import make_pair
tasks.CHUNK = 60
pairs = [make_pair(i) for i in range(900)]
print("ready", flush=True)
tasks.push_tasks(Desk(sys.argv[1], sys.argv[2]), int(sys.argv[3]), pairs)
print("done", flush=True)
"""


@pytest.fixture
def desk(label_studio: Service) -> Desk:
    return connect_desk(label_studio.url, label_studio.token or "")


@pytest.fixture
def titles(desk: Desk) -> Iterator[str]:
    """A word for the titles of projects that are removed afterwards."""
    word = f"Test {uuid.uuid4().hex[:12]}"
    yield word
    with speak_to(desk) as client:
        for project in ask(client, "GET", "/api/projects", params={"title": word})["results"]:
            ask(client, "DELETE", f"/api/projects/{project['id']}")


def read_tasks(desk: Desk, project: int) -> list[Any]:
    """The data of every task, by id."""
    with speak_to(desk) as client:
        return [task["data"] for task in list_tasks(client, project, "id,data")]


def ask_desk(desk: Desk, method: str, path: str, **options: Any) -> Any:
    with speak_to(desk) as client:
        return ask(client, method, path, **options)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"policy": "gpt"}, "policy"),
        ({"left": "another text"}, "a text was changed"),
        ({"question": "beauty"}, "no question"),
    ],
)
def test_a_task_that_was_not_made_here_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(DeskRefused, match=said):
        push_tasks(NOWHERE, 1, [{**make_pair(1), **change}])


@pytest.mark.slow
@pytest.mark.xdist_group("label_studio")
def test_a_project_is_found_by_its_whole_title_and_its_question(desk: Desk, titles: str) -> None:
    project = ensure_project(desk, titles, "preference", criteria=CRITERIA)
    assert ensure_project(desk, titles, "preference", criteria=CRITERIA) == project
    assert ensure_project(desk, titles[:-1], "preference") != project
    for question, criteria in (("preference", ()), ("preference", CRITERIA[:1]), ("spans", ())):
        with pytest.raises(DeskRefused, match="choose another title"):
            ensure_project(desk, titles, question, criteria=criteria)

    path = f"/api/projects/{project}"
    assert ask_desk(desk, "GET", path)["show_collab_predictions"] is False
    ensure_project(desk, titles, "preference", criteria=CRITERIA, show_predictions=True)
    assert ask_desk(desk, "GET", path)["show_collab_predictions"] is True
    other_words = render_config("preference", CRITERIA).replace("Cannot decide", "No idea")
    ask_desk(desk, "PATCH", path, json={"label_config": other_words})
    assert ensure_project(desk, titles, "preference", criteria=CRITERIA) == project
    with pytest.raises(DeskRefused, match="at least 3 characters"):
        ensure_project(desk, "x", "preference")


@pytest.mark.slow
@pytest.mark.xdist_group("label_studio")
def test_tasks_are_imported_once_in_order_and_byte_for_byte(
    desk: Desk, titles: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = (
        "<script>alert(1)</script> \x00\r\n\u202e e\u0301 \u00e9 \U0001f600 $left {{x}} s3://a/b"
    )
    monkeypatch.setattr(tasks_module, "CHUNK", 100)
    project = ensure_project(desk, titles, "preference")
    pairs = [make_pair(i, hostile, f"{i}") for i in range(250)]
    first = push_tasks(desk, project, pairs[50:150])
    every = push_tasks(desk, project, [*pairs, pairs[0]])
    assert push_tasks(desk, project, pairs) == every
    assert {k: every[k] for k in first} == first and len(set(every.values())) == 250
    new = [every[pair["review_id"]] for pair in [*pairs[:50], *pairs[150:]]]
    assert new == sorted(new)  # what is worth most is shown first
    stored = {data["review_id"]: data for data in read_tasks(desk, project)}
    assert stored == {pair["review_id"]: pair for pair in pairs}
    assert push_tasks(desk, project, []) == {}

    # an import that was taken although its client had gone
    data = [{"data": pair} for pair in pairs[:3]]
    ask_desk(desk, "POST", f"/api/projects/{project}/import", json=data)
    ids = [task_id for task_id, kept in enumerate_tasks(desk, project) if kept == pairs[2]]
    body = {"result": [as_sent("tie")]}
    ask_desk(desk, "POST", f"/api/tasks/{ids[1]}/annotations/", json=body)
    again = push_tasks(desk, project, pairs)
    assert again == {**every, pairs[2]["review_id"]: ids[1]}  # the one that somebody worked on
    assert len(read_tasks(desk, project)) == 250


def enumerate_tasks(desk: Desk, project: int) -> list[tuple[int, Any]]:
    with speak_to(desk) as client:
        return [(task["id"], task["data"]) for task in list_tasks(client, project, "id,data")]


@pytest.mark.slow
@pytest.mark.xdist_group("label_studio")
def test_large_tasks_go_in_small_requests_and_the_overlap_holds_for_all(
    desk: Desk, titles: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = ensure_project(desk, titles, "preference")
    pairs = [make_pair(i, "long " * 20_000, "short") for i in range(5)]
    sent: list[int] = []
    monkeypatch.setattr(tasks_module, "CHUNK_CHARACTERS", 250_000)
    monkeypatch.setattr(
        tasks_module, "ask",
        lambda client, method, path, **options: (
            sent.append(len(options["json"])) if method == "POST" else None,
            ask(client, method, path, **options),
        )[1],
    )  # fmt: skip
    push_tasks(desk, project, pairs[:3])
    ids = push_tasks(desk, project, pairs, overlap=3)
    assert sent == [2, 1, 2]
    overlaps = [ask_desk(desk, "GET", f"/api/tasks/{i}")["overlap"] for i in ids.values()]
    assert overlaps == [3] * 5
    ids = push_tasks(desk, project, pairs, overlap=2)
    overlaps = [ask_desk(desk, "GET", f"/api/tasks/{i}")["overlap"] for i in ids.values()]
    assert overlaps == [2] * 5


@pytest.mark.slow
@pytest.mark.xdist_group("label_studio")
def test_predictions_are_checked_and_go_only_where_they_are_shown(desk: Desk, titles: str) -> None:
    pairs = [make_pair(i) for i in range(3)]
    opinions = {
        pairs[0]["review_id"]: {"choice": "left", "strength": 2, "score": 0.9},
        pairs[1]["review_id"]: {"choice": "tie", "strength": 0},
        "of another batch": {"choice": "tie", "strength": 0},
    }
    hidden = ensure_project(desk, f"{titles} hidden", "preference")
    shown = ensure_project(desk, f"{titles} shown", "preference", show_predictions=True)
    for project, count in ((hidden, 0), (shown, 2)):
        ids = push_tasks(desk, project, pairs, opinions)
        tasks = [ask_desk(desk, "GET", f"/api/tasks/{i}") for i in ids.values()]
        assert sum(len(task["predictions"]) for task in tasks) == count
    (first,) = ask_desk(desk, "GET", f"/api/tasks/{min(ids.values())}")["predictions"]
    assert first["score"] == 0.9 and first["result"][0]["value"]["choices"] == ["left2"]

    wrong = {pairs[2]["review_id"]: {"choice": "left", "strength": 7}}
    rated = {pairs[2]["review_id"]: {"choice": "tie", "strength": 0, "ratings": {"Wit": 1}}}
    for opinion, said in ((wrong, "no such answer"), (rated, "criterion:Wit")):
        with pytest.raises(DeskRefused, match=f"{pairs[2]['review_id']}.*{said}"):
            push_tasks(desk, hidden, pairs, opinion)


@pytest.mark.slow
@pytest.mark.xdist_group("label_studio")
def test_a_push_killed_at_any_moment_leaves_no_gap_and_no_twin(desk: Desk, titles: str) -> None:
    project = ensure_project(desk, titles, "preference")
    chance = random.Random(7)
    killed = 0
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, desk.url, desk.token, str(project)],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert process.stdout and process.stdout.readline() == "ready\n"
        try:
            process.wait(chance.uniform(0.05, 1.0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
        process.stdout.close()
    assert killed >= 1
    pairs = [make_pair(i) for i in range(900)]
    ids = push_tasks(desk, project, pairs)
    stored = [data["review_id"] for data in read_tasks(desk, project)]
    assert len(stored) == len(set(stored)) == 900
    assert set(stored) == set(ids) == {pair["review_id"] for pair in pairs}


def test_make_task_is_what_push_takes() -> None:
    made = make_task("ranking", "r", prompt="?", guideline="", responses=["a", "b", "c"])
    assert tasks_module._check_task(made) == made
