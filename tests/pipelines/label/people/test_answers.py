"""Annotations of every question as rows of judgments, and which of people's judgments count."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.desk import Annotation
from pipelines.label.people.answers import make_judgments, turn_over, write_time
from pipelines.label.people.counting import keep_counted, read_details, take_latest
from pipelines.lake.catalogue import open_lake
from pipelines.lake.run import new_run
from tests.pipelines.label.people.fake_desk import EPOCH

REVIEW = {
    "review_id": "r", "batch_id": "batch", "prompt_id": "p", "pair_id": "x", "left": None,
    "response_a": "a", "response_b": None, "responses": None,
}  # fmt: skip


def annotate(question: str, answer: dict[str, Any] | None, **changes: Any) -> Annotation:
    given: dict[str, Any] = {
        "review_id": "r", "task_id": 1, "unique_id": "u", "created_at": EPOCH,
        "updated_at": EPOCH, "person": "person-ada", "question": question, "answer": answer,
        "problem": None, "comment": "why", "seconds": 9.0, "cancelled": False, "raw": "{}",
        **changes,
    }  # fmt: skip
    return Annotation(**given)


def read(question: str, answer: dict[str, Any] | None, **review: Any) -> list[dict[str, Any]]:
    made = make_judgments(annotate(question, answer), {**REVIEW, "question": question, **review})
    assert len({row["judgment_id"] for row in made}) == len(made)
    assert [row["seconds"] for row in made] == [9.0] + [None] * (len(made) - 1)
    return made


def brief(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["criterion"], row["score"], row["reason"]) for row in rows]


@pytest.mark.parametrize(
    ("question", "answer", "said"),
    [
        ("correctness", {"correct": True}, [("correct", 1.0, None)]),
        ("correctness", {"correct": False}, [("correct", 0.0, None)]),
        ("correctness", {"correct": None, "undecided": True}, [("correct", None, "undecided")]),
        ("first_wrong_step", {"index": 2}, [("first_wrong_step", 2.0, None)]),
        ("first_wrong_step", {"index": None}, [("first_wrong_step", -1.0, None)]),
        ("first_wrong_step", {"index": None, "undecided": True},
         [("first_wrong_step", None, "undecided")]),
        ("spans", {"spans": []}, [("spans", 0.0, None)]),
        ("spans", {"spans": [], "undecided": True}, [("spans", None, "undecided")]),
        ("preference", {"choice": None, "undecided": True}, [(None, None, "undecided")]),
        ("preference", {"choice": None}, [(None, None, "no answer was given")]),
        ("preference", None, [(None, None, "no answer was given")]),
        ("ranking", {"order": [0, 0]}, [(None, None, "no answer was given")]),
    ],
)  # fmt: skip
def test_an_answer_becomes_what_it_says(
    question: str, answer: dict[str, Any] | None, said: list[tuple[Any, ...]]
) -> None:
    assert brief(read(question, answer)) == said


def test_each_kind_of_span_is_a_row_with_its_places() -> None:
    spans = [
        {"start": 9, "end": 12, "label": "style", "text": "ugh"},
        {"start": 4, "end": 6, "label": "fact", "text": "no"},
        {"start": 0, "end": 2, "label": "fact", "text": "so"},
    ]
    rows = read("spans", {"spans": spans})
    assert brief(rows) == [
        ("spans", 3.0, None), ("span:fact", 2.0, None), ("span:style", 1.0, None),
    ]  # fmt: skip
    assert json.loads(rows[1]["detail"])["spans"] == [[0, 2, "so"], [4, 6, "no"]]


def test_a_ranking_is_a_preference_for_each_two() -> None:
    shown = ["c", "a", "b"]
    rows = read("ranking", {"order": [1, 0, 2], "ranks": [2, 1, 2]}, responses=shown)
    said = {(r["response_a"], r["response_b"]): (r["p_a"], r["tie"]) for r in rows}
    assert said == {("a", "b"): (1.0, False), ("a", "c"): (1.0, False), ("b", "c"): (0.5, True)}
    assert json.loads(rows[0]["detail"])["rank"] == ["a", "c", "b"]


@pytest.mark.parametrize("left", ["a", "b"])
def test_sides_strength_and_ratings_are_turned_to_the_first_response(left: str) -> None:
    answer = {"choice": "left", "strength": 2, "ratings": {"clarity": -1, "truth": 2}}
    rows = read("preference", answer, left=left, response_b="b")
    sign = 1 if left == "a" else -1
    assert rows[0]["p_a"] == (1.0 if sign == 1 else 0.0)
    assert json.loads(rows[0]["detail"])["strength"] == 2 * sign
    assert brief(rows[1:]) == [("clarity", -1.0 * sign, None), ("truth", 2.0 * sign, None)]
    assert rows[0]["order"] == ("ab" if left == "a" else "ba")


def test_what_could_not_be_read_says_why() -> None:
    faulty = annotate("preference", None, problem="the task was edited at the desk")
    (row,) = make_judgments(faulty, {**REVIEW, "question": "preference", "response_b": "b"})
    assert (row["valid"], row["reason"]) == (False, "the task was edited at the desk")


@given(st.integers(0, 10**9), st.integers(-12, 12), st.integers(0, 10**9), st.integers(-12, 12))
def test_the_order_of_written_times_is_the_order_of_times(
    first: int, zone: int, second: int, other: int
) -> None:
    times = [
        (EPOCH + timedelta(microseconds=n * 997)).astimezone(timezone_of(hours))
        for n, hours in ((first, zone), (second, other))
    ]
    assert (write_time(times[0]) < write_time(times[1])) == (times[0] < times[1])


def timezone_of(hours: int) -> Any:
    from datetime import timezone

    return timezone(timedelta(hours=hours))


def test_an_annotation_that_went_and_came_back_has_a_row_each_time() -> None:
    review = {**REVIEW, "question": "correctness"}
    (row,) = make_judgments(annotate("correctness", {"correct": True}), review)
    gone = turn_over(row, review, 1, deleted=True)
    (again,) = make_judgments(annotate("correctness", {"correct": True}), review, 2)
    gone_again = turn_over(again, review, 3, deleted=True)
    rows = [row, gone, again, gone_again]
    assert len({r["judgment_id"] for r in rows}) == 4
    assert [r["valid"] for r in rows] == [True, False, True, False]
    assert again["score"] == 1.0 and gone["score"] is None
    for n in range(1, 5):
        (latest,) = take_latest(read_details(pl.DataFrame(rows[:n]))).to_dicts()
        assert latest["judgment_id"] == rows[n - 1]["judgment_id"]


def test_judgments_of_older_lakes_count_as_they_did(tmp_path: Path) -> None:
    """Without a batch a person's latest word counts, and a tombstone of that time takes it back."""

    def say(number: int, person: str, p_a: float | None, **detail: Any) -> dict[str, Any]:
        return {
            "judgment_id": f"j{number}", "annotator": person, "kind": "human", "prompt_id": "p",
            "response_a": "a", "response_b": "b", "p_a": p_a, "tie": False,
            "valid": p_a is not None, "sample_index": 0, "detail": json.dumps(detail),
        }  # fmt: skip

    early, late = (datetime(2030, 1, day, tzinfo=UTC) for day in (1, 2))
    with open_lake(tmp_path / "lake") as lake:
        for rows in (
            [say(1, "person-x", 1.0, annotation="1", updated_at=early.isoformat())],
            [say(2, "person-x", 0.0, annotation="2", updated_at=late.isoformat())],
            [say(3, "person-y", 0.0, annotation="3", updated_at=early.isoformat())],
            [say(4, "person-y", None, deleted=True)],
            [say(5, "ann", 1.0)],
            [say(6, "people:b", 1.0), say(7, "import:pool/x", 0.0)],
            [say(8, "person-z", 1.0, annotation="8", updated_at=early.isoformat(), batch="b",
                 review_id="r", question="preference")],
        ):  # fmt: skip
            lake.append({"judgments": rows}, run=new_run(), stage="test")

        def count() -> dict[str, float | None]:
            kept = keep_counted(lake.query("FROM judgments"))
            return dict(kept.select("annotator", "p_a").sort("annotator").iter_rows())

        before = {"ann": 1.0, "import:pool/x": 0.0, "people:b": 1.0, "person-y": None}
        assert count() == {**before, "person-x": 0.0}
        # a pull since then has found the later annotation gone: what was said before stands again
        review = {"review_id": "r", "batch_id": None, "question": "preference"}
        gone = turn_over(
            say(2, "person-x", 0.0, annotation="2", updated_at=late.isoformat()), review,
            1, deleted=True,
        )  # fmt: skip
        lake.append({"judgments": [gone]}, run=new_run(), stage="test")
        assert count() == {**before, "person-x": 1.0}
