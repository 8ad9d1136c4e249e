"""A judge that fails in the middle of 200 pairs costs one of them, whoever makes the calls."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from annotators.pairwise import PairwiseJudge
from annotators.talk import Item, Judge, Row, Talk, judge_items
from engines.models import ResolvedModel, open_endpoint
from pipelines.label.talking import hold_talks
from pipelines.lake.catalogue import open_lake
from pipelines.lake.run import new_run
from schemas.recipe import ModelSpec
from tests.annotators.judging import make_item
from tests.stub_server import Stub, run_stub

TEMPLATE = "{{ prompt }}\nA: {{ first }}\nB: {{ second }}\n"
PAIRS, BAD = 200, 77
REASONS = {
    "raises": "the judge raised RuntimeError('it fell')",
    "times out": "call failed: timeout",
    "mumbles": "none of A, B: 'neither, sorry'",
}


@dataclass(frozen=True)
class Falling:
    """A judge that falls over one pair, after it has heard the model."""

    judge: PairwiseJudge

    @property
    def model(self) -> ResolvedModel:
        return self.judge.model

    @property
    def annotator(self) -> str:
        return self.judge.annotator

    @property
    def specification(self) -> dict[str, Any]:
        return self.judge.specification

    def talk(self, item: Item) -> Talk[list[Row]]:
        rows = yield from self.judge.talk(item)
        if "raises" in item.messages[0]["content"]:
            raise RuntimeError("it fell")
        return rows


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    with run_stub(hang_contains="times out", wrong_format_contains="mumbles") as running:
        yield running


def make_pairs(fault: str) -> list[Item]:
    """200 pairs, the prompt of one of which names the fault."""
    prompts = [f"number {n}{f', {fault}' if n == BAD else ''}." for n in range(PAIRS)]
    return [make_item("x", "y", prompt=prompt) for prompt in prompts]


def make_judge(stub: Stub) -> Judge:
    spec = ModelSpec(model="stub", url=stub.url, timeout_seconds=2, max_tries=1)
    return Falling(PairwiseJudge(ResolvedModel("stub", "r1", spec), TEMPLATE))


def check(rows: list[Row], items: list[Item], fault: str) -> None:
    """199 pairs have a verdict in both orders, one is not valid and says why, none is missing."""
    orders: dict[str, list[str | None]] = {item.prompt_id: [] for item in items}
    bad = orders.pop(items[BAD].prompt_id)
    for row in rows:
        if row["prompt_id"] == items[BAD].prompt_id:
            bad.append(row["order"])
            assert (row["valid"], row["p_a"], row["reason"]) == (False, None, REASONS[fault])
        else:
            assert row["valid"] and 0 < row["p_a"] < 1
            orders[row["prompt_id"]].append(row["order"])
    assert all(sorted(found) == ["ab", "ba"] for found in orders.values())
    assert bad == ([None] if fault == "raises" else ["ab", "ba"])


@pytest.mark.parametrize("fault", REASONS)
def test_in_one_batch(stub: Stub, fault: str) -> None:
    items, judge = make_pairs(fault), make_judge(stub)
    rows = asyncio.run(judge_items(judge, items, open_endpoint(judge.model)))
    assert list(dict.fromkeys(row["prompt_id"] for row in rows)) == [i.prompt_id for i in items]
    check(rows, items, fault)


@pytest.mark.parametrize("fault", REASONS)
def test_in_the_lake(stub: Stub, fault: str, tmp_path: Path) -> None:
    items, judge = make_pairs(fault), make_judge(stub)
    calls = {"raises": (400, 400, 0), "times out": (400, 398, 2), "mumbles": (402, 402, 0)}
    with open_lake(tmp_path / "lake") as lake:
        first = hold_talks(lake, new_run(), stage="judge", judge=judge, items=items)
        assert first.extra["invalid"] == (1 if fault == "raises" else 2)
        rows = lake.query('FROM judgments ORDER BY prompt_id, "order"').rows(named=True)
        check(rows, items, fault)
        again = hold_talks(lake, new_run(), stage="judge", judge=judge, items=items)
        assert again.extra["calls"] == 0
        counts = lake.query(
            "SELECT (SELECT count(*) FROM answers) AS answers, (SELECT count(*) FROM failures) "
            "AS failures, (SELECT count(*) FROM quarantine) AS quarantine, "
            "(SELECT count(*) FROM judgments) AS judgments"
        ).row(0, named=True)
    assert (first.extra["calls"], counts["answers"], counts["failures"]) == calls[fault]
    assert (counts["judgments"], counts["quarantine"]) == (len(rows), 0)
