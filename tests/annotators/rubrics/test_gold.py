"""Gold pairs from the lake's gold, and from files read line by line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from annotators.rubrics.gold import GoldBroken, collect_gold, read_gold
from tests.annotators.judging import make_item

ITEM = make_item("one", "two", category="advice")


def frame(p_a: float) -> pl.DataFrame:
    about = {
        "prompt_id": ITEM.prompt_id, "messages": ITEM.messages, "category": "advice",
        "answer": None, "response_a": ITEM.response_ids[0], "response_b": ITEM.response_ids[1],
        "content_a": ITEM.contents[0], "content_b": ITEM.contents[1],
    }  # fmt: skip
    return pl.DataFrame([{**about, "p_a": p_a}], schema_overrides={"answer": pl.String})


@pytest.mark.parametrize("p_a", [1.0, 0.5, 0.0])
def test_a_row_becomes_a_pair(p_a: float) -> None:
    (pair,) = collect_gold(frame(p_a))
    assert pair.p_a == p_a
    assert pair.item.response_ids == ITEM.response_ids and pair.item.contents == ITEM.contents
    assert pair.item.category == "advice"


def test_no_opinions_are_no_gold() -> None:
    assert collect_gold(frame(1.0).clear()) == []


LINE = {"prompt": "Which?", "response_a": "one", "response_b": "two"}


@pytest.mark.parametrize(
    ("said", "first_is_better"),
    [
        ({"p_a": 0.9}, 0.9), ({"verdict": "A"}, 1.0), ({"verdict": "b"}, 0.0),
        ({"verdict": "tie"}, 0.5), ({"score_a": 3, "score_b": 4.5}, 0.0),
        ({"score_a": 2, "score_b": 2}, 0.5),
        ({"p_a": 0.8, "verdict": "A", "score_a": 2, "score_b": 1}, 0.8),
        ({"p_a": None, "verdict": "A"}, 1.0),
    ],
)  # fmt: skip
def test_a_line_speaks_of_its_own_responses(
    said: dict[str, Any], first_is_better: float, tmp_path: Path
) -> None:
    file = tmp_path / "gold.jsonl"
    file.write_text(json.dumps({**LINE, **said}) + "\n\n")
    (pair,) = read_gold(file)
    first = first_is_better if pair.item.contents[0] == "one" else 1 - first_is_better
    assert pair.p_a == pytest.approx(first)
    assert pair.item.response_ids[0] < pair.item.response_ids[1]
    assert pair.item.target == ITEM.target


def test_a_mirrored_line_is_the_same_pair_and_what_is_not_gold_is_left_out(tmp_path: Path) -> None:
    mirrored = {**LINE, "response_a": "two", "response_b": "one", "verdict": "B"}
    lines = [{**LINE, "verdict": "A"}, mirrored, {**LINE, "verdict": "B", "gold": False}]
    file = tmp_path / "gold.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines))
    (pair,) = read_gold(file)
    assert pair.p_a == float(pair.item.contents[0] == "one")


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "7", json.dumps(LINE), json.dumps({**LINE, "p_a": 3}),
     json.dumps({**LINE, "p_a": 0.9, "verdict": "B"}),
     json.dumps({**LINE, "verdict": "A", "score_a": 1, "score_b": 2}),
     json.dumps({**LINE, "score_a": float("nan"), "score_b": 2}),
     json.dumps({**LINE, "verdict": "C"}), json.dumps({**LINE, "score_a": 1}),
     json.dumps({**LINE, "response_b": "one", "p_a": 1}),
     json.dumps({**LINE, "response_b": None, "p_a": 1}), json.dumps({"p_a": 1})],
)  # fmt: skip
def test_a_bad_line_is_named_with_the_form_it_should_have(line: str, tmp_path: Path) -> None:
    file = tmp_path / "gold.jsonl"
    file.write_text(json.dumps({**LINE, "p_a": 1}) + "\n" + line)
    with pytest.raises(GoldBroken, match=r"gold\.jsonl: line 2: .* prompt, response_a"):
        read_gold(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(GoldBroken, match=r"none\.jsonl: cannot be read"):
        read_gold(tmp_path / "none.jsonl")
