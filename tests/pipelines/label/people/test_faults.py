"""What goes wrong at a desk: one message or a quarantined row each, and the next pull is right."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from annotators.desk import Desk
from annotators.desk.annotations import NO_TIME
from annotators.desk.answers import NOT_OFFERED
from pipelines.label.people.assessing import assess_batches
from pipelines.label.people.pulling import pull_reviews
from pipelines.label.people.pushing import push_reviews
from pipelines.label.people.releasing import NotReleased, release_batch
from pipelines.label.people.resolving import find_answers
from pipelines.label.people.reviews import find_reviews
from pipelines.label.people.status import list_batches, review_status
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from schemas.recipe import ReviewSpec
from tests.conftest import ROOT, run_here
from tests.pipelines.label.people.desk_server import serve_desk
from tests.pipelines.label.people.fake_desk import FakeDesk
from tests.pipelines.label.people.people_lake import answer_as, fill_lake, list_pushed, open_desk

TWO = ReviewSpec(overlap=2, min_alpha=-1)
PULL = """
import sys
from pipelines.label.people import pulling
from pipelines.lake.catalogue import open_lake
from pipelines.lake.run import new_run
from tests.pipelines.label.people.fake_desk import FakeDesk

folder = sys.argv[1]
pulling.at_desk = desk = FakeDesk(f"{folder}/desk.sqlite", pause=1.0)
with open_lake(f"{folder}/lake", create=False) as lake:
    print("ready", flush=True)
    sys.stdin.readline()
    print(pulling.pull_reviews(lake, new_run(), desk).extra["new"])
