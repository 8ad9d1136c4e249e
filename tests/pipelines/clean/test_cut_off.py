"""Pairs that are the same as far as a trainer reads them."""

from __future__ import annotations

import polars as pl

from pipelines.clean.cut_off import find_cut_off
from schemas.recipe import CutOffSpec
from schemas.tables import polars_schema

SAME = "one two three four five six seven eight nine ten "


def find(tokens: int, chosen: str, rejected: str, prompt: str = "count to ten") -> list[float]:
    """The shared tokens of each pair that goes."""
    labels = pl.DataFrame({"pair_id": "x", "prompt_id": "p", "chosen_id": "c", "rejected_id": "r"})
    prompts = pl.DataFrame(
        {"prompt_id": ["p"], "messages": [[{"role": "user", "content": prompt}]]},
        schema={key: polars_schema("prompts")[key] for key in ("prompt_id", "messages")},
    )
    rollouts = pl.DataFrame({"response_id": ["c", "r"], "content": [chosen, rejected]})
    rows = find_cut_off(labels, prompts, rollouts, CutOffSpec(tokens=tokens))
    return [row["value"] for row in rows]


def test_a_difference_beyond_the_window_is_none() -> None:
    pair = (SAME + "and a happy end", SAME + "and a sad end")
    assert find(13, *pair) == [13.0]
    assert find(15, *pair) == [15.0]  # 3 of the prompt, 10 numbers, "and a"
    assert find(16, *pair) == []


def test_a_response_that_ends_where_the_other_goes_on_differs_within_the_window() -> None:
    assert find(14, SAME, SAME + "eleven") == []
    assert find(13, SAME, SAME + "eleven") == [13.0]


def test_a_prompt_that_fills_the_window_leaves_nothing_to_tell_apart() -> None:
    assert find(5, "yes", "no", prompt=SAME) == [5.0]


def test_no_pairs_load_no_tokenizer() -> None:
    spec = CutOffSpec(tokenizer="there is no such tokenizer", tokens=4)
    columns = ("pair_id", "prompt_id", "chosen_id", "rejected_id")
    labels = pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    schema = {key: polars_schema("prompts")[key] for key in ("prompt_id", "messages")}
    prompts = pl.DataFrame(schema=schema)
    rollouts = pl.DataFrame(schema={"response_id": pl.String, "content": pl.String})
    assert find_cut_off(labels, prompts, rollouts, spec) == []
