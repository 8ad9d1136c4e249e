"""Answers come back once, revisions and deletions with them, in whatever order they are seen."""

from __future__ import annotations

import json
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators.desk import Held, Pulled
from pipelines.label.people.answers import DELETED
from pipelines.label.people.counting import keep_counted, read_details, take_standing
from pipelines.label.people.pulling import pull_reviews
from pipelines.label.people.pushing import push_reviews
from pipelines.label.people.resolving import find_answers
from pipelines.label.people.reviews import find_reviews
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from schemas.recipe import ReviewSpec
from tests.pipelines.label.people.fake_desk import FakeDesk
from tests.pipelines.label.people.people_lake import answer_as, fill_lake, list_pushed, open_desk

STANDING = ("annotator", "response_a", "response_b", "criterion", "p_a", "valid", "annotation",
            "updated_at", "review_id")  # fmt: skip


def find_people(lake: Lake) -> pl.DataFrame:
    return lake.query("FROM judgments WHERE starts_with(annotator, 'person-') ORDER BY judgment_id")


def list_standing(lake: Lake) -> list[tuple[Any, ...]]:
    """What stands of everything that people said."""
    rows = take_standing(read_details(find_people(lake)))
    return sorted(rows.select(STANDING).iter_rows(), key=str)


def test_an_answer_comes_back_once_with_its_side_turned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 6)
        push_reviews(lake, new_run(), desk)
        first, second, third, fourth, *_ = list_pushed(lake)
        desk.submit(first["review_id"], "ada", choice="left", strength=2, tools=["search"],
                    ratings={"clarity": -1})  # fmt: skip
        desk.submit(second["review_id"], "ada", choice="tie", strength=0)
        desk.submit(third["review_id"], "ada", choice=None, undecided=True)
        desk.submit(fourth["review_id"], "ada", cancelled=True, choice=None)
        summary = pull_reviews(lake, new_run(), desk)
        assert (summary.rows_in, summary.kept) == (4, 4)
        assert (summary.extra["new"], summary.extra["invalid"]) == (4, 2)
        assert summary.extra["set_aside"] == {"skipped": 1}
        rows = {(r["response_a"], r["criterion"]): r for r in find_people(lake).to_dicts()}
        preference = rows[first["response_a"], None]
        sign = 1 if first["left"] == "a" else -1
        assert preference["p_a"] == (1.0 if sign == 1 else 0.0)
        detail = json.loads(preference["detail"])
        assert (detail["strength"], detail["tools"]) == (2 * sign, ["search"])
        assert (detail["batch"], detail["review_id"]) == (first["batch_id"], first["review_id"])
        assert rows[first["response_a"], "clarity"]["score"] == -1.0 * sign
        assert rows[first["response_a"], "clarity"]["seconds"] is None  # no minute counts twice
        assert rows[second["response_a"], None]["tie"]
        assert rows[third["response_a"], None]["reason"] == "undecided"
        assert rows[fourth["response_a"], None]["reason"] == "skipped"
        again = pull_reviews(lake, new_run(), desk)
        assert (again.extra["new"], again.extra["deleted"]) == (0, 0)
        assert len(lake.query("FROM runs WHERE stage = 'review_pull'")) == 1


def test_nothing_of_a_batch_labels_before_it_is_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 2)
        push_reviews(lake, new_run(), desk)
        for review in list_pushed(lake):
            answer_as(desk, lake, review, "ada", "a")
        pull_reviews(lake, new_run(), desk)
        assert len(find_people(lake)) == 2
        assert keep_counted(lake.query("FROM judgments")).is_empty()


def test_edits_are_revisions_and_deletions_tombstones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 3)
        push_reviews(lake, new_run(), desk)
        review, other, _ = list_pushed(lake)
        kept = answer_as(desk, lake, other, "ada", "a")
        mine = answer_as(desk, lake, review, "ada", "a")

        def pull() -> tuple[int, int]:
            extra = pull_reviews(lake, new_run(), desk).extra
            return extra["new"], extra["deleted"]

        def said() -> list[float | None]:
            rows = find_answers(lake).filter(pl.col("review_id") == review["review_id"])
            return rows.filter(pl.col("set_aside").is_null())["p_a"].to_list()

        assert pull() == (2, 0) and said() == [1.0]
        desk.revise(mine, choice="left" if review["left"] == "b" else "right")
        assert pull() == (1, 0) and said() == [0.0]
        later = answer_as(desk, lake, review, "ada", "tie")  # a second one by the same person
        assert pull() == (1, 0) and said() == [0.5]
        desk.delete(later)
        assert pull() == (1, 1) and said() == [0.0]  # what was said before stands again
        desk.delete(mine)
        assert pull() == (1, 1) and said() == []
        assert pull() == (0, 0)
        gone = find_people(lake).filter(reason=DELETED)
        assert len(gone) == 2 and not gone["valid"].any() and gone["p_a"].null_count() == 2

        empty = Pulled([], frozenset(), frozenset(), True, frozenset(), Held(None, 0, 0))
        with monkeypatch.context() as patch:  # the desk is set back, and forward again
            patch.setattr(desk, "pull_annotations", lambda *_, **__: empty)
            assert pull_reviews(lake, new_run(), desk, full=True).extra["deleted"] == 1
        full = pull_reviews(lake, new_run(), desk, full=True)
        assert (full.extra["new"], full.extra["deleted"]) == (1, 0)
        (row,) = [r for r in list_standing(lake) if r[6] == f"annotation-{kept}"]
        assert row[4] == 1.0
        assert len(find_people(lake)) == 2 + 1 + 1 + 2 + 2  # all of it is still there


