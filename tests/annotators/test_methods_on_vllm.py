"""Every judging method end to end against the embedded model behind a real vLLM."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from annotators.attributes import KINDS, AttributeWriter
from annotators.generative import GenerativeJudge, MetaFilter
from annotators.guidance import make_example, make_guidance
from annotators.pairwise import PairwiseJudge
from annotators.ranking.judge import GroupRanker
from annotators.talk import Item, Judge, Row, judge_items
from annotators.templates import load_template
from annotators.yes_prob import YesProbJudge
from engines.assets import find_asset
from engines.chat import Endpoint
from engines.models import ResolvedModel
from tests.annotators.judging import make_item
from tests.annotators.test_guidance import GUIDE

PAIRS = [
    make_item("Paris is the capital of France.", "It is Lyon.",
              prompt="What is the capital of France?", answer="Paris", category="explanation"),
]  # fmt: skip
GROUPS = [
    make_item("Paris.", "It is Lyon.", "I like trains.", prompt="What is the capital of France?"),
]


def load(name: str, *shows: str, **others: Any) -> str:
    others |= {"reference": None, "guidance": None}
    return load_template(find_asset(f"judges/{name}.jinja"), shows, **others)


def guide(item: Item) -> Item:
    """With another pair of gold to learn from."""
    example = make_example(make_item("4.", "5.", prompt="What is 2 + 2?"), 1.0, None)
    return replace(item, guidance=make_guidance(GUIDE, item, None, [example]))


def make_judges(model: ResolvedModel) -> dict[str, Judge]:
    pairwise = load("pairwise", "prompt", "first", "second", reason=False)
    yes_prob = load("yes_prob", "prompt", "candidate", "opponent", criteria=None, reason=False)
    generative = load("generative", "prompt", "responses", count=2, structured=True)
    meta = load("generative_meta", "prompt", "responses", "critique", "scores")
    attributes = load("attributes", "prompt", "first", "second", kinds=KINDS)
    return {
        "pairwise, choice": PairwiseJudge(model, pairwise),
        "pairwise, guided": PairwiseJudge(model, pairwise, guide=GUIDE),
        "pairwise, vote": PairwiseJudge(model, pairwise, mode="vote", k=2, temperature=0.7),
        "pairwise, reason": PairwiseJudge(model, pairwise, mode="reason", max_tokens=48),
        "yes_prob": YesProbJudge(model, yes_prob),
        "generative": GenerativeJudge(
            model, generative, k=2, max_tokens=192, meta=MetaFilter(meta)
        ),
        "ranking": GroupRanker(PairwiseJudge(model, pairwise)),
        "attributes": AttributeWriter(model, attributes, max_tokens=256),
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("vllm")
def test_every_method_judges_on_the_embedded_model(
    model: ResolvedModel, endpoint: Endpoint
) -> None:
    judges = make_judges(model)

    def find_items(judge: Judge) -> list[Item]:
        if judge is judges["pairwise, guided"]:
            return [guide(item) for item in PAIRS]
        return GROUPS if isinstance(judge, GroupRanker) else PAIRS

    async def judge_all() -> list[list[Row]]:  # side by side: the server makes one batch of them
        held = (judge_items(judge, find_items(judge), endpoint) for judge in judges.values())
        return await asyncio.gather(*held)

    started = time.monotonic()
    judged = dict(zip(judges, asyncio.run(judge_all()), strict=True))
    print(f"\n{time.monotonic() - started:.1f} s for all")
    share: dict[str, float] = {}
    for name, rows in judged.items():
        share[name] = sum(row["valid"] for row in rows) / len(rows)
        tokens_in, tokens_out = (sum(row[f"tokens_{way}"] for row in rows) for way in ("in", "out"))
        faults = Counter(row["reason"] for row in rows if not row["valid"])
        print(f"{name}: {share[name]:.0%} of {len(rows)} rows read, {tokens_in} tokens in, "
              f"{tokens_out} out", *faults.items())  # fmt: skip
        if name != "ranking":  # its rows are also those of the judge whom it asks
            assert {row["annotator"] for row in rows} == {judges[name].annotator}
        pairs = [row for row in rows if row.get("response_b") and row["valid"]]
        assert all(0 <= row["p_a"] <= 1 for row in pairs)
        assert tokens_in > 0 and tokens_out > 0
    for name in ("pairwise, choice", "pairwise, guided", "yes_prob"):  # log probabilities came back
        assert all(0 < row["p_a"] < 1 for row in judged[name])
    for name in set(share) - {"generative", "attributes"}:
        assert share[name] == 1.0  # the verdict is constrained to a word
    assert share["generative"] >= 0.5
    ranked = [row for row in judged["ranking"] if row["response_b"] is None]
    assert {row["response_a"] for row in ranked} == set(GROUPS[0].response_ids)
    assert sum(row["score"] for row in ranked) == pytest.approx(0)
    compared = {(row["response_a"], row["response_b"]) for row in judged["ranking"]
                if row["annotator"] == judges["pairwise, choice"].annotator}  # fmt: skip
    assert 2 <= len(compared) <= 3  # all three are joined
