"""Answers out of an annotation's results, and into a prediction's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.desk.answers import SPANS, Unreadable, read_answer, write_answer
from annotators.desk.projects import read_controls, read_interface
from annotators.desk.questions import QUESTIONS, render_config
from annotators.rubrics.rubric import Criterion
from tests.annotators.desk.test_desk_questions import make

TEXT = "Smile 😀\r\nand é: 2 + 2 = 5.\n\nSo it is."
CRITERIA = [Criterion("Safe, or so", "It is.", "core"), Criterion("Kind", "It is.", "core")]
TASKS = {
    "preference": make("preference", TEXT, "b"),
    "correctness": make("correctness", TEXT),
    "spans": make("spans", TEXT),
    "first_wrong_step": make("first_wrong_step", TEXT),
    "ranking": make("ranking", TEXT, "b", "c"),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = ("preference", "correctness", "spans", "verdict", "step", "rank_0", "rank_1", "rank_2",
         "tools", "criterion:Kind")  # fmt: skip


def choose(name: str, *values: Any) -> dict[str, Any]:
    """A result as the interface sends it, but with a `to_name` that it makes up."""
    return {"from_name": name, "to_name": "a,b", "type": "choices", "value": {"choices": values}}


def mark(start: Any, end: Any, label: str = "factual", **value: Any) -> dict[str, Any]:
    content = {"start": start, "end": end, "labels": [label], **value}
    return {"from_name": "spans", "to_name": "response", "type": "labels", "value": content}


def read(question: str, *results: dict[str, Any]) -> dict[str, Any]:
    listed = [
        {**r, "value": {k: list(v) if isinstance(v, tuple) else v for k, v in r["value"].items()}}
        for r in results
    ]
    return read_answer(question, TASKS[question], listed)


@st.composite
def answers(draw: st.DrawFn, question: str) -> dict[str, Any]:
    """Any answer that a person, or a judge, can give."""
    if question == "preference":
        choice, strength = draw(
            st.sampled_from([("left", 2), ("left", 1), ("tie", 0), ("right", 1), ("right", 2)])
            | st.just((None, None))
        )
        titles = st.sampled_from([c.title for c in CRITERIA])
        ratings = draw(st.dictionaries(titles, st.integers(-2, 2)))
        return {"choice": choice, "strength": strength, "ratings": ratings,
                "undecided": choice is None}  # fmt: skip
    if question == "correctness":
        correct = draw(st.sampled_from([True, False, None]))
        return {"correct": correct, "undecided": correct is None}
    if question == "first_wrong_step":
        index = draw(st.none() | st.integers(0, 1))
        return {"index": index, "undecided": index is None and draw(st.booleans())}
    ends = st.tuples(st.integers(0, len(TEXT)), st.integers(0, len(TEXT))).map(sorted)
    places = draw(st.lists(ends.filter(lambda p: p[0] < p[1]), max_size=4, unique_by=tuple))
    spans = [
        {"start": a, "end": b, "label": draw(st.sampled_from(["factual", "form"])),
         "text": TEXT[a:b]}
        for a, b in sorted(places)
    ]  # fmt: skip
    return {"spans": spans, "undecided": not spans and draw(st.booleans())}


@pytest.mark.parametrize("question", [q for q in QUESTIONS if q != "ranking"])
@given(data=st.data())
def test_what_is_written_reads_the_same_and_fits_the_config(
    question: str, data: st.DataObject
) -> None:
    answer = data.draw(answers(question))
    results = write_answer(question, TASKS[question], answer)
    assert read_answer(question, TASKS[question], results) == {**answer, "tools": []}
    criteria = CRITERIA if question == "preference" else ()
    interface = read_interface(render_config(question, criteria), question)
    assert interface.validate_prediction({"result": results}, return_errors=True) == []


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("preference", {"choice": "left", "strength": 3}),
        ("preference", {"choice": "Left!", "strength": 1}),
        ("correctness", {"correct": 1}),
        ("first_wrong_step", {"index": 2}),
        ("spans", {"spans": [{"start": 3, "end": 99, "label": "factual"}]}),
        ("ranking", {"ranks": [1, 2, 3]}),
    ],
)
def test_an_answer_that_the_task_does_not_offer_is_not_written(
    question: str, answer: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"no such answer|does not fit|no predictions"):
        write_answer(question, TASKS[question], answer)


def test_a_preference_is_read_with_its_ratings_and_tools() -> None:
    got = read(
        "preference", choose("preference", "right2"), choose("criterion:Kind", "-1"),
        choose("criterion:Safe, or so", "2"), choose("tools", "search", "code"),
    )  # fmt: skip
    assert got == {
        "choice": "right", "strength": 2, "undecided": False, "tools": ["search", "code"],
        "ratings": {"Kind": -1, "Safe, or so": 2},
    }  # fmt: skip
    older = read("preference", choose("preference", "left"))
    assert (older["choice"], older["strength"]) == ("left", None)


def test_a_ranking_may_hold_ties() -> None:
    got = read("ranking", *[choose(f"rank_{i}", r) for i, r in enumerate("212")])
    assert (got["ranks"], got["order"]) == ([2, 1, 2], [1, 0, 2])


def test_spans_are_characters_of_the_response() -> None:
    got = read(
        "spans",
        mark(16, 25, text="2 + 2 = 5"),
        mark(6, 12, text="😀\\n\\nand"),
        mark(6, 7, "form", text="😀"),
    )
    assert [(s["start"], s["label"], s["text"]) for s in got["spans"]] == [
        (6, "form", "😀"), (6, "factual", "😀\r\nand"), (16, "factual", "2 + 2 = 5"),
    ]  # fmt: skip
    assert read("spans", choose("verdict", "none")) == {
        "spans": [], "undecided": False, "tools": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("question", "results", "said"),
    [
        ("preference", [], "no answer"),
        ("preference", [choose("preference")], "no answer"),
        ("preference", [choose("other", "left1")], "an answer to 'other', which is not asked"),
        ("preference", [choose("tools", "search")], "no answer"),
        ("preference", [choose("preference", "left1", "right1")], "several"),
        ("preference", [choose("preference", "tie"), choose("preference", "tie")], "several"),
        ("preference", [choose("preference", "Left!")], "does not offer"),
        ("preference", [choose("preference", "tie"), choose("criterion:Kind", "9")], "not offer"),
        ("first_wrong_step", [choose("step", "2")], "does not offer"),
        ("ranking", [choose("rank_0", "1"), choose("rank_1", "2")], "no answer"),
        ("ranking", [choose(f"rank_{i}", "4") for i in range(3)], "does not offer"),
        ("spans", [], "no answer"),
        ("spans", [mark(0, 2), choose("verdict", "none")], "marks and a verdict"),
        ("spans", [mark(0, 3, text="Small")], "does not fit"),
        ("spans", [mark(0, 99)], "does not fit"),
        ("spans", [mark(0, 2, label="sarcasm")], "does not offer"),
        ("spans", [choose("errors", "form")], "an answer to 'errors', which is not asked"),
        ("spans", [mark(None, 2)], "without a place"),
        ("spans", [mark(0, 2, labels=None)], "without a place"),
    ],
)
def test_what_is_no_answer_is_told(question: str, results: list[Any], said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        read(question, *results)


@given(
    st.sampled_from([*QUESTIONS, "beauty"]),
    st.lists(
        st.fixed_dictionaries({}, optional={"from_name": st.sampled_from(NAMES), "value": JSON})
        | st.fixed_dictionaries(
            {
                "from_name": st.sampled_from(NAMES),
                "value": st.dictionaries(
                    st.sampled_from(["choices", "labels", "start", "end", "text"]), JSON
                ),
            }
        ),
        max_size=4,
    ),
)
def test_whatever_is_sent_is_an_answer_or_unreadable(
    question: str, results: list[dict[str, Any]]
) -> None:
    try:
        answer = read_answer(question, TASKS.get(question, {}), results)
    except Unreadable:
        return
    assert isinstance(answer["undecided"], bool)


def test_the_kinds_of_error_are_those_of_the_config() -> None:
    controls = read_controls(render_config("spans"), "spans")
    assert set(controls["spans"][1:]) == set(SPANS)
