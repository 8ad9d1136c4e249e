"""Rows held to their contract: the good ones go in, and each bad one comes back with its rules."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.lake.rows import to_frame, validate
from pipelines.lake.run import Run

Faults = dict[str, dict[str, Any]]
RUN = Run("run")

# broken rule -> the columns that break it
JUDGMENT_FAULTS: Faults = {
    "annotator min_length": {"annotator": ""},
    "prompt_id nullability": {"prompt_id": None},
    "p_a max": {"p_a": 1.5},
    "p_a min": {"p_a": -0.1},
    "sample_index min": {"sample_index": -1},
    "tokens_out min": {"tokens_out": -2},
    "kind_is_known": {"kind": "oracle"},
    "pair_is_ordered": {"response_a": "b", "response_b": "a"},
    "invalid_is_unscored": {"valid": False},
    "pairwise_has_probability": {"p_a": None, "score": 0.5},
}
PROMPT_FAULTS: Faults = {
    "messages min_length": {"messages": []},
    "messages inner_inner_content_nullability": {"messages": [{"role": "user", "content": None}]},
    "messages inner_inner_role_min_length": {"messages": [{"role": "", "content": "Why?"}]},
    "category nullability": {"category": None},
    "source min_length": {"source": ""},
    "licence nullability": {"licence": None},
}


def make_judgment(number: int, fault: dict[str, Any]) -> dict[str, Any]:
    return {
        "judgment_id": f"j{number}", "annotator": "judge", "kind": "llm", "prompt_id": "p",
        "response_a": "a", "response_b": "b", "p_a": 0.25, "score": None, "tie": False,
        "valid": True, "order": "ab", "sample_index": 0, "tokens_out": 2, **fault,
    }  # fmt: skip


def make_prompt(number: int, fault: dict[str, Any]) -> dict[str, Any]:
    return {
        "prompt_id": f"p{number}", "messages": [{"role": "user", "content": f"Why {number}?"}],
        "category": "advice", "source": "open", "licence": "MIT", **fault,
    }  # fmt: skip


CASES = [
    ("judgments", "judgment_id", make_judgment, JUDGMENT_FAULTS),
    ("prompts", "prompt_id", make_prompt, PROMPT_FAULTS),
]


@pytest.mark.parametrize(("table", "key", "make", "faults"), CASES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_good_and_rejected_are_the_input_and_each_rejected_names_its_rule(
    table: str,
    key: str,
    make: Callable[[int, dict[str, Any]], dict[str, Any]],
    faults: Faults,
    data: st.DataObject,
) -> None:
    drawn = data.draw(st.lists(st.none() | st.sampled_from(sorted(faults)), max_size=20))
    rows = [make(number, faults[fault] if fault else {}) for number, fault in enumerate(drawn)]
    frame = to_frame(table, rows, RUN)
    good, rejected = validate(table, frame, "test")

    wanted = [row[key] for row, fault in zip(rows, drawn, strict=True) if fault is None]
    assert good.equals(frame.filter(pl.col(key).is_in(wanted)))  # unchanged, in their order
    returned = {json.loads(row["row"])[key]: row for row in rejected}
    assert len(rejected) == len(returned) == len(frame) - len(good)
    broken = {row[key]: fault for row, fault in zip(rows, drawn, strict=True) if fault is not None}
    assert returned.keys() == broken.keys()
    for item, row in returned.items():
        assert row["reason"] == f"{table}: {broken[item]}"
        assert row["stage"] == "test"
        original = next(r for r in rows if r[key] == item)
        content = json.loads(row["row"])
        assert {name: content[name] for name in original} == original
    assert len({row["quarantine_id"] for row in rejected}) == len(rejected)


def test_a_row_that_breaks_several_rules_names_them_all() -> None:
    bad = make_judgment(0, {"kind": "oracle", "p_a": 2.0})
    good, rejected = validate("judgments", to_frame("judgments", [bad], RUN), "test")
    assert good.is_empty()
    prefix, _, rules = rejected[0]["reason"].partition(": ")
    assert prefix == "judgments" and set(rules.split(", ")) == {"kind_is_known", "p_a max"}


def test_a_column_that_a_table_does_not_have_is_an_error() -> None:
    with pytest.raises(ValueError, match="no column colour"):
        to_frame("prompts", [{**make_prompt(0, {}), "colour": "red"}], RUN)
