"""What goes wrong at a desk: one message or a quarantined row each, and the next pull is right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from annotators.desk import Desk
from annotators.desk.annotations import NO_TIME
from annotators.desk.answers import NOT_OFFERED
from pipelines.label.people.pulling import pull_reviews
from pipelines.label.people.pushing import push_reviews
from pipelines.label.people.releasing import release_batch
from pipelines.label.people.resolving import find_answers
from pipelines.label.people.reviews import find_reviews
from pipelines.label.people.status import list_batches, review_status
from pipelines.lake.catalogue import open_lake
from pipelines.lake.run import new_run
from schemas.recipe import ReviewSpec
from tests.conftest import run_here
from tests.pipelines.label.people.desk_server import serve_desk
from tests.pipelines.label.people.people_lake import (
    TWO,
    answer_as,
    fill_lake,
    list_counted,
    list_pushed,
    open_desk,
    pull,
)


def test_a_server_that_is_away_or_refuses_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 2)
        push_reviews(lake, new_run(), desk)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "a-secret-token")
    with serve_desk() as server:
        server.token = "another"
        for url in (server.url, "http://127.0.0.1:1"):
            for command in ("pull", "push"):
                done = run_here("review", command, "--lake", tmp_path / "lake", "--url", url)
                said = done.stdout + done.stderr
                assert done.returncode == 1 and said.startswith("error: ")
                assert said.count("\n") == 1 and url in said and "a-secret" not in said
                assert ("LABEL_STUDIO_API_KEY" in said) == (url == server.url)
    with open_lake(tmp_path / "lake") as lake:
        assert lake.query("FROM runs WHERE stage = 'review_pull'").is_empty()


def test_an_export_may_take_longer_than_any_other_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotators.desk.client.SECONDS", 0.5)
    monkeypatch.setattr("annotators.desk.client.TOLD_EVERY", 0.4)
    with serve_desk() as server, open_lake(tmp_path / "lake") as lake:
        fill_lake(lake, 3)
        desk = Desk(server.url, server.token)
        server.import_seconds = server.export_seconds = 1.5
        push_reviews(lake, new_run(), desk)
        first, second, _ = list_pushed(lake)
        server.annotate(first["task_id"], "left2")
        server.annotate(second["task_id"], "tie")
        summary, told = pull(lake, desk)
        assert summary.extra["new"] == 2
        assert len(told) >= 2 and "is still being read: " in told[0] and " s so far" in told[0]
        monkeypatch.setattr("annotators.desk.annotations.LONG_SECONDS", 0.2)
        with pytest.raises(Exception, match=r"was silent for too long.*run the same command again"):
            pull_reviews(lake, new_run(), desk, full=True)
        monkeypatch.undo()
        assert pull(lake, desk, full=True)[0].extra["new"] == 0
        assert len(list_counted(lake)) == 2


def test_a_deleted_project_keeps_what_was_said_and_asks_the_rest_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 6)
        push_reviews(lake, new_run(), desk, replace_spec(minutes=2), title="One")
        push_reviews(lake, new_run(), desk, TWO, title="Two")
        one = [r for r in list_pushed(lake) if r["project_id"] == 1]
        two = [r for r in list_pushed(lake) if r["project_id"] == 2]
        assert len(one) >= 2 and len(two) >= 2
        done, half, *_ = one
        for review, people in ((done, ("ada", "bob")), (half, ("ada",))):
            for person in people:
                answer_as(desk, lake, review, person, "a")
        pull(lake, desk)
        before = list_counted(lake)
        desk.drop_project(1)
        answer_as(desk, lake, two[0], "ada", "a")
        summary, told = pull(lake, desk)
        assert (summary.extra["new"], summary.extra["deleted"]) == (1, 0)
        (line,) = told
        assert f"project 1 (batch {one[0]['batch_id'][:12]}) is no longer at the desk" in line
        assert f"Its {len(one) - 1} tasks" in line and "`assay review push`" in line
        assert set(before) < set(list_counted(lake))
        assert pull(lake, desk, full=True)[1] == []  # told of once

        wanting = {
            row["pair_id"]: row for row in find_reviews(lake, "status = 'queued'").to_dicts()
        }
        assert wanting.keys() == {r["pair_id"] for r in one[1:]}
        assert wanting[half["pair_id"]]["overlap"] == 1
        rows = {row["title"]: row for row in list_batches(lake, find_reviews(lake))}
        assert (rows["One"]["tasks"], rows["One"]["answered"]) == (2, 2)  # what is left of them
        push_reviews(lake, new_run(), desk, TWO, title="One")
        again = [r for r in list_pushed(lake) if r["round"] == 1]
        assert {r["pair_id"] for r in again} == wanting.keys()
        assert {r["project_id"] for r in again} == {3}
        for review in again:
            for person in ("cy", "dan")[: review["overlap"]]:
                answer_as(desk, lake, review, person, "a")
        pull(lake, desk)
        released = release_batch(lake, new_run(), one[0]["batch_id"], "Mira", TWO)
        assert (released.kept, released.extra["waiting"]) == (len(one), 0)


def test_a_project_that_is_deleted_in_the_middle_of_a_push_leaves_no_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 5)
        with monkeypatch.context() as patch:
            patch.setattr(desk, "push_tasks", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                push_reviews(lake, new_run(), desk, TWO)
        desk.drop_project(1)
        told: list[str] = []
        assert push_reviews(lake, new_run(tell=told.append), desk, TWO).kept == 0
        assert "project 1 was deleted at the desk before its 5 tasks were there" in told[1]
        pull(lake, desk)
        assert push_reviews(lake, new_run(), desk, TWO).kept == 5
        assert desk.ask("SELECT count(DISTINCT review_id) FROM tasks") == [(5,)]
        assert len({row["pair_id"] for row in list_pushed(lake)}) == 5


def replace_spec(**changes: Any) -> ReviewSpec:
    return TWO.model_copy(update=changes)


def test_a_desk_that_begins_anew_with_the_same_numbers_takes_nothing_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 3)
        push_reviews(lake, new_run(), desk, TWO)
        for person in ("ada", "bob"):
            answer_as(desk, lake, list_pushed(lake)[0], person, "a")
        pull(lake, desk)
        before = list_counted(lake)
        for table in ("projects", "tasks", "annotations", "sqlite_sequence"):
            desk.ask(f"DELETE FROM {table}")
        assert "is no longer at the desk" in pull(lake, desk)[1][0]
        push_reviews(lake, new_run(), desk, TWO)
        assert desk.ask("SELECT id FROM projects") == [(1,)]
        assert desk.ask("SELECT count(*), min(id) FROM tasks") == [(2, 1)]
        for full in (False, True):
            summary, told = pull(lake, desk, full=full)
            assert (summary.extra["deleted"], told) == (0, [])
        assert list_counted(lake) == before


def test_an_answer_that_is_not_offered_is_quarantined_once_and_may_be_put_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 3)
        push_reviews(lake, new_run(), desk)
        first, second, third = list_pushed(lake)
        good = answer_as(desk, lake, first, "ada", "a")
        summary, _ = pull(lake, desk)
        desk.revise(good, problem=NOT_OFFERED)
        other = desk.submit(second["review_id"], "ada", problem="an answer to 'x', which is ...")
        answer_as(desk, lake, third, "ada", "b")
        summary, told = pull(lake, desk)
        assert (summary.rows_in, summary.kept) == (3, 1)
        assert sum(summary.quarantined.values()) == 2
        (line,) = told
        assert "2 annotations in project 1 (batch " in line and NOT_OFFERED in line
        assert pull(lake, desk, full=True)[1] == []  # told of once
        rows = lake.query("FROM quarantine ORDER BY position").to_dicts()
        assert [row["position"] for row in rows] == [f"annotation-{good}", f"annotation-{other}"]
        assert rows[0]["reason"] == NOT_OFFERED
        assert len(list_counted(lake)) == 1  # what Ada said before does not stand
        for annotation in (good, other):
            desk.revise(annotation, choice="left", strength=2)
        pull(lake, desk)
        assert len(list_counted(lake)) == 3
        assert len(lake.query("FROM quarantine")) == 2


def test_a_text_that_is_edited_takes_its_answers_along_and_brings_them_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 3)
        push_reviews(lake, new_run(), desk)
        first, second, third = list_pushed(lake)
        for review in (first, second):
            answer_as(desk, lake, review, "ada", "a")
        pull(lake, desk)
        whole = list_counted(lake)
        assert len(whole) == 2
        desk.edit_task(first["task_id"], prompt="Something else?")
        desk.edit_task(second["task_id"], review_id=third["review_id"])
        summary, told = pull(lake, desk)
        assert list_counted(lake) == []
        assert summary.extra["deleted"] == 0 and "the task was edited at the desk" in told[0]
        said = find_answers(lake)
        assert set(said["review_id"]) == {first["review_id"], second["review_id"]}
        for review in (first, second):
            desk.edit_task(review["task_id"])
        pull(lake, desk)
        assert list_counted(lake) == whole


def test_a_copy_of_a_task_takes_nothing_from_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 3)
        push_reviews(lake, new_run(), desk, TWO)
        first, second, third = list_pushed(lake)
        answer_as(desk, lake, first, "ada", "a")
        pull(lake, desk)
        for other in (second, third):  # until the first is no longer among the latest
            for _ in range(3):
                answer_as(desk, lake, other, "ada", "a")
        pull(lake, desk)
        copy = desk.copy_task(first["task_id"])
        mine = desk.submit(first["review_id"], "bob", task=copy, choice="left", strength=1)
        summary, told = pull(lake, desk)
        assert (summary.extra["new"], summary.extra["deleted"]) == (1, 0)
        assert "1 answers in project 1" in told[0] and "copies of its tasks" in told[0]
        of_first = find_answers(lake).filter(review_id=first["review_id"], valid=True)
        assert set(of_first["annotator"]) == {"person-ada", "person-bob"}
        desk.delete(mine)
        assert pull(lake, desk)[0].extra["deleted"] == 1
        desk.drop_task(copy)
        summary, told = pull(lake, desk)
        assert (summary.extra["deleted"], summary.extra["gone"], told) == (0, 0, [])


def test_a_deleted_task_is_told_of_and_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 4)
        push_reviews(lake, new_run(), desk, TWO)
        said, silent, *_ = list_pushed(lake)
        for person in ("ada", "bob"):
            answer_as(desk, lake, said, person, "a")
        pull(lake, desk)
        for review in (said, silent):
            desk.drop_task(review["task_id"])
        desk.copy_task(desk.copy_task(list_pushed(lake)[2]["task_id"]))  # the count is the same
        summary, told = pull(lake, desk)
        assert (summary.extra["deleted"], summary.extra["gone"]) == (2, 2)
        assert "2 tasks of project 1" in told[0] and "were deleted at the desk" in told[0]
        assert pull(lake, desk, full=True)[1] == []
        queued = find_reviews(lake, "status = 'queued'")
        assert set(queued["pair_id"]) == {said["pair_id"], silent["pair_id"]}
        assert set(queued["overlap"]) == {2}
        push_reviews(lake, new_run(), desk, TWO)
        pairs = [row["pair_id"] for row in list_pushed(lake)]
        assert len(pairs) == len(set(pairs)) == 4  # no gap, and none twice
        shown = desk.ask("SELECT count(DISTINCT review_id) FROM tasks")
        assert shown == [(4,)] and review_status(lake)["queued"] == 0


@pytest.mark.parametrize("lost", ["person", "unique_id", "updated_at"])
def test_a_missing_field_is_a_quarantined_row_and_takes_nothing_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 2)
        push_reviews(lake, new_run(), desk)
        first, second = list_pushed(lake)
        answer_as(desk, lake, first, "ada", "a")
        pull(lake, desk)
        answer_as(desk, lake, second, "ada", "a")
        real = desk.pull_annotations

        def lose(*args: Any, **more: Any) -> Any:
            pulled = real(*args, **more)
            change = {"problem": NO_TIME, "answer": None} if lost == "updated_at" else {lost: ""}
            return replace(pulled, annotations=[replace(a, **change) for a in pulled.annotations])

        with monkeypatch.context() as patch:
            patch.setattr(desk, "pull_annotations", lose)
            for number in range(2):
                summary, _ = pull(lake, desk, full=True)
                assert (summary.rows_in, summary.kept) == (2, 0)
                assert sum(summary.quarantined.values()) == 2
                # without its id nobody can tell which one it is
                assert summary.extra["deleted"] == int(lost == "unique_id" and not number)
        pull(lake, desk, full=True)
        assert len(list_counted(lake)) == 2


def test_a_pair_that_has_left_the_lake_is_quarantined_until_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 2)
        push_reviews(lake, new_run(), desk)
        first, second = list_pushed(lake)
        mine = answer_as(desk, lake, first, "ada", "a")
        answer_as(desk, lake, second, "ada", "a")
        pull(lake, desk)
        left = lake.query("FROM responses WHERE response_id = ?", [first["response_a"]])
        lake._cursor().execute("DELETE FROM responses WHERE response_id = ?", [first["response_a"]])
        desk.revise(mine, choice="tie", strength=0)
        for full in (False, True):
            summary, told = pull(lake, desk, full=full)
            assert summary.quarantined == {"the pair has left the lake": 1}
            assert (summary.extra["new"], bool(told)) == (0, not full)
        lake.append({"responses": left.drop("run_id", "created_at")}, run=new_run(), stage="test")
        assert pull(lake, desk, full=True)[0].extra["new"] == 1
        assert [p_a for _, p_a in list_counted(lake)] == [0.5, 1.0]
