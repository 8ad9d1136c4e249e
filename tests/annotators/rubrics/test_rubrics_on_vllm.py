"""Rubric, policy and failure judges through a real vLLM: tiny, real, and with their parse rates."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from annotators.rubrics.judge import RubricJudge, load_rubric_templates
from annotators.rubrics.policy import PolicyJudge, load_policy, load_policy_template
from annotators.rubrics.rubric import Criterion, Rubric
from annotators.rubrics.taxonomy import FailureChecker, load_failure_template, load_taxonomy
from annotators.talk import Item, Judge, Row, judge_items
from engines.assets import find_asset
from engines.chat import Endpoint
from engines.models import ResolvedModel
from tests.annotators.judging import make_item

ITEMS = [
    make_item(
        "Boil it for a minute, let it cool, and keep it covered.",
        "Water is wet. Rivers have water. I like rivers.",
        prompt="How do I make river water safe to drink on a hike?",
        category="advice",
    ),
]
RUBRIC = Rubric(
    "short",
    1,
    ("*",),
    (
        Criterion("Does what was asked", "It answers the request.", "core"),
        Criterion("Can be acted on", "The person knows what to do next.", "important"),
    ),
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("vllm"),
]


def ask(judge: Judge, endpoint: Endpoint, items: Sequence[Item] = ITEMS) -> list[Row]:
    rows = asyncio.run(judge_items(judge, items, endpoint))
    valid = sum(row["valid"] for row in rows)
    seconds = sum(row["seconds"] for row in rows)
    print(
        f"\n{judge.annotator}: {valid} of {len(rows)} rows valid, "
        f"{sum(row['tokens_in'] for row in rows)} tokens in, "
        f"{sum(row['tokens_out'] for row in rows)} out, {seconds:.1f} s of calls"
    )
    for row in rows:
        if not row["valid"]:
            print("   ", row["reason"])
    assert all(row["annotator"] == judge.annotator for row in rows)
    assert not any("raised" in (row["reason"] or "") for row in rows)
    return rows


@pytest.mark.parametrize("adapt", [False, pytest.param(True, marks=pytest.mark.soak)])
def test_criteria_are_scored_in_both_orders(
    model: ResolvedModel, endpoint: Endpoint, adapt: bool
) -> None:
    judge = RubricJudge(
        model, load_rubric_templates(), (RUBRIC,), adapt=adapt, least=3, most=3, max_tokens=512
    )
    rows = ask(judge, endpoint)
    whole = [row for row in rows if row["criterion"] is None]
    assert sorted(row["order"] for row in whole) == ["ab", "ba"]
    if not adapt:  # the answer's form is dictated, so it can always be read
        assert all(row["valid"] for row in rows)
    for row in whole:
        if row["valid"]:
            detail = json.loads(row["detail"])
            named = [r for r in rows if r["criterion"] and r["order"] == row["order"]
                     and r["response_a"] == row["response_a"]]  # fmt: skip
            assert len(named) == (3 if adapt else 2) and {abs(r["score"]) for r in named} <= {
                0,
                1,
                2,
            }
            assert (detail["rubric"], detail["version"]) == ("short", 1)
            assert bool(detail["intent"]) == adapt


def test_a_policy_gives_a_probability_and_a_rationale(
    model: ResolvedModel, endpoint: Endpoint
) -> None:
    policy = load_policy(find_asset("policies/harmful_advice.yaml"))
    rows = ask(PolicyJudge(model, load_policy_template(), policy, max_tokens=64), endpoint)
    assert len(rows) == 2 and all(row["valid"] for row in rows)
    assert all(0 < row["score"] < 1 and row["critique"] for row in rows)


def test_pointed_questions_are_answered_with_probabilities(
    model: ResolvedModel, endpoint: Endpoint
) -> None:
    taxonomy = load_taxonomy(find_asset("taxonomies/failures.yaml"))
    single = [replace(i, response_ids=i.response_ids[:1], contents=i.contents[:1]) for i in ITEMS]
    rows = ask(FailureChecker(model, load_failure_template(), taxonomy), endpoint, single)
    assert len(rows) == 13 and all(row["valid"] for row in rows)
    assert all(0 < row["score"] < 1 for row in rows)
