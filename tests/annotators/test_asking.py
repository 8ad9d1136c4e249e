"""Reading what a model wrote: tolerant of how, never of what."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.asking import Unreadable, ask_verdict, make_request, read_choice, read_json
from engines.chat import ChatResult
from tests.annotators.judging import MODEL

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner,
                                                                max_size=3),
    max_leaves=8,
).filter(lambda value: isinstance(value, dict | list))  # fmt: skip
words = st.text(alphabet="abc .,:\n", max_size=30)


@given(values, words, words)
def test_json_is_found_as_it_stands_in_a_fence_or_amid_words(
    value: object, before: str, after: str
) -> None:
    text = json.dumps(value)
    for form in (text, f"{before}```json\n{text}\n```{after}", f"{before}{text}{after}"):
        assert read_json(form) == value


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a": "\\ud800"}', "", "no", '{"a": 1', "[1, 2", "12", '"text"', "{'a': 1}"],
)
def test_what_is_no_whole_json_container_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        read_json(text)


@pytest.mark.parametrize(("text", "choice"), [
    ("A", "A"), (" b.\n", "B"), ("**B**", "B"), ("(A)", "A"), ("`A`", "A"),
    ("I think so. [[B]]", "B"), ("Answer A is wrong, so: [[B]]", "B"), ("[[A]]. Yes, [[A]]", "A"),
    ("Verdict: A", "A"), ("The better answer is B.", "B"), ("the better answer is B", "B"),
    ("My choice is **A**", "A"), ("**Verdict**: B, as it is complete.", "B"),
    ("A\n\nIt is complete.", "A"), ("It is complete.\n\n**A**", "A"),
])  # fmt: skip
def test_a_choice_is_read_from_the_forms_models_write(text: str, choice: str) -> None:
    assert read_choice(text, ("A", "B")) == choice


@pytest.mark.parametrize("text", [
    "", "both", "A or B", "An apple", "C", "answer", "[[C]]", "[[A]] at first, then [[B]]",
    "Answer A", "Answer A is wrong because", "Answer A and Answer B are equal",
    "Verdict: A and B are equal", "Answer B is better than answer A.", "Answer: A or B",
    "Neither answer A nor B", "The better answer is A tie", "The worse answer is A.",
    "The better answer is not A.", "Verdict: A if it is so", "A\nB", "A better one: both",
])  # fmt: skip
def test_no_choice_or_no_telling_which_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        read_choice(text, ("A", "B"))


prose = st.text(alphabet="abe .:\n*", max_size=30)


@given(prose, prose, prose, st.permutations(["A", "B"]))
def test_a_sentence_that_names_both_choices_decides_for_neither(
    before: str, between: str, after: str, names: list[str]
) -> None:
    first, second = names
    with pytest.raises(Unreadable, match="no telling which of A, B"):
        read_choice(f"{before} {first} {between} {second} {after}", ("A", "B"))


@given(prose, st.sampled_from("AB"), prose)
def test_what_was_cut_off_is_the_choice_alone_or_unreadable(
    before: str, choice: str, after: str
) -> None:
    text = f"{before}{choice}{after}"
    if text.strip() == choice:
        assert read_choice(text, ("A", "B"), cut=True) == choice
    else:
        with pytest.raises(Unreadable):
            read_choice(text, ("A", "B"), cut=True)


def test_an_object_counts_before_a_list_and_the_last_of_either() -> None:
    scores = '{"1": {"score": -2}}'
    for text in (f"{scores}\nScale: [-2, -1, 0]", f"[-2, 0]\n```json\n{scores}\n```\n[1]"):
        assert read_json(text) == {"1": {"score": -2}}
    assert read_json('{"a": 1} and then {"b": 2}, see [3]') == {"b": 2}
    assert read_json('```\n{"a": 1}\n``` (not {"b": 2})') == {"a": 1}
    assert read_json("first [1], then [2]") == [2]


def test_a_verdict_comes_after_its_reasons_and_with_their_call() -> None:
    messages = [{"role": "user", "content": "Which?"}]
    thinking = make_request(MODEL, messages, {"max_tokens": 9})
    talk = ask_verdict(
        lambda talk: make_request(MODEL, talk, {}), messages, lambda result: result.text,
        thinking=thinking, question="So?",
    )  # fmt: skip
    assert next(talk) == [thinking]
    (asked,) = talk.send([ChatResult("1", "")])
    assert [m["content"] for m in asked.messages] == ["Which?", "(no reasons)", "So?"]
    with pytest.raises(StopIteration) as end:
        talk.send([ChatResult("2", "A")])
    said, critique = end.value.value
    assert (said.value, said.reason, critique) == ("A", None, "")
    assert [result.request_id for result in said.results] == ["1", "2"]
    assert len(messages) == 1


def test_reasons_that_fail_end_the_verdict() -> None:
    messages = [{"role": "user", "content": "Which?"}]
    talk = ask_verdict(
        lambda talk: make_request(MODEL, talk, {}), messages, lambda result: result.text,
        thinking=make_request(MODEL, messages, {}), question="So?",
    )  # fmt: skip
    next(talk)
    with pytest.raises(StopIteration) as end:
        talk.send([ChatResult("1", error="timeout")])
    said, critique = end.value.value
    assert (said.value, said.reason, critique) == (None, "call failed: timeout", None)
