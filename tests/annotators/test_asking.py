"""Reading what a model wrote: tolerant of how, never of what."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.asking import Unreadable, read_choice, read_json

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
    ("A", "A"), (" b.\n", "B"), ("**B**", "B"), ("(A)", "A"), ("I think so. [[B]]", "B"),
    ("[[A]] at first, then [[B]]", "B"), ("Verdict: A", "A"), ("The better answer is B.", "B"),
    ("My choice is **A**", "A"),
])  # fmt: skip
def test_a_choice_is_read_from_the_forms_models_write(text: str, choice: str) -> None:
    assert read_choice(text, ("A", "B")) == choice


@pytest.mark.parametrize("text", ["", "both", "A or B", "An apple", "C", "answer"])
def test_no_choice_or_no_telling_which_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        read_choice(text, ("A", "B"))