"""


def pull(lake: Lake, desk: Any, spec: ReviewSpec = TWO, **settings: Any) -> tuple[Any, list[str]]:
    """A pull and what follows from it; gives its summary and what people were told."""
    told: list[str] = []
    summary = pull_reviews(lake, new_run(tell=told.append), desk, **settings)
    assess_batches(lake, new_run(), spec)
    return summary, told


def list_counted(lake: Lake) -> list[tuple[Any, ...]]:
    """The answers that stand and count: annotation, p_a."""
    counted = find_answers(lake).filter(pl.col("set_aside").is_null() & pl.col("valid"))
    return sorted(counted.select("annotation", "p_a").iter_rows())


def find_batch_id(lake: Lake) -> str:
    return str(lake.query("FROM batches ORDER BY created_at")["batch_id"][0])


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


def test_two_processes_that_pull_at_once_bring_each_answer_once(tmp_path: Path) -> None:
    desk = FakeDesk(tmp_path / "desk.sqlite")
    with open_lake(tmp_path / "lake") as lake, pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.label.people.pushing.at_desk", desk)
        fill_lake(lake, 20)
        push_reviews(lake, new_run(), desk)
        for review in list_pushed(lake):
            answer_as(desk, lake, review, "ada", "a")
    pulls = [
        subprocess.Popen(
            [sys.executable, "-c", PULL, str(tmp_path)], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for _ in range(2)
    ]  # fmt: skip
    for process in pulls:
        assert process.stdout and process.stdout.readline() == "ready\n"
    heard = [""] * 2
    threads = [
        threading.Thread(target=lambda i=i, p=p: heard.__setitem__(i, p.communicate("\n")[0]))
        for i, p in enumerate(pulls)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(map(int, heard)) == [0, 20]
    with open_lake(tmp_path / "lake") as lake:
        assert len(lake.query("FROM judgments WHERE starts_with(annotator, 'person-')")) == 20
        assert len(lake.query("FROM runs WHERE stage = 'review_pull'")) == 1


@pytest.mark.parametrize("minutes", [-100, -10, 100])
def test_a_clock_of_the_desk_that_is_set_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 6)
        push_reviews(lake, new_run(), desk)
        for _ in range(150):
            desk.tick()
        first, second, third, fourth, *_ = list_pushed(lake)
        mine = answer_as(desk, lake, first, "ada", "a")
        pull(lake, desk)
        desk.set_clock(minutes)
        desk.revise(mine, choice="tie", strength=0)  # of an earlier time than what it replaces
        answer_as(desk, lake, second, "ada", "a")
        pull(lake, desk)
        assert [p_a for _, p_a in list_counted(lake)] == [0.5, 1.0]
        answer_as(desk, lake, third, "ada", "a")
        pull(lake, desk)
        assert len(list_counted(lake)) == 3
        for _ in range(200):  # past the time at which it was set
            desk.tick()
        answer_as(desk, lake, fourth, "ada", "a")
        pull(lake, desk)
        assert len(list_counted(lake)) == 4
        assert pull(lake, desk, full=True)[0].extra["new"] == 0


def test_what_was_said_in_the_second_of_the_last_pull_comes_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 2)
        push_reviews(lake, new_run(), desk)
        first, second = list_pushed(lake)
        answer_as(desk, lake, first, "ada", "a")
        pull(lake, desk)
        monkeypatch.setattr(desk, "tick", lambda: desk.ask("SELECT now FROM clock")[0][0])
        answer_as(desk, lake, second, "ada", "a")  # the clock has not moved
        assert pull(lake, desk)[0].extra["new"] == 1


def test_a_batch_that_nobody_finishes_is_released_as_far_as_it_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = ReviewSpec(overlap=3, min_alpha=-1)
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 5)
        push_reviews(lake, new_run(), desk, three)
        full, agreed, torn, single, _silent = list_pushed(lake)
        for review, sides in ((full, "aab"), (agreed, "aa"), (torn, "ab"), (single, "a")):
            for person, side in zip(("ada", "bob", "cy"), sides, strict=False):
                answer_as(desk, lake, review, person, side)
        pull(lake, desk, three)
        batch = find_batch_id(lake)
        assert find_reviews(lake, "status = 'queued'").is_empty()
        summary = release_batch(lake, new_run(), batch, "Mira", three)
        assert (summary.kept, summary.extra["waiting"]) == (1, 4)
        lenient = three.model_copy(update={"min_answers": 2})
        summary = release_batch(lake, new_run(), batch, "Mira", lenient)
        assert (summary.kept, summary.extra["waiting"]) == (1, 3)
        third = find_reviews(lake, "status = 'queued'").to_dicts()
        assert [(r["role"], r["pair_id"]) for r in third] == [("adjudication", torn["pair_id"])]
        lenient = three.model_copy(update={"min_answers": 1})
        summary = release_batch(lake, new_run(), batch, "Mira", lenient)
        assert (summary.kept, summary.extra["waiting"]) == (1, 2)  # that of nobody, and the torn


def test_what_somebody_who_has_left_did_not_answer_goes_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = ["ada@example.org", "bob@example.org", "cy@example.org"]
    spec = ReviewSpec(overlap=2, min_alpha=-1, per_person=True, people=people[:2])
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 4)
        push_reviews(lake, new_run(), desk, spec)
        tasks = list_pushed(lake)
        ada, bob = sorted({r["assignee"] for r in tasks}, key=lambda name: name)
        for review in tasks:
            if review["assignee"] == ada:
                answer_as(desk, lake, review, ada, "a")
        pull(lake, desk, spec)
        assert find_reviews(lake, "status = 'queued'").is_empty()
        stays = next(e for e in people if assign(e) == ada)
        left = spec.model_copy(update={"people": [stays, "cy@example.org"]})
        pull(lake, desk, left)
        assert len(find_reviews(lake, "status = 'queued'")) == 4
        push_reviews(lake, new_run(), desk, left)
        cy = assign("cy@example.org")
        again = [r for r in list_pushed(lake) if r["assignee"] == cy]
        assert len(again) == 4 and bob not in {r["assignee"] for r in again}
        for review in again:
            answer_as(desk, lake, review, cy, "a")
        pull(lake, desk, left)
        done = release_batch(lake, new_run(), find_batch_id(lake), "Mira", left)
        assert (done.kept, done.extra["waiting"]) == (4, 0)


def assign(email: str) -> str:
    from schemas.ids import make_id

    return f"assignee-{make_id('assignee', email)[:16]}"


@pytest.mark.parametrize("gold_rate", [0.0, 0.3])
def test_perfect_agreement_on_one_side_is_released_where_hidden_gold_vouches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gold_rate: float
) -> None:
    spec = ReviewSpec(overlap=2, gold_rate=gold_rate)
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        pairs = {pair["pair_id"]: pair for pair in fill_lake(lake, 8, gold=20)}
        for pair in list(pairs.values())[8:]:
            if pair["better"] == "b":  # known pairs of one side alone
                lake._cursor().execute(
                    "DELETE FROM judgments WHERE response_a = ?", [pair["response_a"]]
                )
        push_reviews(lake, new_run(), desk, spec)
        for review in list_pushed(lake):
            for person in ("ada", "bob"):
                answer_as(desk, lake, review, person, "a")
        pull(lake, desk, spec)
        batch = find_batch_id(lake)
        if gold_rate:
            assert release_batch(lake, new_run(), batch, "Mira", spec).kept == 8
        else:
            with pytest.raises(NotReleased, match=r"such perfect agreement.*review\.gold_rate"):
                release_batch(lake, new_run(), batch, "Mira", spec)
