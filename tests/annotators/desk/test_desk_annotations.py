"""What is read of an annotation, and what a pull from a real desk brings."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.desk.annotations import (
    EDITED,
    NO_RESULT,
    NO_TIME,
    SKIPPED,
    pull_annotations,
    read_annotation,
)
from annotators.desk.answers import NO_ANSWER, NOT_OFFERED
from annotators.desk.client import DeskGone, ask, connect_desk, name_person, speak_to
from annotators.desk.projects import ensure_project
from annotators.desk.questions import make_task
from annotators.desk.tasks import push_tasks
from annotators.guidelines import read_guideline
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
        ({"result": []}, NO_ANSWER),
        ({"result": None}, NO_RESULT),
        ({"result": {}}, NO_RESULT),
        ({"updated_at": None}, NO_TIME),
        ({"updated_at": "yesterday"}, NO_TIME),
        ({"result": [as_sent("left3")]}, NOT_OFFERED),
        (
            {"result": [as_sent("left2", "better")]},
            "an answer to 'better', which is not asked: was the labelling config changed?",
        ),
        ({"data": {**PAIR, "left": "another text"}}, EDITED),
        ({"data": {**PAIR, "note": "added by hand"}}, EDITED),
        ({"data": {key: value for key, value in PAIR.items() if key != "seal"}}, EDITED),
    ],
)
def test_what_holds_no_answer_is_kept_with_the_problem(
    changes: dict[str, Any], problem: str
) -> None:
    got = read(**changes)
    assert got.answer is None and got.problem == problem and got.unique_id == "6c3c59dd"


def test_what_the_desk_does_not_say_is_not_made_up() -> None:
    raw = make_raw()
    nobody = read(completed_by=None)
    assert (nobody.person, nobody.answer["choice"]) == ("", "left")
    del raw["unique_id"]
    assert read_annotation(URL, PAIR, raw).unique_id == f"{URL}/annotations/7"
    del raw["id"]
    assert read_annotation(URL, PAIR, raw).unique_id == ""


def test_a_control_that_somebody_added_takes_nobody_s_answer_away() -> None:
    got = read(result=[as_sent("left2"), as_sent("formal", "tone")])
    assert (got.problem, got.answer["choice"]) == (None, "left")


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
def test_a_pull_brings_all_there_is_and_a_later_one_what_changed(
    label_studio: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = connect_desk(label_studio.url, label_studio.token or "")
    project = ensure_project(desk, f"Pull {uuid.uuid4().hex}", "preference")
    everything = pull_annotations(desk, project)
    held = everything.held
    assert (everything.annotations, held.newest, held.tasks, held.top) == ([], None, 0, 0)
    assert held.skew is not None and abs(held.skew) < 60  # the real desk tells its time
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
        assert everything.complete and everything.held.tasks == 40
        said = [(a.review_id, (a.answer or {}).get("choice"), a.problem) for a in
                everything.annotations]  # fmt: skip
        assert said == [
            (reviews[0], "left", None),
            (reviews[1], "tie", None),
            (reviews[1], "right", None),
            (reviews[2], None, "the question has no answer"),
            (reviews[3], None, SKIPPED),
        ]
        assert everything.review_ids == set(reviews[:4])
        me = ask(client, "GET", "/api/current-user/whoami")
        assert {a.person for a in everything.annotations} == {name_person(desk.name, me["id"])}
        assert not any(me["email"] in a.raw for a in everything.annotations)
        held = everything.held
        assert held.newest  # what the desk dates within its present second is read again
        assert held.newest + timedelta(seconds=1) >= everything.annotations[-1].updated_at

        # later than the window that every pull reads again
        since = replace(held, newest=held.newest + timedelta(minutes=10, seconds=1))
        nothing = pull_annotations(desk, project, since=since)
        assert not nothing.complete and not nothing.review_ids
        again = pull_annotations(desk, project, since=held)
        assert not again.complete
        assert again.annotations == everything.annotations  # twice is the same, byte for byte

        ask(client, "PATCH", f"/api/annotations/{first}/", json={"result": [as_sent("right2")]})
        changed = pull_annotations(desk, project, since=since)
        (now,) = changed.annotations
        assert changed.review_ids == {reviews[0]}
        assert changed.task_ids == {ids[reviews[0]]}
        assert now.unique_id == everything.annotations[0].unique_id
        assert now.answer["choice"] == "right"
        assert now.updated_at > everything.annotations[0].updated_at

        ask(client, "DELETE", f"/api/annotations/{first}/")
        gone = pull_annotations(desk, project, since=since)
        assert (gone.annotations, gone.review_ids) == ([], {reviews[0]})
        chosen = {"selectedItems": {"all": False, "included": [ids[reviews[1]]]}}
        action = {"id": "delete_tasks_annotations", "project": project}
        ask(client, "POST", "/api/dm/actions", params=action, json=chosen)
        gone = pull_annotations(desk, project, since=since)
        assert (gone.annotations, gone.review_ids) == ([], set(reviews[:2]))

        edited = {"data": {**make_pair(2), "left": "what nobody pushed"}}
        ask(client, "PATCH", f"/api/tasks/{ids[reviews[2]]}/", json=edited)
        answer(2, result=[as_sent("left1")])
        seen = pull_annotations(desk, project, since=since).annotations
        assert [a.problem for a in seen if a.review_id == reviews[2]] == [EDITED, EDITED]
        # one deleted and one made by hand: the count is the same
        ask(client, "DELETE", f"/api/tasks/{ids[reviews[3]]}")
        path = f"/api/projects/{project}/import"
        ask(client, "POST", path, json=[{"data": make_pair(5)}])
        told: list[str] = []
        monkeypatch.setattr("annotators.desk.client.TOLD_EVERY", 0.001)
        missing = pull_annotations(
            desk, project, since=since, expected=ids.values(), tell=told.append
        )
        assert missing.complete and missing.held.tasks == 40
        assert missing.gone == {ids[reviews[3]]}
        assert told and f"project {project} at {desk.url} is still being read" in told[0]
        assert not pull_annotations(desk, project, since=missing.held).complete
        for clock in (-400.0, 400.0):  # one of the clocks was set
            moved = replace(missing.held, skew=(missing.held.skew or 0.0) + clock)
            assert pull_annotations(desk, project, since=moved).complete

        ask(client, "DELETE", f"/api/projects/{project}")
    with pytest.raises(DeskGone, match="404"):
        pull_annotations(desk, project)
