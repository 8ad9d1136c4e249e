"""The yes-probability judge: both orders of candidate and opponent, and their mean."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.deciding import ALTERNATIVES, YES_NO
from annotators.generative import GenerativeJudge
from annotators.templates import load_template
from annotators.yes_prob import VERDICT, YesProbJudge
from engines.assets import find_asset
from engines.chat import ChatRequest, ChatResult
from tests.annotators.judging import MODEL, SPEC, hold, make_item, show

TEMPLATE = "{{ prompt }}\ncandidate: {{ candidate }}\nopponent: {{ opponent }}\n"
ITEM = make_item("one", "two")
logprob = st.floats(-50, 0)


def make_judge(template: str = TEMPLATE, **settings: Any) -> YesProbJudge:
    return YesProbJudge(MODEL, template, **settings)


def find_candidate(request: ChatRequest) -> str:
    return show(request).partition("candidate: ")[2].partition("\n")[0]


@pytest.mark.parametrize("order", ["ab", "ba"])
@pytest.mark.parametrize("word", YES_NO)
def test_the_chosen_response_is_the_one_that_the_judge_preferred(order: str, word: str) -> None:
    """The four cases of shown order and verdict."""
    rows, asked = hold(make_judge(orders=order), ITEM, lambda _: word)
    candidate = find_candidate(asked[0])
    assert candidate == ITEM.contents[0 if order == "ab" else 1]
    preferred = candidate if word == "Yes" else next(t for t in ITEM.contents if t != candidate)
    assert len(rows) == 1 and rows[0]["order"] == order
    chosen = rows[0]["response_a" if rows[0]["p_a"] > 0.5 else "response_b"]
    assert dict(zip(ITEM.response_ids, ITEM.contents, strict=True))[chosen] == preferred


@given(logprob, logprob, logprob, logprob)
def test_the_mean_of_the_orders_is_the_score_of_both(
    y_ab: float, n_ab: float, y_ba: float, n_ba: float
) -> None:
    def say(request: ChatRequest) -> ChatResult:
        first = find_candidate(request) == ITEM.contents[0]
        yes, no = (y_ab, n_ab) if first else (y_ba, n_ba)
        return ChatResult(request.request_id, "Yes", first_logprobs={"Yes": yes, "No": no})

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    rows, _ = hold(make_judge(), ITEM, say)
    assert [row["order"] for row in rows] == ["ab", "ba"]
    s = (sigmoid(y_ab - n_ab) + 1 - sigmoid(y_ba - n_ba)) / 2
    assert math.isclose(sum(row["p_a"] for row in rows) / 2, s, abs_tol=1e-12)


@given(logprob, logprob, st.sampled_from(YES_NO))
def test_a_judge_that_likes_every_candidate_alike_has_no_opinion(
    yes: float, no: float, word: str
) -> None:
    def say(request: ChatRequest) -> ChatResult:
        return ChatResult(request.request_id, word, first_logprobs={"Yes": yes, "No": no})

    rows, _ = hold(make_judge(), ITEM, say)
    assert math.isclose(sum(row["p_a"] for row in rows) / 2, 0.5)


def test_an_unreadable_answer_is_sent_back_once_and_its_tokens_count() -> None:
    def mumble(request: ChatRequest) -> str:
        again = len(request.messages) > 1
        return "Yes" if again and find_candidate(request) == ITEM.contents[1] else "hm"

    (ab, ba), asked = hold(make_judge(), ITEM, mumble)
    assert len(asked) == 4
    assert (ab["valid"], ab["p_a"], ab["raw"], ab["tokens_in"]) == (False, None, "hm", 20)
    assert "none of Yes, No" in ab["reason"]
    assert (ba["valid"], ba["p_a"], ba["raw"], ba["tokens_in"]) == (True, 0.0, "Yes", 20)


def test_a_failed_call_is_one_row_that_says_so() -> None:
    def fail(request: ChatRequest) -> ChatResult | str:
        if find_candidate(request) == ITEM.contents[0]:
            return ChatResult(request.request_id, error="timeout")
        return "Yes"

    (ab, ba), _ = hold(make_judge(), ITEM, fail)
    assert (ab["valid"], ab["reason"], ba["valid"]) == (False, "call failed: timeout", True)


def test_reasons_come_first_and_the_verdict_is_read_after_them() -> None:
    judge = make_judge(reason=True, orders="ab", max_tokens=99)
    rows, asked = hold(judge, ITEM, lambda r: "No" if r.choices else "It is shorter.")
    assert [request.choices for request in asked] == [None, YES_NO]
    assert asked[0].sampling["max_tokens"] == 99 and asked[0].top_logprobs is None
    assert asked[1].top_logprobs == ALTERNATIVES
    assert [m["content"] for m in asked[1].messages[1:]] == ["It is shorter.", VERDICT]
    assert (rows[0]["critique"], rows[0]["p_a"]) == ("It is shorter.", 0.0)
    assert (rows[0]["tokens_in"], rows[0]["tokens_out"]) == (20, 4)


def test_a_server_that_cannot_constrain_is_only_asked() -> None:
    loose = replace(MODEL, spec=SPEC.model_copy(update={"structured": False}))
    rows, asked = hold(YesProbJudge(loose, TEMPLATE), ITEM, lambda _: "Yes, clearly.")
    assert {request.choices for request in asked} == {None}
    assert [row["p_a"] for row in rows] == [1.0, 0.0]


def test_the_shipped_template_shows_what_there_is_and_shares_its_beginning() -> None:
    template = load_template(
        find_asset("judges/yes_prob.jinja"), ("prompt", "candidate", "opponent"),
        criteria=None, reference=None, reason=False, guidance=None,
    )  # fmt: skip
    item = make_item("one", "two", answer="forty-two")
    plain = hold(make_judge(template), ITEM, lambda _: "Yes")[1]
    stated = hold(make_judge(template, criteria="Be brief."), item, lambda _: "Yes")[1]
    assert all("forty-two" in show(r) and "Be brief." in show(r) for r in stated)
    assert not any("Reference" in show(r) for r in plain)
    assert all("harm" in show(r) for r in plain) and not any("harm" in show(r) for r in stated)
    ab, ba = map(show, stated)
    common = next(i for i, (x, y) in enumerate(zip(ab, ba, strict=False)) if x != y)
    assert "forty-two" in ab[:common] and ab[:common].endswith("[Candidate]\n")


def test_whatever_changes_the_verdicts_is_another_annotator() -> None:
    judges = [
        make_judge(),
        make_judge(TEMPLATE + "!"),
        make_judge(criteria="Be brief."),
        make_judge(reason=True),
        make_judge(reason=True, max_tokens=99),
        make_judge(orders="ab"),
    ]
    assert len({judge.annotator for judge in judges}) == len(judges)
    assert make_judge().annotator == make_judge(max_tokens=7).annotator  # asks for one word


def test_probabilities_rank_finer_than_whole_numbers_at_equal_calls() -> None:
    """A planted judge sees the same utility either way, with a little noise. Two calls a response:
    as the candidate and as the opponent of a fixed answer, or two samples of a score of 1 to 10.

    With more noise the gain goes: it dithers the whole numbers (level at a standard deviation of
    0.2 of that of the utilities)."""
    ranked = [rank_both(random.Random(seed), size=40, blur=0.05) for seed in range(8)]
    by_word = [measure_tau(truth, scores) for truth, scores, _ in ranked]
    by_score = [measure_tau(truth, scores) for truth, _, scores in ranked]
    print(f"Kendall's tau: {sum(by_word) / 8:.3f}, of whole numbers {sum(by_score) / 8:.3f}")
    gains = [word - score for word, score in zip(by_word, by_score, strict=True)]
    assert min(gains) > 0 and sum(gains) / len(gains) > 0.03
    assert all(len(set(scores)) == len(truth) for truth, scores, _ in ranked)
    assert all(len(set(scores)) < len(truth) - 10 for truth, _, scores in ranked)


def measure_tau(x: Sequence[float], y: Sequence[float]) -> float:
    """Kendall's tau-b."""
    dx, dy = (np.sign(np.subtract.outer(v, v)) for v in (x, y))
    return float((dx * dy).sum() / np.sqrt((dx**2).sum() * (dy**2).sum()))


