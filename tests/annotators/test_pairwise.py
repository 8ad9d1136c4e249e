"""The pairwise judge: both orders, one probability, and nothing made of an unreadable answer."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.pairwise import (
    CHOICES,
    ORDERS,
    PairwiseJudge,
    TemplateBroken,
    load_template,
    read_verdict,
    render_prompt,
)
from engines.assets import find_asset
from engines.chat import ChatResult
from engines.models import ResolvedModel
from schemas.recipe import ModelSpec

TEMPLATE = "{{ prompt }}\nA: {{ first }}\nB: {{ second }}\n"
SPEC = ModelSpec(model="stub", url="http://localhost/v1")


def make_judge(template: str = TEMPLATE, revision: str = "r1") -> PairwiseJudge:
    return PairwiseJudge(ResolvedModel("stub", revision, SPEC), template)


def answer(text: str, **logprobs: float) -> ChatResult:
    return ChatResult("r", text, first_logprobs=logprobs or None)


logprob = st.floats(-50, 0)


@given(logprob, logprob)
def test_the_two_orders_mirror_each_other(l_a: float, l_b: float) -> None:
    """A judge that prefers the same response, not the same place, says the same in both orders."""
    shown_first = read_verdict(answer("A", A=l_a, B=l_b), "ab").p_a
    shown_second = read_verdict(answer("B", A=l_b, B=l_a), "ba").p_a
    assert shown_first is not None and shown_second is not None
    assert 0 <= shown_first <= 1
    assert math.isclose(shown_first, shown_second, abs_tol=1e-12)
    assert math.isclose(shown_first, 1 / (1 + math.exp(l_b - l_a)), abs_tol=1e-12)


@given(logprob, logprob, st.sampled_from(CHOICES))
def test_a_favourite_place_averages_to_no_opinion(l_a: float, l_b: float, letter: str) -> None:
    said = [read_verdict(answer(letter, A=l_a, B=l_b), order).p_a for order in ORDERS]
    assert math.isclose(sum(p for p in said if p is not None) / 2, 0.5)


def test_spellings_of_a_letter_share_its_mass_and_other_tokens_have_none() -> None:
    logprobs = {" A": math.log(0.3), "A": math.log(0.3), "B": math.log(0.2), "The": math.log(0.2)}
    result = ChatResult("r", " A\n", first_logprobs=logprobs)
    assert read_verdict(result, "ab").p_a == pytest.approx(0.75)
    assert read_verdict(result, "ba").p_a == pytest.approx(0.25)


@pytest.mark.parametrize(("letter", "order", "p_a"), [
    ("A", "ab", 1.0), ("A", "ba", 0.0), ("B", "ab", 0.0), ("B", "ba", 1.0),
])  # fmt: skip
def test_without_log_probabilities_the_letter_counts(letter: str, order: str, p_a: float) -> None:
    assert read_verdict(answer(letter), order).p_a == p_a
    # two letters that both underflow say nothing further
    assert read_verdict(answer(letter, A=-9999.0, B=-9999.0), order).p_a == p_a


@given(st.text(max_size=200).filter(lambda text: text.strip() not in CHOICES))
def test_an_answer_that_is_neither_letter_is_unscored(text: str) -> None:
    verdict = read_verdict(ChatResult("r", text, first_logprobs={"A": -0.1, "B": -2.0}), "ab")
    assert verdict.p_a is None
    assert verdict.reason is not None and verdict.reason.startswith("neither A nor B")


def test_each_order_shows_the_pair_its_own_way_round() -> None:
    judge = make_judge()
    texts = [
        judge.make_request("Q {{ 7 * 7 }}", "one", "two", order).messages[0]["content"]
        for order in ORDERS
    ]
    assert texts == ["Q {{ 7 * 7 }}\nA: one\nB: two", "Q {{ 7 * 7 }}\nA: two\nB: one"]
    assert judge.make_request("q", "one", "two", "ab").choices == CHOICES


def test_a_request_id_depends_on_everything_that_can_change_the_answer() -> None:
    def ask(judge: PairwiseJudge, first: str = "x", order: str = "ab") -> str:
        return judge.make_request("q", first, "x", order).request_id

    ids = [
        ask(make_judge()),
        ask(make_judge(), order="ba"),  # the same text is shown, and yet another question
        ask(make_judge(), first="y"),
        ask(make_judge("{# renders the same #}" + TEMPLATE)),
        ask(make_judge(revision="r2")),
    ]
    assert len(set(ids)) == len(ids)
    assert ask(make_judge()) == ids[0]


def test_another_template_or_other_weights_are_another_annotator() -> None:
    judges = [make_judge(), make_judge(TEMPLATE + "!"), make_judge(revision="r2")]
    assert len({judge.annotator for judge in judges}) == 3


def test_the_template_that_ships_is_usable() -> None:
    text = load_template(find_asset("judges/pairwise.jinja"))
    content = make_judge(text).make_request("the question", "one", "two", "ba").messages[0]
    assert content["content"].index("two") < content["content"].index("one")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{{ prompt }} {{ first }}", r"never shows \{\{ second \}\}"),
        ("{{ first }} {{ second }}", r"never shows \{\{ prompt \}\}"),
        ("{{ prompt }} {{ first }} {{ second }} {{ rubric }}", "rubric"),
        ("{{ prompt }} {{ first }} {{ second", "end of"),
        ("{% if prompt %}{{ first }} {{ second }}", "endif|end of"),
    ],
)
def test_a_broken_template_is_named_with_what_is_wrong(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "broken.jinja"
    file.write_text(text)
    with pytest.raises(TemplateBroken, match=why) as caught:
        load_template(file)
    assert "broken.jinja" in str(caught.value)


def test_a_conversation_shows_its_roles_and_a_lone_question_does_not() -> None:
    question = {"role": "user", "content": "Why?"}
    assert render_prompt([question]) == "Why?"
    conversation = [{"role": "system", "content": "Be brief."}, question]
    assert render_prompt(conversation) == "System: Be brief.\n\nUser: Why?"
