"""What a pair costs is what judging it takes, whatever the method."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from annotators.talk import Item, judge_items
from engines.models import open_endpoint
from pipelines.label.judges import load_judges
from pipelines.label.loop.charging import count_calls
from tests.pipelines.label.test_judges import METHODS, make_judging
from tests.stub_server import Stub, run_stub

COUNTED = [
    *(method for method in METHODS if method["method"] != "ranking"),
    {"method": "pairwise", "orders": "random", "mode": "reason"},
    {"method": "yes_prob", "mode": "reason", "orders": "ab"},
    {"method": "generative", "k": 4, "meta": True},
    {"method": "rubric", "orders": "ba"},
]


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    with run_stub(judges=True) as running:
        yield running


@pytest.mark.parametrize("method", COUNTED, ids=lambda method: "-".join(map(str, method.values())))
def test_a_pair_costs_what_is_counted(method: dict[str, Any], stub: Stub) -> None:
    (judge,) = load_judges(make_judging(stub.url, method), None)
    item = Item("p", [{"role": "user", "content": f"why {method}?"}], ("a", "b"),
                ("worth 6 one", "worth 4 two"), "chat")  # fmt: skip
    before = stub.stats()["requests"]
    rows = asyncio.run(judge_items(judge, [item], open_endpoint(judge.model)))
    assert all(row["valid"] for row in rows)
    assert stub.stats()["requests"] - before == count_calls(judge)


def test_a_method_that_no_loop_takes_is_not_guessed_at() -> None:
    (ranker,) = load_judges(make_judging("http://127.0.0.1:9/v1", {"method": "ranking"}), None)
    with pytest.raises(ValueError, match="ranking"):
        count_calls(ranker)