def rank_both(
    noise: random.Random, size: int, blur: float
) -> tuple[list[float], list[float], list[float]]:
    """Utilities of `size` responses, and what either judge makes of them."""
    utilities = {f"r{number}": noise.gauss(0, 1) for number in range(size)}
    utilities["anchor"] = 0.0

    def see(name: str) -> float:
        return utilities[name] + noise.gauss(0, blur)

    def say_word(request: ChatRequest) -> ChatResult:
        text = show(request)
        candidate = find_candidate(request)
        opponent = text.partition("opponent: ")[2].partition("\n")[0]
        gap = see(candidate) - utilities[opponent] + 0.5  # likes whatever is the candidate
        yes, no = -math.log1p(math.exp(-gap)), -math.log1p(math.exp(gap))
        word = "Yes" if gap > 0 else "No"
        return ChatResult(request.request_id, word, first_logprobs={"Yes": yes, "No": no})

    def say_score(request: ChatRequest) -> str:
        name = show(request).partition("[Answer 1]\n")[2].partition("\n")[0]
        return f"scores: [{min(10, max(1, round(5.5 + 1.7 * see(name))))}]"

    names = [name for name in utilities if name != "anchor"]
    by_word, by_score = [], []
    for name in names:
        item = make_item(name, "anchor")
        rows, asked = hold(make_judge(), item, say_word)
        assert len(asked) == 2
        p = sum(row["p_a"] for row in rows) / 2
        by_word.append(p if item.contents[0] == name else 1 - p)
        scorer = GenerativeJudge(MODEL, "{{ prompt }}\n{{ responses }}\n", k=2)
        rows, asked = hold(scorer, make_item(name), say_score)
        assert len(asked) == 2
        by_score.append(rows[-1]["score"])
    return [utilities[name] for name in names], by_word, by_score
