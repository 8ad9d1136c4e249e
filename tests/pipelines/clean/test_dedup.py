"""Prompt dedup: exact after normalisation, near by MinHash, and never between checked tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.clean.dedup import (
    dedup_prompts,
    find_duplicates,
    group_near,
    keep_distinct,
    make_dedup_scope,
)
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from schemas.tables import polars_schema
from tests.conftest import make_recipe

WORDS = [f"word{i}" for i in range(400)]
MESSAGES = polars_schema("prompts")["messages"]
LONG = " ".join(WORDS[:60])


def make_prompts(texts: dict[str, str], verifiers: Sequence[str] = ()) -> pl.DataFrame:
    """A frame of prompts by id; those in `verifiers` have a verifier."""
    return pl.DataFrame(
        {
            "prompt_id": list(texts),
            "messages": [[{"role": "user", "content": text}] for text in texts.values()],
            "verifier": ["math_verify" if i in verifiers else None for i in texts],
        },
        schema={"prompt_id": pl.String, "messages": MESSAGES, "verifier": pl.String},
    )


def find(prompts: pl.DataFrame, similarity: float = 0.8) -> dict[str, dict[str, Any]]:
    """Prompt id -> its decision."""
    rows = find_duplicates(prompts, similarity)
    assert len({row["item_id"] for row in rows}) == len(rows)
    return {row["item_id"]: row for row in rows}


def change(text: str, *places: int) -> str:
    """`text` with the words at `places` replaced."""
    words = text.split()
    return " ".join(f"other{i}" if i in places else word for i, word in enumerate(words))


def test_case_white_space_and_unicode_form_do_not_make_a_prompt_new() -> None:
    found = find(make_prompts({
        "b": "Describe a café.", "a": "  describe\n a  CAFÉ.", "c": "Describe a cafe\u0301.",
        "d": "Describe a cafeteria.",
    }))  # fmt: skip
    assert set(found) == {"b", "c"}
    for row in found.values():
        assert (row["rule"], row["representative"], row["group_id"]) == (
            "exact_duplicate", "a", "a")  # fmt: skip
        assert (row["item_kind"], row["action"], row["value"]) == ("prompt", "drop", 1.0)


def test_the_whole_conversation_counts() -> None:
    asked = {"role": "user", "content": "Why?"}
    system = {"role": "system", "content": "Be brief."}
    frame = pl.DataFrame({"prompt_id": ["a", "b"], "messages": [[asked], [system, asked]],
                          "verifier": pl.Series([None, None], dtype=pl.String)})  # fmt: skip
    assert find(frame) == {}


def test_a_changed_word_is_near_and_another_text_is_not() -> None:
    found = find(make_prompts({
        "a": LONG, "b": change(LONG, 59), "c": change(LONG, *range(0, 60, 4)),
        "d": " ".join(WORDS[200:260]),
    }))  # fmt: skip
    assert set(found) == {"b"}
    assert (found["b"]["rule"], found["b"]["representative"]) == ("near_duplicate", "a")
    assert found["b"]["value"] >= found["b"]["threshold"] == 0.8


def test_the_threshold_says_what_is_near() -> None:
    prompts = make_prompts({"a": LONG, "b": change(LONG, 10, 30)})  # 10 of 56 shingles differ
    assert set(find(prompts, 0.5)) == {"b"}
    assert find(prompts, 0.95) == {}


def test_checked_tasks_are_only_compared_exactly() -> None:
    texts = {"a": LONG, "b": change(LONG, 59), "c": LONG.upper(), "d": change(LONG, 58)}
    assert set(find(make_prompts(texts))) == {"b", "c", "d"}
    assert set(find(make_prompts(texts, verifiers="abcd"))) == {"c"}
    # an open prompt that is near a checked task is not the same task
    assert set(find(make_prompts(texts, verifiers="a"))) == {"c", "d"}
    assert find(make_prompts(texts, verifiers="a"))["d"]["representative"] == "b"


def test_a_chain_of_near_prompts_keeps_its_smallest_id() -> None:
    texts = {f"p{i:02}": " ".join(WORDS[i : i + 60]) for i in range(12)}
    ends = make_prompts({name: texts[name] for name in ("p00", "p11")})
    assert find(ends) == {}
    found = find(make_prompts(texts))
    assert {row["representative"] for row in found.values()} == {"p00"}
    assert len(found) == 11


def test_a_crowd_of_one_text_leaves_one() -> None:
    texts = {f"p{i:03}": f"{LONG} ending{i}" for i in range(150)}
    found = find(make_prompts(texts))
    assert set(texts) - set(found) == {"p000"}


def test_short_texts_are_compared_by_their_words() -> None:
    texts = {"a": "name three rivers in france", "b": "name three rivers in spain", "c": ""}
    assert find(make_prompts(texts)) == {}
    assert set(find(make_prompts({**texts, "d": "Name three rivers in France "}))) == {"d"}


def test_who_has_a_split_stays_and_of_two_the_first() -> None:
    texts = {"a": LONG, "b": change(LONG, 59), "c": LONG.upper(), "d": change(LONG, 58)}
    prompts = make_prompts(texts)

    def find_kept(*settled: str) -> set[str]:
        rows = find_duplicates(prompts, 0.8, settled)
        kept = set(texts) - {row["item_id"] for row in rows}
        of_near = {row["representative"] for row in rows if row["rule"] == "near_duplicate"}
        assert of_near == kept
        return kept

    assert find_kept() == {"a"}
    for settled in ("d", "cd", "dc", "bca", "ab"):
        assert find_kept(*settled) == {settled[0]}


pieces = st.lists(st.integers(0, 3), min_size=1, max_size=3).map(
    lambda picks: " ".join(" ".join(WORDS[20 * i : 20 * i + 20]) for i in picks)
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(pieces, st.booleans()), max_size=12), st.randoms())
def test_what_is_dropped_always_has_a_smaller_one_that_stays(
    items: list[tuple[str, bool]], rng: Any
) -> None:
    ids = [f"p{i:02}" for i in range(len(items))]
    texts = dict(zip(ids, (text for text, _ in items), strict=True))
    checked = [i for i, (_, has_verifier) in zip(ids, items, strict=True) if has_verifier]
    prompts = make_prompts(texts, checked)
    found = find(prompts)
    for prompt_id, row in found.items():
        assert row["representative"] < prompt_id
        assert row["representative"] not in found or row["rule"] == "exact_duplicate"
    kept = [texts[i] for i in texts if i not in found]
    assert len(set(kept)) == len(kept)
    order = list(range(len(items)))
    rng.shuffle(order)
    assert find(prompts[order]) == found


def test_every_id_is_in_a_group_that_its_representative_is_in() -> None:
    texts = pl.DataFrame({
        "prompt_id": ["a", "b", "c"], "text": [LONG, change(LONG, 0), "something else"],
    })  # fmt: skip
    groups = group_near(texts, 0.8)
    assert groups["b"][1] == pytest.approx(55 / 57)
    assert {name: kept for name, (kept, _) in groups.items()} == {"a": "a", "b": "a", "c": "c"}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    with open_lake(tmp_path_factory.mktemp("lake") / "lake") as opened:
        yield opened


def test_the_stage_counts_what_it_drops_and_computes_once(lake: Lake) -> None:
    recipe = make_recipe("http://localhost/v1")
    strict = make_recipe("http://localhost/v1", clean={"near_duplicate_similarity": 1.0})
    prompts = make_prompts({"a": LONG, "b": change(LONG, 59), "c": LONG, "d": "something else"})
    summary = dedup_prompts(lake, new_run(), recipe, prompts)
    assert (summary.rows_in, summary.kept) == (4, 2)
    assert summary.dropped == {"exact_duplicate": 1, "near_duplicate": 1}
    assert keep_distinct(lake, recipe, prompts)["prompt_id"].to_list() == ["a", "d"]
    assert keep_distinct(lake, recipe, prompts)["duplicates"].to_list() == [["b", "c"], []]
    decisions = lake.query("FROM decisions ORDER BY item_id")
    assert decisions["representative"].to_list() == ["a", "a"]
    assert dedup_prompts(lake, new_run(), recipe, prompts[::-1]).to_json() == summary.to_json()
    assert lake.query("FROM decisions ORDER BY item_id").equals(decisions)
    # another threshold is another scope, and the first one's decisions stay
    dedup_prompts(lake, new_run(), strict, prompts)
    assert keep_distinct(lake, strict, prompts)["prompt_id"].to_list() == ["a", "b", "d"]
    assert keep_distinct(lake, recipe, prompts)["prompt_id"].to_list() == ["a", "d"]


def test_the_one_for_examining_stays_and_then_the_one_that_had_its_split_first(lake: Lake) -> None:
    recipe = make_recipe("http://localhost/v1")
    for number, (ids, split) in enumerate((("vz", "train"), ("uy", "test"), ("x", "test"))):
        rows = [{"prompt_id": i, "cluster_id": f"c{number}", "split": split} for i in ids]
        lake.append({"splits": rows}, run=new_run(), stage="split")
    for ids, kept in (("tuvxyz", "u"), ("txyz", "y"), ("txz", "x"), ("tvz", "v"), ("tz", "z")):
        prompts = make_prompts({i: f"{LONG} and {i}" for i in ids})
        dedup_prompts(lake, new_run(), recipe, prompts)
        assert keep_distinct(lake, recipe, prompts)["prompt_id"].to_list() == [kept]


def test_whether_a_recipe_checks_a_prompt_decides_its_scope() -> None:
    texts = {"a": "What is 3 plus 4?", "b": "What is 3 plus 5?"}
    recipe = make_recipe()
    checked, open_ones = make_prompts(texts, verifiers=["a", "b"]), make_prompts(texts)
    assert make_dedup_scope(recipe, checked) != make_dedup_scope(recipe, open_ones)
