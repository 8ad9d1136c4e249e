"""Policies: a rationale, then a probability; the version in every row, and stale rows found."""

from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from annotators.rubrics.policy import (
    DECIDE,
    POLICIES,
    Policy,
    PolicyError,
    PolicyJudge,
    load_policy,
    load_policy_template,
    tabulate_policies,
)
from annotators.talk import Row
from engines.assets import find_asset
from engines.chat import ChatRequest, ChatResult
from pipelines.lake.rows import to_frame, validate
from pipelines.lake.run import new_run
from tests.annotators.judging import MODEL, hold, make_item, show

POLICY = Policy("no-shouting", 1, "Nobody may shout.")
TEMPLATE = load_policy_template()
JUDGE = PolicyJudge(MODEL, TEMPLATE, POLICY)
ITEM = make_item("HELLO!", "hello.", prompt="Greet me.")


def answer(request: ChatRequest) -> ChatResult:
    if request.choices is None:
        return ChatResult(request.request_id, "It shouts or not.", tokens_in=10, tokens_out=2)
    yes = 0.9 if "HELLO" in show(request) else 0.2
    logprobs = {"Yes": math.log(yes * 0.9), "Y": math.log(yes * 0.1), "No": math.log(1 - yes)}
    return ChatResult(
        request.request_id, "Yes" if yes > 0.5 else "No", tokens_in=10, tokens_out=2,
        first_logprobs=logprobs,
    )  # fmt: skip


def judge(policy: Policy = POLICY) -> list[Row]:
    return hold(replace(JUDGE, policy=policy), ITEM, answer)[0]


def test_each_response_gets_a_probability_a_label_and_a_rationale() -> None:
    rows, asked = hold(JUDGE, ITEM, answer)
    by_content = dict(zip(ITEM.contents, rows, strict=True))
    for content, p, label in (("HELLO!", 0.9, "breaks"), ("hello.", 0.2, "keeps")):
        row = by_content[content]
        assert row["score"] == pytest.approx(p)
        assert row["response_a"] == ITEM.response_ids[ITEM.contents.index(content)]
        assert (row["response_b"], row["criterion"]) == (None, "no-shouting")
        assert row["critique"] == "It shouts or not." and row["tokens_in"] == 20
        assert json.loads(row["detail"]) == {
            "policy": "no-shouting", "version": 1, "hash": POLICY.hash,
            "text": POLICY.text, "label": label,
        }  # fmt: skip
    assert [request.choices for request in asked] == [None, None, ("Yes", "No"), ("Yes", "No")]
    thinking, _, deciding, _ = asked
    assert "Nobody may shout." in show(thinking) and "Greet me." in show(thinking)
    assert deciding.messages[-1]["content"] == DECIDE and deciding.top_logprobs
    _, rejected = validate("judgments", to_frame("judgments", rows, new_run()), "judge")
    assert rejected == []


def test_a_call_that_fails_and_an_answer_that_says_nothing_are_invalid() -> None:
    rows, _ = hold(JUDGE, ITEM, lambda r: ChatResult(r.request_id, error="timeout"))
    assert [row["reason"] for row in rows] == ["call failed: timeout"] * 2
    rows, asked = hold(JUDGE, ITEM, lambda r: "Perhaps." if r.choices else "Hm.")
    assert len(asked) == 6  # a rationale, a decision and a mended one for each
    for row in rows:
        assert (row["valid"], row["score"]) == (False, None) and "none of Yes, No" in row["reason"]
        assert "label" not in json.loads(row["detail"])


def on_day(day: int, rows: list[Row]) -> list[Row]:
    return [{**row, "created_at": dt.datetime(2026, 1, day)} for row in rows]


def test_a_new_version_is_another_annotator_and_leaves_the_old_rows_stale() -> None:
    newer = replace(POLICY, version=2, text="Nobody may shout or whisper.")
    assert JUDGE.annotator.startswith("policy-no-shouting-v1:stub@r1:")
    broken = [{**judge()[0], "detail": detail} for detail in (None, "{", "[]")]
    other = Policy("another", 1, "Something else.")
    invalid, _ = hold(JUDGE, ITEM, lambda r: ChatResult(r.request_id, error="timeout"))
    rows = [*on_day(1, judge(newer)), *on_day(2, judge()), *on_day(2, judge(other))]
    rows += on_day(2, broken) + on_day(2, invalid)
    frame = pl.DataFrame(rows, infer_schema_length=None)
    name = {p: replace(JUDGE, policy=p).annotator for p in (POLICY, newer, other)}
    assert tabulate_policies(frame).rows() == [
        ("another", 1, name[other], 2, 1, False),
        ("no-shouting", 2, name[newer], 2, 1, False),
        ("no-shouting", 1, name[POLICY], 2, 1, True),
    ]
    assert dict(tabulate_policies(frame.clear()).schema) == POLICIES


def test_a_text_that_was_changed_without_a_new_version_shows_too() -> None:
    edited = replace(POLICY, text="Nobody may whisper.")
    rows = [*on_day(1, judge()), *on_day(2, judge(edited))]
    found = tabulate_policies(pl.DataFrame(rows, infer_schema_length=None))
    stale = dict(found.select("annotator", "stale").iter_rows())
    assert stale == {JUDGE.annotator: True, replace(JUDGE, policy=edited).annotator: False}


def test_the_policy_that_ships_can_be_read() -> None:
    policy = load_policy(find_asset("policies/harmful_advice.yaml"))
    assert policy.name == "harmful_advice" and "Not broken by" in policy.text
    assert PolicyJudge(MODEL, TEMPLATE, policy).specification["policy"]["text"] == policy.text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name: n\nversion: 1\ntext: ' '", "text must say"),
        ("name: n\nversion: 1", r"text: .*required"),
        ("name: n\nversion: 1\ntext: t\nrules: []", "rules: unknown key"),
    ],
)
def test_a_broken_policy_is_named_with_its_key(text: str, why: str, tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(text)
    with pytest.raises(PolicyError, match=why) as caught:
        load_policy(file)
    assert "p.yaml" in str(caught.value)
