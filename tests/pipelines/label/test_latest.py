"""What was revised since does not label: rankings of another group, and people's earlier words."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from annotators.talk import Item, Row
from engines.chat import ChatRequest, ChatResult
from pipelines.label.judges import load_judges
from pipelines.label.labelling import apply_policy
from pipelines.label.pairs import PAIR_SCHEMA
from pipelines.label.reliability import measure_annotators
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from schemas.ids import make_pair_id
from tests.annotators.judging import hold, make_item, show
from tests.conftest import make_recipe

RECIPE = make_recipe(
    "http://127.0.0.1:9/v1",
    judges=[{"model": "m", "method": "ranking", "topology": "round_robin"}],
    label={"policy": "judge_only"},
)
(RANKER,) = load_judges(RECIPE, None)
SMALL = make_item("zero", "one", "two")
LARGE = make_item("zero", "one", "two", "nine")
PLACES = {"zero": 0, "one": 1, "two": 2, "nine": 9}
TWO_ZERO = make_item("two", "zero").target


def say(request: ChatRequest) -> ChatResult:
    """The greater number is better, but zero beats nine."""
    first, second = (
        show(request).partition(f"[Answer {side}]\n")[2].split("\n")[0] for side in "AB"
    )
    wins = PLACES[first] > PLACES[second]
    wins ^= {first, second} == {"zero", "nine"}
    logprobs = {"A": -0.01 if wins else -5.0, "B": -5.0 if wins else -0.01}
    return ChatResult(request.request_id, "A" if wins else "B", first_logprobs=logprobs,
                      tokens_in=10, tokens_out=1)  # fmt: skip


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with open_lake(tmp_path / "lake") as opened:
        yield opened


def rank(
    lake: Lake, item: Item, answer: Callable[[ChatRequest], ChatResult | str] = say
) -> list[Row]:
    rows, _ = hold(RANKER, item, answer)
    lake.append({"judgments": rows}, run=new_run(), stage="judge")
    return rows


def label(lake: Lake, item: Item) -> dict[str, str]:
    """pair -> status of all pairs of a group."""
    pairs = [
        (make_pair_id(item.prompt_id, a, b), item.prompt_id, a, b, "all")
        for a, b in itertools.combinations(item.response_ids, 2)
    ]
    frame = pl.DataFrame(pairs, schema=PAIR_SCHEMA, orient="row")
    found = apply_policy(lake, RECIPE, [RANKER], frame)
    return dict(found.select("pair_id", "status").iter_rows())


def test_a_pair_that_fell_into_a_cycle_is_not_labelled_by_what_was_concluded_before(
    lake: Lake,
) -> None:
    rank(lake, SMALL)
    assert label(lake, SMALL)[TWO_ZERO] == "labelled"
    rank(lake, LARGE)  # two beats zero, zero beats nine, nine beats two
    assert label(lake, LARGE)[TWO_ZERO] == "to_review"


def test_a_response_that_was_cleaned_away_takes_its_group_with_it_and_brings_it_back(
    lake: Lake,
) -> None:
    rank(lake, LARGE)
    assert label(lake, SMALL)[TWO_ZERO] == "to_review", "the small group was never ranked"
    rank(lake, SMALL)
    assert label(lake, SMALL)[TWO_ZERO] == "labelled"
    rank(lake, LARGE)  # again: the lake has these rows
    assert label(lake, LARGE)[TWO_ZERO] == "to_review"


def test_a_group_that_waits_for_a_call_labels_nothing_and_counts_once_when_healed(
    lake: Lake,
) -> None:
    def fail(request: ChatRequest) -> ChatResult:
        broken = "[Answer A]\none" in show(request)
        return ChatResult(request.request_id, error="http_500") if broken else say(request)

    rank(lake, SMALL, fail)
    assert set(label(lake, SMALL).values()) == {"to_review"}
    waiting = measure_annotators(lake)
    assert waiting.rankings.row(0, named=True)["waiting"] == 1
    rank(lake, SMALL)
    assert label(lake, SMALL)[TWO_ZERO] == "labelled"
    healed = measure_annotators(lake)
    assert healed.rankings.row(0) == (RANKER.annotator, 1, 0, 0)
    card = healed.to_json()["annotators"][RANKER.annotator]
    assert (card["n"], card["tokens"]) == (1, 2 * 3 * 11), "what the comparisons cost"


def test_cards_count_the_newest_ranking_of_a_prompt_and_list_its_cycles(lake: Lake) -> None:
    rank(lake, SMALL)
    assert measure_annotators(lake).cycles.is_empty()
    rows = rank(lake, LARGE)
    found = measure_annotators(lake)
    spoken = [row for row in rows if row["annotator"] == RANKER.annotator and row["response_b"]]
    card = found.to_json()["annotators"][RANKER.annotator]
    assert (card["n"], card["tokens"]) == (len(spoken), 2 * 6 * 11)
    assert found.rankings.row(0) == (RANKER.annotator, 1, 0, 1)
    (cycle,) = found.cycles["cycle"].to_list()
    names = dict(zip(LARGE.response_ids, LARGE.contents, strict=True))
    assert {names[response] for response in cycle} == {"zero", "two", "nine"}


@pytest.mark.parametrize("ids", [("0", "f"), ("f", "0")])
def test_of_several_revisions_in_one_pull_the_desks_time_decides(
    lake: Lake, ids: tuple[str, str]
) -> None:
    a, b = make_item("one", "two").response_ids
    rows = [revise(judgment_id, time, a, b) for judgment_id, time in zip(ids, "12", strict=True)]
    lake.append({"judgments": rows}, run=new_run(), stage="review_pull")
    found = measure_annotators(lake)
    assert found.gold["p_a"].to_list() == [1.0]


def revise(judgment_id: str, time: str, a: str, b: str) -> dict[str, Any]:
    """A person's word: b at time 1, a from then on."""
    return {"judgment_id": judgment_id, "annotator": "person-x", "kind": "human",
            "prompt_id": SMALL.prompt_id, "response_a": a, "response_b": b,
            "p_a": 0.0 if time == "1" else 1.0, "tie": False, "valid": True, "sample_index": 0,
            "detail": f'{{"updated_at": "{time}"}}'}  # fmt: skip