def test_the_extra_ones_are_set_aside_by_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 1)
        push_reviews(lake, new_run(), desk, ReviewSpec(overlap=2))
        (review,) = list_pushed(lake)
        for person, side in (("ada", "a"), ("bob", "b"), ("cy", "a"), ("ada", "b")):
            answer_as(desk, lake, review, person, side)
        summary = pull_reviews(lake, new_run(), desk)
        assert summary.extra["set_aside"] == {"beyond_overlap": 1, "repeated": 1}
        counted = find_answers(lake).filter(pl.col("set_aside").is_null())
        # Ada was among the first two, and her last word counts
        assert dict(counted.select("annotator", "p_a").iter_rows()) == {
            "person-ada": 0.0,
            "person-bob": 0.0,
        }
        assert lake.query("FROM reviews WHERE status = 'answered'")["review_id"].to_list() == [
            review["review_id"]
        ]


def test_what_cannot_be_used_is_quarantined_and_the_rest_comes_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 3)
        push_reviews(lake, new_run(), desk)
        first, second, third = list_pushed(lake)
        desk.ask(
            "INSERT INTO tasks (project, review_id, data, updated) VALUES (1, 'x', '{}', ?)",
            desk.tick(),
        )
        desk.submit("x", "ada", choice="left", strength=1)
        for review in (first, second, third):
            answer_as(desk, lake, review, "ada", "a")
        real = desk.pull_annotations

        def pull_faulty(*args: Any, **more: Any) -> Pulled:
            pulled = real(*args, **more)
            broken = [
                replace(a, person="") if a.review_id == second["review_id"] else a
                for a in pulled.annotations
            ]
            return replace(pulled, annotations=broken)

        monkeypatch.setattr(desk, "pull_annotations", pull_faulty)
        monkeypatch.setattr(
            "pipelines.label.people.reading._find_lost", lambda *_: {third["review_id"]}
        )
        for _ in range(2):
            summary = pull_reviews(lake, new_run(), desk, full=True)
            assert (summary.rows_in, summary.kept) == (4, 1)
            assert summary.quarantined == {
                "the task is of no review in this lake": 1,
                "the annotation has no person": 1,
                "the pair has left the lake": 1,
            }
        assert len(lake.query("FROM quarantine")) == 3
        assert len(find_people(lake)) == 1


def test_a_project_that_is_gone_stops_neither_the_others_nor_silently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 10)
        push_reviews(lake, new_run(), desk, ReviewSpec(minutes=2), title="One")
        push_reviews(lake, new_run(), desk, title="Two")
        lost, kept = list_pushed(lake)[0], None
        kept = next(r for r in list_pushed(lake) if r["project_id"] != lost["project_id"])
        answer_as(desk, lake, kept, "ada", "a")
        desk.ask("DELETE FROM projects WHERE id = ?", lost["project_id"])
        told: list[str] = []
        assert pull_reviews(lake, new_run(tell=told.append), desk).extra["new"] == 1
        assert f"project {lost['project_id']} (batch {lost['batch_id'][:12]})" in told[0]
        desk.ask("DELETE FROM projects")
        pull_reviews(lake, new_run(tell=told.append), desk)
        pull_reviews(lake, new_run(tell=told.append), desk)
        assert len(told) == 2  # each is told of once
        assert len(find_people(lake)) == 1  # nothing was taken back


OFTEN = ["submit", "revise", "delete", "pull", "pull_part", "pull_full"]
FAULTS = ["odd", "nobody", "copy", "edit", "restore", "drop", "clock"]
EVENTS = st.lists(
    st.tuples(
        st.sampled_from([*OFTEN, *FAULTS]),
        st.integers(0, 7),
        st.sampled_from(["ada", "bob", "cy"]),
        st.sampled_from(["a", "b", "tie", None]),
    ),
    min_size=5,
    max_size=30,
)


