"""Responses that repeat another one, and what was said of them."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.clean.repeats import drop_repeats, find_repeated, keep_first, list_variants
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from schemas.tables import polars_schema

LONG = "Tell me, in a sentence or two, why the sky is blue."


def make_prompts(*asked: tuple[str, str, str | None]) -> pl.DataFrame:
    """prompt_id, text, verifier."""
    rows = [(i, [{"role": "user", "content": text}], verifier) for i, text, verifier in asked]
    schema = {key: polars_schema("prompts")[key] for key in ("prompt_id", "messages", "verifier")}
    return pl.DataFrame(rows, schema=schema, orient="row")


def make_rollouts(*said: tuple[str, str, str, int]) -> pl.DataFrame:
    """response_id, prompt_id, content, when it came."""
    names = ("response_id", "prompt_id", "content", "created_at")
    frame = pl.DataFrame(list(said), schema=list(names), orient="row")
    return frame.with_columns(rollout_id=pl.col("response_id") + "-r")


def find(prompts: pl.DataFrame, rollouts: pl.DataFrame) -> dict[str, tuple[str, str | None]]:
    rows = find_repeated(prompts, rollouts)
    return {row["item_id"]: (row["rule"], row["representative"]) for row in rows.to_dicts()}


def test_the_first_of_the_same_text_stands_for_the_others() -> None:
    prompts = make_prompts(("p", "Why?", None), ("q", "How?", None))
    rollouts = make_rollouts(
        ("d", "p", "Because.", 1), ("a", "p", " because. ", 2), ("b", "p", "BECAUSE.", 1),
        ("c", "p", "No idea.", 1), ("e", "q", "Because.", 1),
    )  # fmt: skip
    rule = "repeats_response"
    assert find(prompts, rollouts) == {"a": (rule, "b"), "d": (rule, "b")}


def test_where_a_verifier_tells_right_from_wrong_a_space_may_matter() -> None:
    rollouts = make_rollouts(("a", "p", "X = 1", 1), ("b", "p", "x = 1", 1))
    assert find(make_prompts(("p", "Solve it.", "math")), rollouts) == {}


def test_a_response_that_opens_with_its_whole_prompt_goes() -> None:
    rollouts = make_rollouts(
        ("a", "p", f"{LONG.upper()} Because it scatters.", 1),
        ("b", "p", f"You ask: {LONG}", 1),
        ("c", "q", "Why? Because.", 1),
    )
    prompts = make_prompts(("p", LONG, None), ("q", "Why?", None))
    assert find(prompts, rollouts) == {"a": ("copies_prompt", None)}


texts = st.sampled_from(["x", "X ", "y", "", "é", "e\u0301"])


@given(st.lists(st.tuples(st.sampled_from("pq"), texts, st.integers(0, 2)), max_size=12))
def test_each_text_stays_once_and_a_second_pass_finds_nothing(
    drawn: list[tuple[str, str, int]],
) -> None:
    prompts = make_prompts(("p", "Why?", None), ("q", "How?", None))
    said = [(f"{i:02}", *row) for i, row in enumerate(drawn)]
    rollouts = make_rollouts(*said) if said else make_rollouts(("z", "p", "z", 0)).clear()
    found = find_repeated(prompts, rollouts)
    assert find_repeated(prompts, rollouts[::-1]).equals(found)
    left = rollouts.filter(~pl.col("response_id").is_in(found["item_id"].to_list()))
    assert find_repeated(prompts, left).is_empty()
    assert len(left) + len(found) == len(rollouts)
    assert set(found["representative"]) <= set(left["response_id"])


@pytest.fixture
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    with open_lake(tmp_path_factory.mktemp("lake") / "lake") as opened:
        yield opened


def test_the_stage_counts_responses_and_lists_the_variants(lake: Lake) -> None:
    prompts = make_prompts(("p", "Why?", None))
    rollouts = make_rollouts(("a", "p", "Yes", 1), ("b", "p", "yes", 1), ("c", "p", "No", 1))
    summary = drop_repeats(lake, new_run(), prompts, pl.concat([rollouts, rollouts]))
    assert (summary.rows_in, summary.kept, summary.dropped) == (3, 2, {"repeats_response": 1})
    rollouts = pl.concat([rollouts, rollouts])
    assert sorted(set(keep_first(lake, rollouts)["response_id"])) == ["a", "c"]
    assert list_variants(lake, rollouts).rows() == [("b", "a")]
