"""The generative judge: k samples in changing orders, summed; and nothing made up of the rest."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.asking import Asked
from annotators.assessments import Assessment
from annotators.generative import (
    SUM,
    GenerativeJudge,
    MetaFilter,
    Sample,
    SamplesUneven,
    add_scores,
    keep_best,
    shuffle_places,
)
from annotators.templates import load_template
from engines.assets import find_asset
from engines.chat import ChatRequest, ChatResult
from schemas.evidence import Judgments
from tests.annotators.judging import MODEL, SPEC, hold, make_item, show

TEMPLATE = "{{ prompt }}\n{{ responses }}\n"
META = MetaFilter("{{ responses }}\nsaid: {{ critique }}\n{{ scores }}\nRight?")
ITEM = make_item("one", "two")
Mind = Callable[[str], int]


def make_judge(**settings: Any) -> GenerativeJudge:
    return GenerativeJudge(MODEL, TEMPLATE, **settings)


def find_shown(request: ChatRequest) -> list[str]:
    return re.findall(r"\[Answer \d+\]\n(.*)", str(request.messages[0]["content"]))


def assess(scores: list[int]) -> str:
    return json.dumps(
        {
            "principles": [{"principle": "truth", "weight": 100}],
            "critiques": [f"worth {score}" for score in scores],
            "scores": scores,
        }
    )


def score_by(mind: Mind) -> Callable[[ChatRequest], str]:
    """A judge that gives each response the score that `mind` has for it."""
    return lambda request: assess([mind(text) for text in find_shown(request)])


def read_detail(row: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads(row["detail"]))


@pytest.mark.parametrize("order", ["ab", "ba"])
@pytest.mark.parametrize("place", [0, 1])
def test_the_chosen_response_is_the_one_that_scored_higher(order: str, place: int) -> None:
    """The four cases of shown order and verdict."""
    liked: list[str] = []

    def prefer_place(request: ChatRequest) -> str:
        liked.append(find_shown(request)[place])
        return assess([8 if shown == place else 3 for shown in range(2)])

    rows, asked = hold(make_judge(orders=order, k=1), ITEM, prefer_place)
    whole = rows[-1]
    first = ITEM.contents[0 if order == "ab" else 1]
    assert find_shown(asked[0])[0] == first
    assert (whole["order"], whole["criterion"]) == (order, None)
    chosen = whole["response_a" if whole["p_a"] > 0.5 else "response_b"]
    contents = dict(zip(ITEM.response_ids, ITEM.contents, strict=True))
    assert contents[chosen] == liked[0]
    assert {row["score"] for row in rows[:-1] if contents[row["response_a"]] == liked[0]} == {8}


def test_a_favourite_place_averages_to_no_opinion() -> None:
    rows, _ = hold(make_judge(), ITEM, lambda request: assess([9, 2]))
    ab, ba = (row["p_a"] for row in rows[-2:])
    assert ab == pytest.approx(0.5 + 7 / 18) and ab + ba == pytest.approx(1.0)


@given(
    st.lists(st.tuples(st.integers(1, 10), st.integers(1, 10)), min_size=1, max_size=4).map(
        lambda pairs: pairs * 2
    )
)
def test_the_margin_of_the_sums_is_scaled_to_a_probability(pairs: list[tuple[int, int]]) -> None:
    """S over the samples of one order; both orders see the same scores here."""
    half = len(pairs) // 2
    given_scores = {index: pairs[index // 2] for index in range(len(pairs))}

    def say(request: ChatRequest) -> str:
        index = next(i for i, r in enumerate(asked_first) if r == request.request_id)
        by_text = dict(zip(ITEM.contents, given_scores[index], strict=True))
        return assess([by_text[text] for text in find_shown(request)])

    judge = make_judge(k=len(pairs))
    asked_first = [r.request_id for r in next(judge.talk(ITEM))]
    rows, _ = hold(judge, ITEM, say)
    for whole in rows[-2:]:
        s_a, s_b = (sum(pair[side] for pair in pairs[:half]) for side in (0, 1))
        assert read_detail(whole)["sums"] == [s_a, s_b]
        assert math.isclose(whole["p_a"], 0.5 + (s_a - s_b) / (18 * half))
        assert 0 <= whole["p_a"] <= 1 and whole["tie"] == (s_a == s_b)
        assert whole["tie"] == (whole["p_a"] == 0.5)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_scores_find_their_way_back_from_every_order(count: int) -> None:
    worth = {f"text{number}": number + 2 for number in range(count)}
    item = make_item(*worth)
    rows, asked = hold(make_judge(k=6), item, score_by(worth.__getitem__))
    assert len(asked) == 6
    contents = dict(zip(item.response_ids, item.contents, strict=True))
    samples = [row for row in rows if row["response_b"] is None and row["criterion"] is None]
    assert len(samples) == 6 * count
    for row in samples:
        assert row["score"] == worth[contents[row["response_a"]]]
        assert row["critique"] == f"worth {row['score']:.0f}"
        shown = read_detail(row)
        assert find_shown(asked[row["sample_index"]])[shown["shown"] - 1] == contents[
            row["response_a"]
        ]  # fmt: skip
    if count == 2:
        assert [row["order"] for row in rows if row["response_b"]] == ["ab", "ba"]
        assert Counter(find_shown(request)[0] for request in asked) == dict.fromkeys(worth, 3)
    else:
        sums = [row for row in rows if row["criterion"] == SUM]
        assert [row["score"] for row in sums] == [6 * worth[text] for text in item.contents]
        assert not any(row["response_b"] for row in rows)
    assert len({row["judgment_id"] for row in rows}) == len(rows)
    assert sum(row["tokens_in"] for row in rows) == 60


def test_rows_keep_the_contract_of_judgments() -> None:
    rows = [
        row
        for item in (make_item("one"), ITEM, make_item("one", "two", "three"))
        for answer in (score_by(len), lambda r: "Yes" if r.choices else "no idea")
        for row in hold(make_judge(meta=META), item, answer)[0]
    ]
    run = {"run_id": "r", "created_at": datetime(2026, 1, 1), "gold": None}
    frame = pl.DataFrame([{**run, **row} for row in rows], infer_schema_length=None)
    Judgments.validate(frame, cast=True)
    assert {row["valid"] for row in rows} == {True, False}


def test_orders_of_groups_vary_and_follow_from_the_item_and_the_sample() -> None:
    item = make_item("one", "two", "three", "four")
    orders = [shuffle_places(item, index) for index in range(60)]
    assert {place for order in orders[:12] for place in order[:1]} == {0, 1, 2, 3}
    assert len(set(orders)) > 15
    assert orders == [shuffle_places(item, index) for index in range(60)]
    turned = replace(
        item, response_ids=item.response_ids[::-1], contents=item.contents[::-1]
    )  # the same group, listed the other way round
    for index in range(5):
        shown = [item.contents[place] for place in shuffle_places(item, index)]
        assert shown == [turned.contents[place] for place in shuffle_places(turned, index)]


def test_samples_differ_by_their_seeds_and_a_replay_asks_the_same() -> None:
    ids = [[r.request_id for r in next(make_judge(k=8).talk(ITEM))] for _ in range(2)]
    assert ids[0] == ids[1] and len(set(ids[0])) == 8
    assert len({r.sampling["seed"] for r in next(make_judge(k=8).talk(ITEM))}) == 8


def test_an_unreadable_sample_is_sent_back_once_and_left_out_of_the_sum() -> None:
    judge = make_judge(k=6)
    lost, mended = (next(judge.talk(ITEM))[i].sampling["seed"] for i in (0, 2))

    def mumble(request: ChatRequest) -> str:
        seed, again = request.sampling["seed"], len(request.messages) > 1
        if seed == lost or (seed == mended and not again):
            return "They are both fine."
        return score_by({"one": 4, "two": 7}.__getitem__)(request)

    rows, asked = hold(judge, ITEM, mumble)
    assert len(asked) == 8
    invalid = [row for row in rows if not row["valid"]]
    assert [(row["sample_index"], row["response_b"], row["score"]) for row in invalid] == [
        (0, None, None)
    ] * 2
    assert all("no scores in" in row["reason"] for row in invalid)
    assert invalid[0]["raw"] == "They are both fine."
    by_sample = {i: sum(r["tokens_in"] for r in rows[:-2] if r["sample_index"] == i)
                 for i in range(6)}  # fmt: skip
    assert by_sample == {0: 20, 1: 10, 2: 20, 3: 10, 4: 10, 5: 10}
    ab, ba = rows[-2:]
    assert (read_detail(ab)["k"], read_detail(ab)["readable"], read_detail(ab)["kept"]) == (
        3, 2, [2, 4],
    )  # fmt: skip
    assert sorted(read_detail(ab)["sums"]) == [8, 14] and sorted(read_detail(ba)["sums"]) == [
        12,
        21,
    ]
    assert ab["p_a"] == pytest.approx(ba["p_a"])


def test_an_order_without_a_readable_sample_has_no_verdict() -> None:
    first = ITEM.contents[0]
    rows, _ = hold(
        make_judge(), ITEM, lambda r: assess([5, 5]) if find_shown(r)[0] == first else "hm"
    )
    ab, ba = rows[-2:]
    assert (ab["p_a"], ab["tie"], ab["valid"]) == (0.5, True, True)
    assert (ba["p_a"], ba["tie"], ba["valid"]) == (None, False, False)
    assert "none of 2 samples could be read" in ba["reason"]


def test_a_failed_call_leaves_its_order_open_until_it_is_made_again() -> None:
    judge = make_judge()
    lost = next(judge.talk(ITEM))[0].request_id

    def fail(request: ChatRequest) -> ChatResult | str:
        if request.request_id == lost:
            return ChatResult(lost, error="timeout")
        return assess([6, 4])

    before, _ = hold(judge, ITEM, fail)
    after, _ = hold(judge, ITEM, lambda _: assess([6, 4]))
    assert [row["valid"] for row in before[-2:]] == [False, True]
    assert before[-2]["reason"] == "sample 0: call failed: timeout"
    assert [row["valid"] for row in after[-2:]] == [True, True]
    assert before[-2]["judgment_id"] != after[-2]["judgment_id"]
    assert before[-1]["judgment_id"] == after[-1]["judgment_id"]


def test_the_meta_filter_keeps_the_better_half_of_each_order() -> None:
    """Scores follow the sample; the meta judge likes the high ones."""
    judge = make_judge(k=8, meta=META)
    places = {r.request_id: i for i, r in enumerate(next(judge.talk(ITEM)))}

    def answer(request: ChatRequest) -> ChatResult | str:
        if not request.choices:
            index = places[request.request_id]
            return score_by({ITEM.contents[0]: 1, ITEM.contents[1]: 2 + index}.__getitem__)(request)
        high = max(int(n) for n in re.findall(r"Answer \d: (\d+)", show(request)))
        logprobs = {"Yes": -10.0 + high, "No": 0.0}
        return ChatResult(request.request_id, "Yes", tokens_in=5, first_logprobs=logprobs)

    rows, asked = hold(judge, ITEM, answer)
    assert len(asked) == 16
    ab, ba = rows[-2:]
    assert read_detail(ab)["kept"] == [4, 6] and read_detail(ba)["kept"] == [5, 7]
    assert read_detail(ab)["sums"] == [2, 6 + 8] and read_detail(ba)["sums"] == [2, 7 + 9]
    assert read_detail(ab)["sums_all"] == [4, 2 + 4 + 6 + 8]
    assert ab["p_a"] == pytest.approx(0.5 - (14 - 2) / (18 * 2))
    metas = dict(read_detail(ab)["meta"])
    assert list(metas) == [0, 2, 4, 6] and sorted(metas.values()) == list(metas.values())
    assert read_detail(ab)["principles"] == [[{"principle": "truth", "weight": 100}]] * 2
    assert (ab["tokens_in"], ba["tokens_in"], sum(row["tokens_in"] for row in rows)) == (
        20, 20, 8 * 10 + 8 * 5,
    )  # fmt: skip
    assert "said: - truth (100 %)\nAnswer 1: worth" in show(asked[-1])


def test_a_sample_without_the_word_of_the_meta_judge_is_not_kept() -> None:
    judge = make_judge(k=4, meta=META)

    def answer(request: ChatRequest) -> str:
        if request.choices:
            return "hm" if "Answer 1: 9" in show(request) else "No"
        return assess([9, 2] if request.sampling["seed"] == odd else [5, 4])

    odd = next(judge.talk(ITEM))[0].sampling["seed"]
    rows, _ = hold(judge, ITEM, answer)
    assert [read_detail(row)["kept"] for row in rows[-2:]] == [[2], [1]]
    rows, _ = hold(judge, ITEM, lambda r: "hm" if r.choices else assess([9, 2]))
    assert [row["valid"] for row in rows[-2:]] == [False, False]
    assert "meta judge" in rows[-1]["reason"]
    assert read_detail(rows[-1])["sums_all"] == [4, 18]  # what stands without the filter


def test_filtering_pays_with_a_good_meta_judge_and_costs_with_a_poor_one() -> None:
    """16 samples, half of which say nothing of the pair. What a filter gains it gains by telling
    those apart; where it cannot, it only throws half of the samples away."""
    noise = np.random.default_rng(7)
    right = Counter[str]()
    trials = 1500
    for _ in range(trials):
        informed = noise.random(16) < 0.5
        gaps = np.where(informed, 1.2, 0.0) + noise.normal(0, 2.5, 16)
        for name, sharpness in (("good", 4.0), ("poor", 0.0)):
            words = np.where(informed, sharpness, 0.0) + noise.normal(0, 1, 16)
            samples = [make_sample(i, round(g), float(w)) for i, (g, w) in
                       enumerate(zip(gaps, words, strict=True))]  # fmt: skip
            for kept, label in ((samples, "all"), (keep_best(samples, 8), name)):
                better, worse = add_scores(kept, 2)
                right[label] += 2 * (better > worse) + (better == worse)
    share = {name: count / (2 * trials) for name, count in right.items()}
    share["all"] /= 2  # counted with either meta judge
    print({name: round(value, 3) for name, value in share.items()})
    assert share["good"] > share["all"] + 0.03
    assert share["poor"] < share["all"] - 0.03


def make_sample(index: int, gap: int, word: float) -> Sample:
    """A sample that puts the first response `gap` above the second, and its meta score."""
    gap = max(-8, min(8, gap))
    scores = (5 + (gap + 1) // 2, 5 + (gap + 1) // 2 - gap)
    said = Assessment(scores, (), (), "")
    p = 1 / (1 + math.exp(-word))
    return Sample(index, "ab", (0, 1), Asked(said, None, ()), Asked(p, None, ()))


def test_half_a_character_goes_into_no_row() -> None:
    """A grammar allows the escape of one; no table holds it."""
    said = '{"critiques": ["a", "\\ud83d"], "scores": [7, 4]}'
    rows, _ = hold(make_judge(), ITEM, lambda _: said)
    assert [row["score"] is not None for row in rows[:2]] == [True, True]  # the line has them
    pl.DataFrame(rows)
    assert {row["critique"] for row in rows} == {None}


def test_a_server_that_cannot_constrain_is_asked_for_words() -> None:
    template = load_template(find_asset("judges/generative.jinja"), ("prompt", "responses"),
                             count=2, structured=True, reference=None, guidance=None)  # fmt: skip
    loose = replace(MODEL, spec=SPEC.model_copy(update={"structured": False}))
    strict, free = GenerativeJudge(MODEL, template), GenerativeJudge(loose, template)
    asked = hold(strict, ITEM, score_by(len))[1]
    assert all(r.json_schema and "JSON" in show(r) for r in asked)
    rows, asked = hold(free, ITEM, lambda _: "Truth 100 %. One errs.\nscores: [8, 3]")
    assert not any(r.json_schema or "JSON" in show(r) for r in asked)
    assert rows[-2]["p_a"] == pytest.approx(0.5 + 5 / 18)
    assert strict.annotator != free.annotator


def test_the_shipped_templates_show_what_there_is_and_share_their_beginning() -> None:
    shows = ("prompt", "responses")
    known: dict[str, Any] = {"reference": None}
    template = load_template(find_asset("judges/generative.jinja"), shows, **known, count=2,
                             structured=True, guidance=None)  # fmt: skip
    meta = load_template(find_asset("judges/generative_meta.jinja"),
                         (*shows, "critique", "scores"), **known)  # fmt: skip
    judge = GenerativeJudge(MODEL, template, meta=MetaFilter(meta))
    item = make_item("one", "two", answer="forty-two")
    asked = hold(judge, item, lambda r: "Yes" if r.choices else assess([5, 6]))[1]
    assert len(asked) == 8 and all("forty-two" in show(request) for request in asked)
    plain = hold(judge, ITEM, lambda r: "Yes" if r.choices else assess([5, 6]))[1]
    assert not any("[Reference" in show(request) for request in plain)
    for first, second in ((0, 1), (4, 5)):  # samples of the two orders
        ab, ba = show(asked[first]), show(asked[second])
        common = next(i for i, (x, y) in enumerate(zip(ab, ba, strict=False)) if x != y)
        assert ab[:common].endswith("[Answer 1]\n") and "forty-two" in ab[:common]
    alone = show(hold(judge, make_item("one"), lambda _: assess([5]))[1][0])
    assert "Assess this answer" in alone


def test_whatever_changes_the_scores_is_another_annotator() -> None:
    judges = [
        make_judge(),
        make_judge(k=6),
        make_judge(temperature=0.7),
        make_judge(max_tokens=256),
        make_judge(orders="ab"),
        make_judge(meta=META),
    ]
    assert len({judge.annotator for judge in judges}) == len(judges)


def test_an_odd_number_of_samples_is_refused() -> None:
    with pytest.raises(SamplesUneven, match=r"k is 3: .* set the judge's k to 2, 4"):
        make_judge(k=3)
    with pytest.raises(SamplesUneven):
        make_judge(k=0, orders="ab")
    assert make_judge(k=3, orders="random").k == 3
