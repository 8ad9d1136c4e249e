"""Splits: by cluster, append-only, and closed to what would leak from one into another."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.clean.dedup import (
    dedup_prompts,
    find_duplicates,
    fold_duplicates,
    keep_distinct,
)
from pipelines.clean.splits import assign_splits, keep_split, make_split_scope, split_prompts
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from schemas.ids import make_id
from tests.conftest import make_recipe

WORDS = [f"word{i}" for i in range(400)]
SPLIT_SCHEMA = {"prompt_id": pl.String, "cluster_id": pl.String, "split": pl.String}
EMPTY = pl.DataFrame(schema=SPLIT_SCHEMA)


def make_prompts(
    rows: list[tuple[str, str, str | None]], verifier: str | None = None
) -> pl.DataFrame:
    """A frame of (prompt id, text, parent id)."""
    return pl.DataFrame(
        {
            "prompt_id": [row[0] for row in rows],
            "messages": [[{"role": "user", "content": row[1]}] for row in rows],
            "parent_id": [row[2] for row in rows],
            "verifier": [verifier] * len(rows),
            "duplicates": [[] for _ in rows],
        },
        schema_overrides={"parent_id": pl.String, "verifier": pl.String,
                          "duplicates": pl.List(pl.String)},
    )  # fmt: skip


def window(start: int) -> str:
    """40 words; windows 8 apart are close (0.64 of their shingles), 16 apart are not (0.38)."""
    return " ".join(WORDS[start : start + 40])


def known(**splits: str) -> pl.DataFrame:
    rows = [(name, f"cluster-{name}", split) for name, split in splits.items()]
    return pl.DataFrame(rows, schema=SPLIT_SCHEMA, orient="row")


def to_frame(rows: list[dict[str, str]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SPLIT_SCHEMA)


def test_a_cluster_is_one_split() -> None:
    prompts = make_prompts([(f"p{i}", window(8 * i), None) for i in range(8)])
    rows, bridges = assign_splits(prompts, EMPTY, 0.5)
    assert (len(rows), bridges) == (8, [])
    assert len({(row["cluster_id"], row["split"]) for row in rows}) == 1


def test_the_share_is_met_by_clusters_and_a_bigger_one_only_adds_to_the_test_split() -> None:
    texts = [f"{i} " + " ".join(f"{w}-{i}" for w in WORDS[:6]) for i in range(400)]
    prompts = make_prompts([(f"p{i:03}", text, None) for i, text in enumerate(texts)])
    held_out = {}
    for share in (0.2, 0.5):
        rows, _ = assign_splits(prompts, EMPTY, share)
        held_out[share] = {row["prompt_id"] for row in rows if row["split"] == "test"}
        assert abs(len(held_out[share]) / 400 - share) < 0.08
    assert held_out[0.2] < held_out[0.5]
    assert {r["split"] for r in assign_splits(prompts, EMPTY, 1.0)[0]} == {"test"}


def test_a_prompt_between_two_splits_is_a_bridge_and_one_within_a_split_is_not() -> None:
    prompts = make_prompts([(name, window(8 * i), None) for i, name in enumerate("abc")])
    rows, bridges = assign_splits(prompts, known(a="train", c="test"), 0.2)
    assert (rows, bridges) == ([], ["b"])
    rows, bridges = assign_splits(prompts, known(a="test", c="test"), 0.2)
    assert bridges == []
    assert rows == [{"prompt_id": "b", "cluster_id": "cluster-a", "split": "test"}]


def test_of_two_close_prompts_with_their_splits_from_elsewhere_the_one_for_training_goes() -> None:
    near = make_prompts([("a", window(0), None), ("b", window(4), None)])
    assert assign_splits(near, known(a="train", b="test"), 0.2) == ([], ["a"])
    assert assign_splits(near, known(a="test", b="gold-teach"), 0.2) == ([], ["b"])
    assert assign_splits(near, known(a="train", b="gold-teach"), 0.2) == ([], [])


def test_a_newcomer_takes_the_split_of_its_cluster_whatever_its_own_hash_says() -> None:
    prompts = make_prompts([("a", window(0), None), ("0", window(4), None), ("k", "kid", "a")])
    for split in ("train", "test"):
        rows, _ = assign_splits(prompts, known(a=split), 0.5)
        assert {row["prompt_id"]: row["split"] for row in rows} == {"0": split, "k": split}


@pytest.mark.parametrize("names", list(permutations("cde")))
def test_children_of_one_absent_parent_stay_together(names: tuple[str, str, str]) -> None:
    """`two` and `three` are close; through them the children of both parents are one family."""
    one, two, three = names
    prompts = make_prompts([(one, "quite another text", "x"), (two, window(0), "x"),
                            (three, window(4), "y")])  # fmt: skip
    rows, _ = assign_splits(prompts, EMPTY, 0.5)
    assert len({row["cluster_id"] for row in rows}) == 1


def test_checked_tasks_are_clusters_of_their_own() -> None:
    prompts = make_prompts([(f"p{i}", window(i), None) for i in range(6)], verifier="math_verify")
    rows, _ = assign_splits(prompts, EMPTY, 0.5)
    assert len({row["cluster_id"] for row in rows}) == 6


texts = st.one_of(
    st.integers(0, 14).map(lambda i: window(8 * i)),
    st.integers(0, 5).map(lambda i: f"a short question number {i}"),
)
family = st.integers(0, 19)
items = st.lists(st.tuples(texts, st.none() | family), min_size=1, max_size=18)


@settings(deadline=None, max_examples=80)
@given(items, st.permutations(range(18)), st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_growing_the_pool_never_moves_a_prompt_and_no_family_straddles(
    drawn: list[tuple[str, int | None]], order: list[int], steps: list[int]
) -> None:
    rows = [
        (f"p{i:02}", text, None if parent is None or parent == i else f"p{parent:02}")
        for i, (text, parent) in enumerate(drawn)
    ]
    rows = [rows[i] for i in order if i < len(rows)]
    settled, size = EMPTY, 0
    for step in [*steps, len(rows)]:
        size = min(size + step, len(rows))
        pool = make_prompts(rows[:size])
        fresh, bridges = assign_splits(pool, settled, 0.5)
        new = {row["prompt_id"] for row in fresh}
        assert not new & set(settled["prompt_id"])
        assert set(pool["prompt_id"]) - set(settled["prompt_id"]) == new | set(bridges)
        assert not new & set(bridges)
        settled = pl.concat([settled, to_frame(fresh)])
        assert assign_splits(pool, settled, 0.5)[0] == []
    assert settled.group_by("cluster_id").agg(pl.col("split").n_unique())["split"].max() == 1
    split = dict(settled.select("prompt_id", "split").iter_rows())
    for name, text, parent in rows:
        for other, other_text, other_parent in rows:
            related = parent == other or text == other_text or (parent and parent == other_parent)
            if related and name in split and other in split:
                assert split[name] == split[other], (name, other)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    with open_lake(tmp_path_factory.mktemp("lake") / "lake") as opened:
        yield opened


def test_the_stage_writes_splits_once_and_drops_bridges(lake: Lake) -> None:
    recipe = make_recipe("http://localhost/v1", split={"test": 0.5})
    # two distant texts whose clusters fall into different splits
    ends = make_prompts([("b", window(0), None), ("c", window(16), None), ("f", "far", None)])
    first = split_prompts(lake, new_run(), recipe, ends)
    before = keep_split(lake, recipe, ends)
    assert (first.rows_in, first.kept, len(before)) == (3, 3, 3)
    assert before["split"][0] != before["split"][1]
    grown = pl.concat([ends, make_prompts([("a", window(8), None), ("g", "far", "f")])])
    second = split_prompts(lake, new_run(), recipe, grown)
    assert (second.rows_in, second.kept, second.dropped) == (5, 4, {"bridges_splits": 1})
    after = keep_split(lake, recipe, grown)
    assert after["prompt_id"].to_list() == ["b", "c", "f", "g"]
    assert after[:3].equals(before)
    assert after["split"][3] == after["split"][2]
    assert split_prompts(lake, new_run(), recipe, grown).to_json() == second.to_json()
    assert lake.query("SELECT count(*) AS n FROM splits")["n"][0] == 4
    # another share moves nobody who has a split
    moved = make_recipe("http://localhost/v1", split={"test": 1.0})
    split_prompts(lake, new_run(), moved, ends)
    assert keep_split(lake, moved, ends).equals(before)


def test_what_groups_prompts_decides_the_scope() -> None:
    recipe = make_recipe()
    frames = [
        make_prompts([("a", "one", None), ("b", "two", None)]),
        make_prompts([("a", "one", None), ("b", "two", "a")]),
        make_prompts([("a", "one", None), ("b", "two", None)], verifier="math_verify"),
    ]
    assert len({make_split_scope(recipe, frame) for frame in frames}) == 3


def walk(lake: Lake, prompts: pl.DataFrame) -> dict[str, str]:
    """Dedup and split as the stages do; gives prompt -> split of what stays."""
    prompts = prompts.drop("duplicates")
    recipe = make_recipe("http://localhost/v1", split={"test": 0.5})
    dedup_prompts(lake, new_run(), recipe, prompts)
    distinct = keep_distinct(lake, recipe, prompts)
    split_prompts(lake, new_run(), recipe, distinct)
    kept = keep_split(lake, recipe, distinct)
    assert kept.columns == [*prompts.columns, "cluster_id", "split"]
    return dict(kept.select("prompt_id", "split").iter_rows())


def test_a_duplicate_that_comes_later_takes_neither_the_place_nor_another_split(lake: Lake) -> None:
    texts = [" ".join(f"{word}-of-{number}" for word in WORDS[:40]) for number in range(8)]
    old = [(f"new-p{number}", text, None) for number, text in enumerate(texts)]
    smaller = [(f"a{number}", text.upper(), None) for number, text in enumerate(texts)]
    smaller += [(f"b{number}", f"{text} or so", None) for number, text in enumerate(texts)]
    first = walk(lake, make_prompts(old))
    assert set(first.values()) == {"train", "test"}
    assert walk(lake, make_prompts([*old, *smaller])) == first
    # by themselves they are what they repeat
    later = walk(lake, make_prompts(smaller))
    assert later == {f"a{number}": first[f"new-p{number}"] for number in range(8)}


def test_a_prompt_has_the_split_of_its_duplicates_and_none_where_they_differ() -> None:
    def assign(**splits: str) -> tuple[list[tuple[str, str]], list[str]]:
        duplicates = pl.Series([["b", "c"], []], dtype=pl.List(pl.String))
        prompts = make_prompts([("a", window(0), None), ("z", "another", None)])
        rows, bridges = assign_splits(
            prompts.with_columns(duplicates=duplicates), known(z="test", **splits), 0.5
        )
        assert len({row["cluster_id"] for row in rows}) <= 1
        return [(row["prompt_id"], row["split"]) for row in rows], bridges

    for split in ("train", "test"):
        assert assign(b=split) == ([("a", split), ("c", split)], [])
        assert assign(a=split) == ([("b", split), ("c", split)], [])
    assert len(assign()[0]) == 3
    assert assign(b="train", c="test") == ([], ["a"])
    assert assign(a="train", b="test") == ([], ["a"])
    assert assign(a="test", b="train") == ([], [])


arrivals = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["", " or so", " at all"]), st.booleans(),
              st.booleans()),
    min_size=2, max_size=8,
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(arrivals, st.integers(), st.integers(1, 3))
def test_no_prompt_and_no_duplicate_of_it_is_ever_on_both_sides(
    drawn: list[tuple[int, str, bool, bool]], salt: int, step: int
) -> None:
    """Whatever comes in whatever order with whatever id: what was trained on is never examined."""
    rows, checked = [], {}
    for number, (place, ending, loud, is_checked) in enumerate(drawn):
        text = window(8 * place) + ending
        name = make_id("name", salt, number)
        rows.append((name, text.upper() if loud else text, None))
        checked[name] = "math_verify" if is_checked else None
    pool = make_prompts(rows).with_columns(
        verifier=pl.Series([checked[name] for name, _, _ in rows], dtype=pl.String)
    )
    text_of = {name: draw[:2] for (name, _, _), draw in zip(rows, drawn, strict=True)}
    settled, seen = EMPTY, {}
    for size in range(step, len(pool) + step, step):
        arrived = pool[:size]
        ranked = settled.sort(pl.col("split") != "test", maintain_order=True)["prompt_id"]
        found = find_duplicates(arrived, 0.8, ranked.to_list())
        leads = {row["item_id"]: row["representative"] for row in found}
        distinct = fold_duplicates(arrived, leads)
        fresh, bridges = assign_splits(distinct, settled, 0.5)
        settled = pl.concat([settled, to_frame(fresh).sort("prompt_id")])
        splits = dict(settled.select("prompt_id", "split").iter_rows())
        for name in set(distinct["prompt_id"]) - set(bridges):
            assert seen.setdefault(name, splits[name]) == splits[name]
    assert seen
    for one, other in combinations(seen, 2):
        exact = text_of[one] == text_of[other]
        near = text_of[one][0] == text_of[other][0] and not (checked[one] or checked[other])
        if exact or near:
            assert seen[one] == seen[other]