class Shuffled(FakeDesk):
    """Shows annotations in random order, some of them twice."""

    rng = random.Random(0)
    step = 1

    def pull_annotations(self, *args: Any, **more: Any) -> Pulled:
        pulled = super().pull_annotations(*args, **more)
        shown = [*pulled.annotations[:: self.step], *pulled.annotations[:: 4 * self.step]]
        self.rng.shuffle(shown)
        return replace(pulled, annotations=shown)


def break_something(desk: FakeDesk, kind: str, at: int, person: str, review_id: str) -> None:
    """One of the faults of a desk, of its people and of those who look after it."""
    tasks = [n for (n,) in desk.ask("SELECT id FROM tasks ORDER BY id")]
    task = tasks[at % len(tasks)]
    if kind == "odd":  # an answer that the task does not offer
        desk.submit(review_id, person, task=task, problem="a choice that the task does not offer")
    elif kind == "nobody":
        desk.submit(review_id, "", task=task, choice="left", strength=1)
    elif kind == "copy":
        copy = desk.copy_task(task)
        desk.submit(review_id, person, task=copy, choice="left", strength=1)
    elif kind == "edit":
        desk.edit_task(task, prompt="What nobody pushed?")
        desk.edit_task(tasks[at // 2], review_id=review_id)
    elif kind == "restore":
        for edited in tasks:
            desk.edit_task(edited)
    elif kind == "drop" and len(tasks) > 1:
        desk.drop_task(task)
    elif kind == "clock":
        desk.set_clock((at - 4) * 20)


@given(EVENTS, st.integers(0, 2**31))
@settings(max_examples=4)
def test_whatever_the_pulls_saw_and_in_whatever_order_they_come_to_the_same(
    events: list[tuple[str, int, str, str | None]], seed: int
) -> None:
    """One lake pulls between all events and faults, another once at the end: the same answers
    stand, and the same annotations and tasks are known to be unusable."""
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        folder = Path(place)
        desk = Shuffled(":memory:")
        desk.rng = random.Random(seed)
        for module in ("pushing", "pulling"):
            patch.setattr(f"pipelines.label.people.{module}.at_desk", desk)
        with open_lake(folder / "often") as often, open_lake(folder / "once") as once:
            for lake in (often, once):
                fill_lake(lake, 8)
                push_reviews(lake, new_run(), desk, ReviewSpec(overlap=2))
            reviews = list_pushed(often)
            assert [r["review_id"] for r in reviews] == [r["review_id"] for r in list_pushed(once)]
            for kind, at, person, side in events:
                ids = [n for (n,) in desk.ask("SELECT id FROM annotations ORDER BY id")]
                if kind == "submit":
                    if desk.ask(
                        "SELECT 1 FROM tasks WHERE review_id = ?", reviews[at]["review_id"]
                    ):
                        answer_as(desk, often, reviews[at], person, side)
                elif kind == "pull":
                    pull_reviews(often, new_run(), desk)
                elif kind == "pull_full":
                    pull_reviews(often, new_run(), desk, full=True)
                elif ids and kind == "revise":
                    desk.revise(ids[at % len(ids)], choice="left", strength=at % 3)
                elif ids and kind == "delete":
                    desk.delete(ids[at % len(ids)])
                elif kind in FAULTS:
                    break_something(desk, kind, at, person, reviews[at]["review_id"])
                elif kind == "pull_part":  # a desk that for a moment shows half of what there is
                    desk.step = 2
                    pull_reviews(often, new_run(), desk, full=True)
                    desk.step = 1
            pull_reviews(once, new_run(), desk)
            pull_reviews(often, new_run(), desk, full=True)
            assert list_standing(often) == list_standing(once)
            columns = ("annotation", "criterion", "set_aside")
            resolved = [
                sorted(find_answers(lake).select(columns).iter_rows(), key=str)
                for lake in (often, once)
            ]
            assert resolved[0] == resolved[1]
            now = {row["quarantine_id"] for row in once.query("FROM quarantine").to_dicts()}
            assert now <= {
                row["quarantine_id"] for row in often.query("FROM quarantine").to_dicts()
            }
            gone = [set(find_reviews(x, "status = 'gone'")["review_id"]) for x in (often, once)]
            assert gone[0] == gone[1]
            size = len(find_people(often))
            for full in (False, True):
                assert pull_reviews(often, new_run(), desk, full=full).extra["new"] == 0
            assert len(find_people(often)) == size
