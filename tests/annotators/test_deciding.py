"""A yes or no: one reading of the decision token for every judge that asks for one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.asking import Unreadable
from annotators.deciding import ALTERNATIVES, YES_NO, make_decision, read_decision
from engines.chat import ChatResult
from tests.annotators.judging import MODEL


def answer(text: str, masses: dict[str, float] | None = None, cut: bool = False) -> ChatResult:
    logprobs = {token: math.log(mass) for token, mass in (masses or {}).items()}
    return ChatResult("r", text, "length" if cut else "stop", first_logprobs=logprobs or None)


def test_spellings_share_the_mass_of_their_word_and_other_tokens_have_none() -> None:
    masses = {"Yes": 0.2, " yes": 0.1, "YES": 0.1, "\nyes": 0.05, "no": 0.1, " No.": 0.05,
              "Not": 0.2, "yesterday": 0.1, "None": 0.05, "": 0.05}  # fmt: skip
    assert read_decision(answer("Yes", masses)) == pytest.approx(0.45 / 0.6)
    assert read_decision(answer("no", masses)) == pytest.approx(0.45 / 0.6)


@pytest.mark.parametrize(
    ("text", "masses", "p"),
    [
        ("Yes", {"Yes": 0.3, " yes": 0.3, "Y": 0.1, "No": 0.1, "Maybe": 0.2}, 7 / 8),
        ("no.", {"No": 0.3, "n": 0.1, "Yes": 0.1}, 0.2),
        ("No, it is not.", {"No": 0.3, "Yes": 0.1}, 0.25),
        ("No", {"Sure": 0.9}, 0.0),
    ],
)
def test_a_decision_is_the_share_of_yes(text: str, masses: dict[str, float], p: float) -> None:
    assert read_decision(answer(text, masses)) == pytest.approx(p)


@pytest.mark.parametrize(
    ("text", "p"),
    [("Yes", 1.0), ("No.", 0.0), (" **yes**", 1.0), ("No, it is wrong.", 0.0), ("[[Yes]]", 1.0),
     ("Yes\nThe candidate is right.", 1.0), ("Let me see. My verdict is: No", 0.0),
     ("Final answer: **Yes**", 1.0)],
)  # fmt: skip
def test_without_log_probabilities_of_the_word_it_counts_whole(text: str, p: float) -> None:
    assert read_decision(answer(text)) == p
    assert read_decision(answer(text, {"The": 0.5, "Let": 0.4})) == p
    underflown = {"Yes": -9999.0, "No": -9999.0}
    assert read_decision(ChatResult("r", text, first_logprobs=underflown)) == p


@pytest.mark.parametrize(
    ("text", "first"), [("My verdict is: No", "My"), ("**No**", "**"), ("Yes. [[No]]", "Yes")]
)
def test_a_first_token_that_is_not_the_verdict_says_nothing_about_it(text: str, first: str) -> None:
    assert read_decision(answer(text, {first: 0.9, "Yes": 0.05, "No": 0.001})) == 0.0


@pytest.mark.parametrize(
    "text",
    ["", "maybe", "Yes/No", "Yes or No", "Yes, or rather: No", "No doubt the candidate", "Nothing",
     "not sure", "yesterday"],
)  # fmt: skip
def test_an_answer_that_is_neither_or_both_is_unscored(text: str) -> None:
    with pytest.raises(Unreadable):
        read_decision(answer(text, {"Yes": 0.9, "No": 0.1}))


def test_what_is_cut_off_is_the_word_alone_or_unscored() -> None:
    assert read_decision(answer("Yes", {"Yes": 0.6, "No": 0.2}, cut=True)) == pytest.approx(0.75)
    for text in ("Yes, the candidate is", "No. The", "My verdict is: No", "Yes, but"):
        with pytest.raises(Unreadable):
            read_decision(answer(text, {"Yes": 0.6, "No": 0.2}, cut=True))


@given(st.text(alphabet=st.characters(exclude_characters="NnYy"), max_size=100))
def test_a_text_without_its_letters_is_no_verdict(text: str) -> None:
    with pytest.raises(Unreadable):
        read_decision(answer(text, {"Yes": 0.9}))


def test_the_request_asks_for_the_words_and_their_alternatives() -> None:
    messages = [{"role": "user", "content": "Is it?"}]
    request = make_decision(MODEL, messages, "t")
    assert (request.choices, request.top_logprobs) == (YES_NO, ALTERNATIVES)
    others = [make_decision(MODEL, messages, "u"), make_decision(MODEL, messages, "t", order="ab"),
              make_decision(MODEL, messages, "t", sample_index=1)]  # fmt: skip
    assert len({one.request_id for one in (request, *others)}) == 4
