"""The ranking judge: the planted order comes out, cycles and failures are not spoken for."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable

import pytest

from annotators.pairwise import PairwiseJudge
from annotators.ranking.judge import TOPOLOGIES, GroupRanker
from annotators.talk import FAILED, Item, Row
from engines.chat import ChatRequest, ChatResult
from tests.annotators.judging import MODEL, hold, make_item, show

TEMPLATE = "{{ prompt }}\nA: {{ first }}|\nB: {{ second }}|\n"
PAIRWISE = PairwiseJudge(MODEL, TEMPLATE)


def judge_by(better: Callable[[str, str], bool]) -> Callable[[ChatRequest], ChatResult]:
    """A judge that is sure, and always right by `better`."""

    def say(request: ChatRequest) -> ChatResult:
        text = show(request)
        first, second = (text.partition(f"{side}: ")[2].partition("|")[0] for side in "AB")
        wins = better(first, second)
        logprobs = {"A": -0.01 if wins else -5.0, "B": -5.0 if wins else -0.01}
        return ChatResult(request.request_id, "A" if wins else "B", first_logprobs=logprobs,
                          tokens_in=10, tokens_out=1)  # fmt: skip

    return say


def by_number(first: str, second: str) -> bool:
    return int(first) > int(second)


def judge_by_distance(request: ChatRequest) -> ChatResult:
    """A judge that is the surer the further two numbers are apart."""
    text = show(request)
    first, second = (int(text.partition(f"{side}: ")[2].partition("|")[0]) for side in "AB")
    p = 1 / (1 + math.exp(0.3 * (second - first)))
    logprobs = {"A": math.log(p), "B": math.log(1 - p)}
    return ChatResult(request.request_id, "A" if p > 0.5 else "B", first_logprobs=logprobs,
                      tokens_in=10, tokens_out=1)  # fmt: skip


def find_scores(rows: list[Row], item: Item) -> dict[str, float | None]:
    names = dict(zip(item.response_ids, item.contents, strict=True))
    return {names[row["response_a"]]: row["score"] for row in rows if row["response_b"] is None}


@pytest.mark.parametrize("topology", ["adaptive", *TOPOLOGIES])
def test_the_best_of_a_group_comes_first(topology: str) -> None:
    item = make_item(*map(str, range(8)))
    rows, asked = hold(GroupRanker(PAIRWISE, topology), item, judge_by_distance)
    scores = find_scores(rows, item)
    assert max(scores, key=scores.__getitem__) == "7"
    ranks = {row["response_a"]: json.loads(row["detail"])["rank"] for row in rows
             if row["response_b"] is None}  # fmt: skip
    assert min(ranks, key=ranks.__getitem__) == item.response_ids[item.contents.index("7")]
    assert len(asked) % 2 == 0  # both orders of every comparison
    tokens = sum(row["tokens_in"] for row in rows)
    assert tokens == 10 * len(asked)  # each call is counted once


def test_what_is_said_of_pairs_is_right_and_certain() -> None:
    item = make_item(*map(str, range(12)))
    ranker = GroupRanker(PAIRWISE, "round_robin")
    rows, _ = hold(ranker, item, judge_by(by_number))
    names = dict(zip(item.response_ids, map(int, item.contents), strict=True))
    said = [row for row in rows if row["annotator"] == ranker.annotator and row["response_b"]]
    assert 20 < len(said) < 66  # the far ones, not the neighbours
    for row in said:
        assert max(row["p_a"], 1 - row["p_a"]) > 0.977
        assert (row["p_a"] > 0.5) == (names[row["response_a"]] > names[row["response_b"]])
        assert row["order"] is None and row["response_a"] < row["response_b"]


def test_a_cycle_is_reported_and_none_of_its_pairs_is_spoken_for() -> None:
    beats = {("r", "s"), ("s", "p"), ("p", "r")}
    item = make_item("r", "s", "p")
    ranker = GroupRanker(PAIRWISE, "round_robin")
    rows, _ = hold(ranker, item, judge_by(lambda first, second: (first, second) in beats))
    assert not [r for r in rows if r["annotator"] == ranker.annotator and r["response_b"]]
    for row in rows:
        if row["annotator"] == ranker.annotator:
            (cycle,) = json.loads(row["detail"])["cycles"]
            assert sorted(cycle) == sorted(item.response_ids)


def test_comparisons_that_cannot_be_read_leave_the_rest_ranked() -> None:
    item = make_item(*map(str, range(5)))
    right = judge_by(by_number)

    def mumble(request: ChatRequest) -> ChatResult | str:
        return "hm" if ": 3|" in show(request) else right(request)

    ranker = GroupRanker(PAIRWISE, "round_robin")
    rows, _ = hold(ranker, item, mumble)
    scores = find_scores(rows, item)
    assert scores["3"] is None
    known = {name: score for name, score in scores.items() if score is not None}
    assert sorted(known, key=known.__getitem__) == ["0", "1", "2", "4"]
    invalid = [row for row in rows if not row["valid"]]
    assert len(invalid) == 4 * 2 + 1 and all(row["reason"] for row in invalid)


def test_a_failed_call_leaves_the_group_unranked_until_it_is_made_again() -> None:
    item = make_item(*map(str, range(5)))
    right = judge_by(by_number)

    def fail(request: ChatRequest) -> ChatResult:
        text = show(request)
        broken = "A: 3|" in text and "B: 1|" in text
        return ChatResult(request.request_id, error="http_500") if broken else right(request)

    ranker = GroupRanker(PAIRWISE, "round_robin")
    rows, _ = hold(ranker, item, fail)
    waiting = [row for row in rows if row["annotator"] == ranker.annotator]
    assert [row["response_a"] for row in waiting] == list(item.response_ids)
    assert {row["response_b"] for row in waiting} == {None}, "no pair is spoken for"
    for row in waiting:
        assert (row["valid"], row["score"], row["request_id"]) == (False, None, None)
        assert re.fullmatch(r"comparison \d: call failed: http_500", row["reason"])
        assert re.match(FAILED, row["reason"])
    healed, _ = hold(ranker, item, right)
    again = [row for row in healed if row["annotator"] == ranker.annotator]
    assert all(row["valid"] for row in again) and len(again) > len(waiting)
    assert not {row["judgment_id"] for row in waiting} & {row["judgment_id"] for row in again}
    # an answer that cannot be read is final, and is another conclusion than to wait
    unread, _ = hold(ranker, item, lambda r: "hm" if fail(r).error else right(r))
    ids = {row["judgment_id"] for row in unread if row["annotator"] == ranker.annotator}
    assert not ids & {row["judgment_id"] for row in waiting}


def test_no_more_is_asked_about_a_group_that_waits_for_a_call() -> None:
    item = make_item(*map(str, range(8)))
    rows, asked = hold(GroupRanker(PAIRWISE, "adaptive"), item, lambda request: ChatResult(
        request.request_id, error="timeout"))  # fmt: skip
    assert len(asked) == 2 * 4, "the first round"
    assert not any(row["valid"] for row in rows)


def test_no_call_stands_behind_a_conclusion_and_none_was_asked_of_what_was_not_compared() -> None:
    item = make_item(*map(str, range(8)))
    ranker = GroupRanker(PAIRWISE, budget=2)
    rows, asked = hold(ranker, item, judge_by(by_number))
    concluded = [row for row in rows if row["annotator"] == ranker.annotator]
    assert {(row["request_id"], row["raw"]) for row in concluded} == {(None, None)}
    reasons = [row["reason"] for row in concluded if not row["valid"]]
    assert len(asked) == 4 and reasons == ["it was not compared"] * 4
    costs = [json.loads(row["detail"]).get("cost") for row in concluded]
    assert costs[0] == {"tokens_in": 40, "tokens_out": 4, "seconds": 0.0}
    assert costs[1:] == [None] * (len(costs) - 1)


@pytest.mark.parametrize("n", [1, 2])
def test_small_groups(n: int) -> None:
    item = make_item(*map(str, range(n)))
    rows, asked = hold(GroupRanker(PAIRWISE), item, judge_by(by_number))
    assert len(asked) == 2 * (n - 1)
    assert len([row for row in rows if row["response_b"] is None]) == n


def test_the_budget_is_kept() -> None:
    item = make_item(*map(str, range(16)))
    _, asked = hold(GroupRanker(PAIRWISE, budget=20), item, judge_by(by_number))
    assert len(asked) <= 40
