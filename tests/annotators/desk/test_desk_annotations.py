"""What is read of an annotation, and what a pull from a real desk brings."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.desk.annotations import EDITED, SKIPPED, pull_annotations, read_annotation
from annotators.desk.client import DeskRefused, ask, connect_desk, name_person, speak_to
from annotators.desk.projects import ensure_project
from annotators.desk.questions import make_task, read_guideline
from annotators.desk.tasks import push_tasks
from engines.services import Service
from tests.annotators.desk.test_desk_answers import JSON, TASKS, choose

URL = "http://127.0.0.1:1"
PAIR = TASKS["preference"]


def make_raw(**changes: Any) -> dict[str, Any]:
    return {
        "id": 7,
        "task": 5,
        "completed_by": 3,
        "result": [as_sent("left2")],
        "was_cancelled": False,
        "created_at": "2026-01-02T03:04:04Z",
        "updated_at": "2026-01-02T03:04:05Z",
        "lead_time": 12.5,
        "unique_id": "6c3c59dd",
        **changes,
    }


def as_sent(value: str, name: str = "preference") -> dict[str, Any]:
    return {**choose(name), "value": {"choices": [value]}}


def make_pair(number: int, left: str = "yes", right: str = "no") -> dict[str, Any]:
    return make_task(
        "preference", f"review-{number:04}", prompt=f"What is {number} + 1?",
        guideline=read_guideline("arithmetic"), responses=[left, right],
    )  # fmt: skip


def read(data: Any = PAIR, **changes: Any) -> Any:
    return read_annotation(URL, data, make_raw(**changes))


def test_an_annotation_is_read() -> None:
    comment = {"from_name": "comment", "value": {"text": ["shorter\nand right "]}}
    got = read(result=[as_sent("right1"), comment], prediction={"created_ago": "3 minutes"})
    assert (got.review_id, got.task_id, got.unique_id) == ("r1", 5, "6c3c59dd")
    assert got.updated_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert got.updated_at - got.created_at == timedelta(seconds=1)
    assert (got.comment, got.seconds, got.cancelled) == ("shorter\nand right", 12.5, False)
    assert (got.question, got.answer["choice"], got.problem) == ("preference", "right", None)
    assert got.person == name_person(URL, 3)
    assert json.loads(got.raw)["lead_time"] == 12.5 and "minutes" not in got.raw


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"was_cancelled": True}, SKIPPED),
        ({"result": None}, "the question has no answer"),
        ({"result": {}}, "the question has no answer"),
        ({"updated_at": None}, "it has no update time"),
        ({"updated_at": "yesterday"}, "it has no update time"),
        ({"data": {**PAIR, "left": "another text"}}, EDITED),
        ({"data": {**PAIR, "note": "added by hand"}}, EDITED),
    ],
)
def test_what_holds_no_answer_is_kept_with_the_problem(
    changes: dict[str, Any], problem: str
) -> None:
    got = read(**changes)
    assert got.answer is None and got.problem == problem and got.unique_id == "6c3c59dd"


def test_a_task_made_by_hand_belongs_to_no_review() -> None:
    assert read({"text": "hello"}).review_id is None


def test_a_task_from_before_there_were_other_questions_is_a_pair() -> None:
    older = {"review_id": "r1", "prompt": "?", "left": "a", "right": "b"}
    got = read(older, result=[as_sent("left")])
    assert (got.question, got.answer["choice"], got.answer["strength"]) == (
        "preference", "left", None,
    )  # fmt: skip


@given(st.dictionaries(st.sampled_from(sorted(make_raw())), JSON), st.booleans(), st.data())
def test_whatever_the_desk_says_is_an_annotation(
    changes: dict[str, Any], lose: bool, data: st.DataObject
) -> None:
    raw = make_raw(**changes)
    if lose:
        del raw[data.draw(st.sampled_from(sorted(raw)))]
    got = read_annotation(URL, data.draw(st.sampled_from(list(TASKS.values()))), raw)
    assert (got.answer is None) == (got.problem is not None)
    assert got.updated_at.tzinfo and (got.seconds is None or got.seconds >= 0)


@pytest.mark.slow
@pytest.mark.xdist_group("label_studio")
def test_a_pull_brings_all_there_is_and_a_later_one_what_changed(label_studio: Service) -> None:
    desk = connect_desk(label_studio.url, label_studio.token or "")
    project = ensure_project(desk, f"Pull {uuid.uuid4().hex}", "preference")
    everything = pull_annotations(desk, project)
    assert (everything.annotations, everything.newest, everything.tasks) == ([], None, 0)
    ids = push_tasks(desk, project, [make_pair(i) for i in range(40)])
    reviews = list(ids)

    with speak_to(desk) as client:

        def answer(number: int, **body: Any) -> int:
            path = f"/api/tasks/{ids[reviews[number]]}/annotations/"
            return int(ask(client, "POST", path, json={"lead_time": 2.5, **body})["id"])

        first = answer(0, result=[as_sent("left2")])
        answer(1, result=[as_sent("tie")])
        answer(1, result=[as_sent("right1")])  # beyond the overlap: the desk takes it all the same
        answer(2, result=[])
        answer(3, result=[], was_cancelled=True)
        everything = pull_annotations(desk, project)
        assert everything.complete and everything.tasks == 40
        said = [(a.review_id, (a.answer or {}).get("choice"), a.problem) for a in
                everything.annotations]  # fmt: skip
        assert said == [
            (reviews[0], "left", None),
            (reviews[1], "tie", None),
            (reviews[1], "right", None),
            (reviews[2], None, "the question has no answer"),
            (reviews[3], None, SKIPPED),
        ]
        assert everything.seen_review_ids == set(reviews[:4])
        me = ask(client, "GET", "/api/current-user/whoami")
        assert {a.person for a in everything.annotations} == {name_person(desk.name, me["id"])}
        assert not any(me["email"] in a.raw for a in everything.annotations)
        assert everything.newest and everything.newest >= everything.annotations[-1].updated_at

        # later than the window that every pull reads again
        since = everything.newest + timedelta(minutes=10)
        nothing = pull_annotations(desk, project, since=since)
        assert not nothing.complete and not nothing.seen_review_ids
        assert nothing.newest == everything.newest
        again = pull_annotations(desk, project, since=everything.newest)
        assert again.annotations == everything.annotations  # twice is the same, byte for byte

        ask(client, "PATCH", f"/api/annotations/{first}/", json={"result": [as_sent("right2")]})
        changed = pull_annotations(desk, project, since=since)
        (now,) = changed.annotations
        assert changed.seen_review_ids == {reviews[0]}
        assert now.unique_id == everything.annotations[0].unique_id
        assert now.answer["choice"] == "right"
        assert now.updated_at > everything.annotations[0].updated_at

        ask(client, "DELETE", f"/api/annotations/{first}/")
        gone = pull_annotations(desk, project, since=since)
        assert (gone.annotations, gone.seen_review_ids) == ([], {reviews[0]})
        chosen = {"selectedItems": {"all": False, "included": [ids[reviews[1]]]}}
        action = {"id": "delete_tasks_annotations", "project": project}
        ask(client, "POST", "/api/dm/actions", params=action, json=chosen)
        gone = pull_annotations(desk, project, since=since)
        assert (gone.annotations, gone.seen_review_ids) == ([], set(reviews[:2]))

        edited = {"data": {**make_pair(2), "left": "what nobody pushed"}}
        ask(client, "PATCH", f"/api/tasks/{ids[reviews[2]]}/", json=edited)
        answer(2, result=[as_sent("left1")])
        seen = pull_annotations(desk, project, since=since).annotations
        assert [a.problem for a in seen if a.review_id == reviews[2]] == [EDITED, EDITED]
        ask(client, "DELETE", f"/api/tasks/{ids[reviews[3]]}")
        assert pull_annotations(desk, project, since=since).tasks == 39

        ask(client, "DELETE", f"/api/projects/{project}")
    with pytest.raises(DeskRefused, match="404"):
        pull_annotations(desk, project)
