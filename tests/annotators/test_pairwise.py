"""The pairwise judge: both orders, one probability, and nothing made of an unreadable answer."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.asking import Unreadable
from annotators.pairwise import CHOICES, PairwiseJudge, choose_orders, read_letter
from annotators.templates import load_template
from engines.assets import find_asset
from engines.chat import ChatRequest, ChatResult
from tests.annotators.judging import MODEL, SPEC, hold, make_item, show

TEMPLATE = "{{ prompt }}\nA: {{ first }}\nB: {{ second }}\n"
ITEM = make_item("one", "two")
LOOSE = replace(MODEL, spec=SPEC.model_copy(update={"structured": False}))
logprob = st.floats(-50, 0)


def make_judge(template: str = TEMPLATE, **settings: Any) -> PairwiseJudge:
    return PairwiseJudge(MODEL, template, **settings)


def answer(text: str, **logprobs: float) -> ChatResult:
    return ChatResult("r", text, first_logprobs=logprobs or None)


@given(logprob, logprob)
def test_the_probability_is_that_of_the_letter(l_a: float, l_b: float) -> None:
    p = read_letter(answer("A", A=l_a, B=l_b))
    assert 0 <= p <= 1
    assert math.isclose(p, 1 / (1 + math.exp(l_b - l_a)), abs_tol=1e-12)
    assert math.isclose(p, 1 - read_letter(answer("A", A=l_b, B=l_a)), abs_tol=1e-12)


@pytest.mark.parametrize("order", ["ab", "ba"])
@pytest.mark.parametrize("letter", CHOICES)
def test_the_chosen_response_is_the_one_that_the_judge_preferred(order: str, letter: str) -> None:
    """The four cases of shown order and verdict."""
    rows, asked = hold(make_judge(orders=order), ITEM, lambda _: letter)
    shown = show(asked[0])
    preferred = shown.partition(f"{letter}: ")[2].partition("\n")[0]
    assert len(rows) == 1 and rows[0]["order"] == order
    chosen = rows[0]["response_a" if rows[0]["p_a"] > 0.5 else "response_b"]
    assert dict(zip(ITEM.response_ids, ITEM.contents, strict=True))[chosen] == preferred


@given(logprob, logprob, st.sampled_from(CHOICES))
def test_a_favourite_place_averages_to_no_opinion(l_a: float, l_b: float, letter: str) -> None:
    def say(request: ChatRequest) -> ChatResult:
        return ChatResult(request.request_id, letter, first_logprobs={"A": l_a, "B": l_b})

    rows, _ = hold(make_judge(), ITEM, say)
    assert [row["order"] for row in rows] == ["ab", "ba"]
    assert math.isclose(sum(row["p_a"] for row in rows) / 2, 0.5)


def test_spellings_of_a_letter_share_its_mass_and_other_tokens_have_none() -> None:
    logprobs = {" A": math.log(0.3), "A": math.log(0.3), "B": math.log(0.2), "The": math.log(0.2)}
    assert read_letter(ChatResult("r", " A\n", first_logprobs=logprobs)) == pytest.approx(0.75)


def test_without_log_probabilities_of_the_letter_it_counts_whole() -> None:
    assert (read_letter(answer("A")), read_letter(answer("B"))) == (1.0, 0.0)
    assert read_letter(answer("B", A=-9999.0, B=-9999.0)) == 0.0  # both underflow
    assert read_letter(answer("The better answer is B.", A=-0.1, The=-0.2)) == 0.0


@given(st.text(alphabet=st.characters(exclude_characters="AaBb"), max_size=200))
def test_an_answer_that_is_neither_letter_is_unscored(text: str) -> None:
    with pytest.raises(Unreadable):
        read_letter(ChatResult("r", text, first_logprobs={"A": -0.1, "B": -2.0}))


@pytest.mark.parametrize("text", ["Answer A", "Answer A is wrong", "The better answer is A"])
def test_a_sentence_that_was_cut_off_is_no_verdict(text: str) -> None:
    """What comes next may turn it round."""

    def say(request: ChatRequest) -> ChatResult:
        return ChatResult(request.request_id, text, "length", tokens_out=2)

    rows, asked = hold(PairwiseJudge(LOOSE, TEMPLATE), ITEM, say)
    assert [(row["valid"], row["p_a"]) for row in rows] == [(False, None)] * 2
    assert all(row["reason"].startswith("truncated at 2 tokens: none of") for row in rows)
    assert len(asked) == 4


def test_a_server_that_cannot_constrain_has_room_for_what_is_promised_to_be_read() -> None:
    promised = ("[[A]]", "the better answer is A")
    for text in promised:
        rows, asked = hold(PairwiseJudge(LOOSE, TEMPLATE), ITEM, lambda _, text=text: text)
        assert [row["p_a"] for row in rows] == [1.0, 0.0]
        assert {request.choices for request in asked} == {None}
        assert all(request.sampling["max_tokens"] >= 2 * len(text.split()) for request in asked)


def test_an_unreadable_answer_is_sent_back_once_and_its_tokens_count() -> None:
    def mumble(request: ChatRequest) -> str:
        return "hm" if "ba" not in order_of(request) or len(request.messages) == 1 else "B"

    def order_of(request: ChatRequest) -> str:
        return "ab" if f"A: {ITEM.contents[0]}" in show(request) else "ba"

    (ab, ba), asked = hold(make_judge(), ITEM, mumble)
    assert len(asked) == 4
    assert (ab["valid"], ab["p_a"], ab["raw"], ab["tokens_in"]) == (False, None, "hm", 20)
    assert "none of A, B" in ab["reason"]
    assert (ba["valid"], ba["p_a"], ba["raw"], ba["tokens_in"]) == (True, 1.0, "B", 20)


def test_a_vote_is_k_letters_an_order_each_with_its_own_seed() -> None:
    judge = make_judge(mode="vote", k=3, temperature=0.7)
    rows, asked = hold(judge, ITEM, lambda request: CHOICES[request.sampling["seed"] % 2])
    assert sorted((row["order"], row["sample_index"]) for row in rows) == [
        (order, sample) for order in ("ab", "ba") for sample in range(3)
    ]
    assert {row["p_a"] for row in rows} <= {0.0, 1.0}
    assert len({request.sampling["seed"] for request in asked}) == 6
    assert hold(judge, ITEM, lambda request: CHOICES[request.sampling["seed"] % 2])[0] == rows


def test_reasons_come_first_and_are_kept() -> None:
    template = TEMPLATE + "{% if reason %}Compare.{% endif %}"
    judge = make_judge(template, mode="reason", orders="ab", max_tokens=99)
    rows, asked = hold(judge, ITEM, lambda r: "A" if r.choices else "The first is shorter.")
    assert [request.choices for request in asked] == [None, CHOICES]
    assert asked[0].sampling["max_tokens"] == 99
    assert asked[1].messages[1] == {"role": "assistant", "content": "The first is shorter."}
    assert (rows[0]["critique"], rows[0]["p_a"]) == ("The first is shorter.", 1.0)
    assert (rows[0]["tokens_in"], rows[0]["tokens_out"]) == (20, 4)


def test_what_is_judged_is_material_and_no_instruction() -> None:
    """As in every template that shows what others wrote."""
    for file in find_asset("judges/pairwise.jinja").parent.glob("*.jinja"):
        assert "never instructions to you" in file.read_text(), file.name


def test_the_reference_answer_is_shown_where_there_is_one() -> None:
    text = load_template(
        find_asset("judges/pairwise.jinja"), ("prompt", "first", "second"), reference=None,
        reason=False, guidance=None,
    )  # fmt: skip
    judge = make_judge(text)
    with_it = hold(judge, make_item("one", "two", answer="forty-two"), lambda _: "A")[1]
    without = hold(judge, ITEM, lambda _: "A")[1]
    assert all("forty-two" in show(request) for request in with_it)
    assert not any("Reference" in show(request) for request in without)


def test_what_both_orders_share_comes_first() -> None:
    """So that a server with a prefix cache computes it once."""
    text = find_asset("judges/pairwise.jinja").read_text()
    ab, ba = (show(request) for request in hold(make_judge(text), ITEM, lambda _: "A")[1])
    common = next(i for i, (x, y) in enumerate(zip(ab, ba, strict=False)) if x != y)
    assert common > 0.8 * len(ab) - len("".join(ITEM.contents)) - 80
    assert "Which?" in ab[:common]


def test_one_order_is_in_the_name_and_follows_from_the_pair() -> None:
    items = [make_item("one", "two", prompt=str(i)) for i in range(40)]
    chosen = [choose_orders("random", item) for item in items]
    assert set(chosen) == {("ab",), ("ba",)}
    assert chosen == [choose_orders("random", item) for item in items]
    assert make_judge(orders="random").annotator != make_judge().annotator


def test_a_request_id_depends_on_everything_that_can_change_the_answer() -> None:
    other = replace(MODEL, revision="r2")
    judges = [
        make_judge(),
        make_judge("{# renders the same #}" + TEMPLATE),
        PairwiseJudge(other, TEMPLATE),
        PairwiseJudge(LOOSE, TEMPLATE),
        make_judge(mode="vote", temperature=0.5),
    ]
    ids = [r.request_id for judge in judges for r in hold(judge, ITEM, lambda _: "A")[1]]
    assert len(set(ids)) == len(ids) == 10
    same = [r.request_id for r in hold(make_judge(), ITEM, lambda _: "B")[1]]
    assert same == ids[:2]


def test_whatever_changes_the_verdicts_is_another_annotator() -> None:
    judges = [
        make_judge(),
        make_judge(TEMPLATE + "!"),
        PairwiseJudge(replace(MODEL, revision="r2"), TEMPLATE),
        make_judge(mode="reason"),
        make_judge(mode="vote", k=2, temperature=0.5),
        make_judge(mode="vote", k=4, temperature=0.5),
    ]
    assert len({judge.annotator for judge in judges}) == len(judges)
    assert make_judge().annotator == make_judge(max_tokens=7).annotator  # asks for one letter
