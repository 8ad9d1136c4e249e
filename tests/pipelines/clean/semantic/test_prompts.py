"""Paraphrases among prompts: dropped where a recipe asks for it, never astride two splits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pipelines.clean.dedup import dedup_prompts, keep_distinct, make_dedup_scope
from pipelines.clean.mix import choose_pairs
from pipelines.clean.semantic import prompts as module
from pipelines.clean.semantic.prompts import class_prompts, group_reworded, list_numbers
from pipelines.clean.splits import keep_split, make_split_scope, split_prompts
from pipelines.clean.strata import add_strata
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from schemas.mixing import MixSpec
from schemas.recipe import Recipe
from tests.conftest import make_recipe
from tests.pipelines.clean.semantic.fake_vectors import embed
from tests.pipelines.clean.test_dedup import MESSAGES

CHECKED = {"verifier": "math_verify", "answer": "7", "verifier_data": None}
SCHEMA = {
    "prompt_id": pl.String, "messages": MESSAGES, "verifier": pl.String, "answer": pl.String,
    "verifier_data": pl.String, "parent_id": pl.String, "duplicates": pl.List(pl.String),
}  # fmt: skip


@pytest.fixture
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    with open_lake(str(tmp_path_factory.mktemp("semantic") / "lake")) as opened:
        yield opened


@pytest.fixture(autouse=True)
def fake_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "embed_cached", embed)


def make_prompts(texts: dict[str, str], **checks: dict[str, Any]) -> pl.DataFrame:
    """A frame of prompts by id; `checks` says what is checked of some."""
    rows = [
        {"prompt_id": name, "messages": [{"role": "user", "content": text}], "duplicates": [],
         **checks.get(name, {})}
        for name, text in texts.items()
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=SCHEMA)


def dedup(
    lake: Lake, prompts: pl.DataFrame, similarity: float | None = 0.9
) -> tuple[Recipe, pl.DataFrame]:
    """The recipe and the decisions."""
    recipe = make_recipe(clean={"paraphrase_similarity": similarity})
    dedup_prompts(lake, new_run(recipe), recipe, prompts)
    scope = make_dedup_scope(recipe, prompts)
    return recipe, lake.query(
        "SELECT item_id, rule, reason, value, threshold, group_id, representative FROM decisions "
        "WHERE scope = ? ORDER BY item_id", [scope],
    )  # fmt: skip


def test_a_paraphrase_is_dropped_and_says_of_what(lake: Lake) -> None:
    prompts = make_prompts({
        "a": "Boil an egg.", "b": "boil  AN egg.", "c": "Boil me one of those eggs, please.",
        "d": "Fry an egg.",
    })  # fmt: skip
    recipe, rows = dedup(lake, prompts)
    assert rows["item_id"].to_list() == ["b", "c"]
    assert rows["rule"].to_list() == ["exact_duplicate", "paraphrase"]
    row = rows.row(1, named=True)
    assert (row["representative"], row["group_id"], row["threshold"]) == ("a", "a", 0.9)
    assert row["reason"] == f"says what a says ({row['value']:.2f})"
    assert 0.9 < row["value"] < 1
    distinct = keep_distinct(lake, recipe, prompts)
    assert dict(distinct.select("prompt_id", "duplicates").rows()) == {"a": ["b", "c"], "d": []}
    # a second dedup of what was kept finds nothing
    assert dedup(lake, distinct)[1].is_empty()


def test_nothing_is_embedded_unless_the_recipe_asks(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "embed_cached", lambda *_: pytest.fail("embedded"))
    prompts = make_prompts({"a": "Boil an egg.", "c": "Boil me one of those eggs, please."})
    assert dedup(lake, prompts, None)[1].is_empty()
    recipe = make_recipe()
    assert split_prompts(lake, new_run(recipe), recipe, prompts).kept == 2


def test_the_setting_is_part_of_the_scope() -> None:
    prompts = make_prompts({"a": "Boil an egg.", "c": "Boil me one of those eggs, please."})
    scopes = {
        make_dedup_scope(make_recipe(clean={"paraphrase_similarity": value}), prompts)
        for value in (None, 0.9, 0.95)
    }
    assert len(scopes) == 3
    kinds: tuple[str, ...] = ("near", "semantic")
    splits = {make_split_scope(make_recipe(split={"clusters": kind}), prompts) for kind in kinds}
    assert len(splits) == 2


def test_one_that_has_a_split_stays(lake: Lake) -> None:
    recipe = make_recipe()
    texts = {"m": "Boil an egg.", "z": "Fry an egg."}
    split_prompts(lake, new_run(recipe), recipe, make_prompts(texts))
    _, rows = dedup(lake, make_prompts({**texts, "a": "Boil me an egg, if you would."}))
    assert rows.select("item_id", "representative").rows() == [("a", "m")]


@pytest.mark.parametrize(("other", "merged"), [
    ({}, True),
    ({"answer": "8"}, False),
    ({"verifier": "reasoning_gym"}, False),
    ({"verifier_data": "{}"}, False),
    ({"verifier": None, "answer": None}, False),
])  # fmt: skip
def test_what_checks_another_answer_is_another_task(
    lake: Lake, other: dict[str, Any], merged: bool
) -> None:
    prompts = make_prompts({"a": "Sum three and 4.", "b": "Sum 3 with four."},
                           a=CHECKED, b={**CHECKED, **other})  # fmt: skip
    _, rows = dedup(lake, prompts)
    assert len(rows) == merged


@pytest.mark.parametrize("text", ["Sum 3 and 5.", "Sum 3 and 4 twice.", "Sum 3, 4 and 1."])
def test_other_numbers_are_another_task(lake: Lake, text: str) -> None:
    texts = {"a": "Sum three and 4.", "b": text}
    assert dedup(lake, make_prompts(texts, a=CHECKED, b=CHECKED))[1].is_empty()
    assert len(dedup(lake, make_prompts(texts))[1]) == 1  # open prompts may


@pytest.mark.parametrize(("text", "numbers"), [
    ("", ""),
    ("Nothing to count.", ""),
    ("1,000 and 1000 and a thousand", "1000"),
    ("$3.50, 3.5 or 3.0", "3 3.5"),
    ("twice two, doubled; half of it", "2"),
    ("at 10:30 on 3/4", "10:30 3/4"),
    ("Twenty-five", "20 5"),
    ("one of them, 1", "1"),
])  # fmt: skip
def test_numbers_of_a_text(text: str, numbers: str) -> None:
    assert list_numbers(text) == numbers


def test_a_text_that_the_embedder_sees_a_part_of_is_not_merged(lake: Lake) -> None:
    long = "Boil " + "an egg and then another " * 80
    texts = {"a": f"{long} in water.", "b": f"{long} in oil."}
    frame = make_prompts(texts).with_columns(text=pl.Series(list(texts.values())))
    run = new_run(make_recipe())
    assert group_reworded(lake, run, frame, 0.9, whole=True) == {}
    assert group_reworded(lake, run, frame, 0.9)["b"][0] == "a"


@pytest.mark.parametrize("texts", [{}, {"a": "Hm."}, {"a": "", "b": "", "c": "?!"}])
def test_too_few_to_compare(lake: Lake, texts: dict[str, str]) -> None:
    frame = make_prompts(texts)
    asked = frame.with_columns(text=pl.Series(list(texts.values()), dtype=pl.String))
    assert group_reworded(lake, new_run(make_recipe()), asked, 0.9) == {}
    assert class_prompts(asked) == [None] * len(texts)


def split(lake: Lake, recipe: Recipe, names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Prompt id -> cluster and split, of prompts named by what they say and a number."""
    prompts = make_prompts({n: f"{n[0]} by{n} as{n} in{n}" for n in sorted(names)})
    split_prompts(lake, new_run(recipe), recipe, prompts)
    kept = keep_split(lake, recipe, prompts)
    return {row[0]: row[1:] for row in kept.select("prompt_id", "cluster_id", "split").rows()}


NAMES = [f"{letter}{number}" for letter in "abcdefgh" for number in range(4)]


@settings(max_examples=8, phases=[Phase.explicit, Phase.generate])  # a lake is slow to shrink
@given(steps=st.lists(st.lists(st.sampled_from(NAMES), min_size=1), min_size=1, max_size=4))
def test_paraphrases_share_a_split_and_keep_it(
    steps: list[list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    recipe = make_recipe(split={"test": 0.5, "clusters": "semantic"})
    with open_lake(str(tmp_path_factory.mktemp("grown") / "lake")) as lake:
        names: set[str] = set()
        before: dict[str, tuple[str, str]] = {}
        for step in steps:
            names |= set(step)
            after = split(lake, recipe, sorted(names))
            assert set(after) == names
            assert {name: after[name] for name in before} == before
            for letter in {name[0] for name in names}:
                assert len({after[name] for name in names if name[0] == letter}) == 1
            before = after


def test_paraphrases_that_were_split_apart_do_not_stay_so(lake: Lake) -> None:
    near = make_recipe(split={"test": 0.5})
    semantic = make_recipe(split={"test": 0.5, "clusters": "semantic"})
    apart = split(lake, near, NAMES)
    torn = {n[0] for n in NAMES if len({apart[m][1] for m in NAMES if m[0] == n[0]}) > 1}
    assert torn
    after = split(lake, semantic, NAMES)
    for letter in {name[0] for name in NAMES}:
        sides = {after[name][1] for name in after if name[0] == letter}
        assert len(sides) == 1
        assert letter not in torn or sides == {"test"}
    assert all(after[name][1] == apart[name][1] for name in after)


def test_the_mix_takes_one_pair_of_what_says_the_same(lake: Lake) -> None:
    recipe = make_recipe(split={"clusters": "semantic"})
    prompts = make_prompts({n: f"{n[0]} by{n} as{n} in{n}" for n in NAMES})
    split_prompts(lake, new_run(recipe), recipe, prompts)
    pairs = pl.DataFrame({"pair_id": [f"pair-{n}" for n in NAMES], "prompt_id": NAMES,
                          "category": "open", "source": "seeds"})  # fmt: skip
    mix = MixSpec(per_cluster=1)
    rollouts = pl.DataFrame(schema={"response_id": pl.String, "content": pl.String})
    mixable = add_strata(lake, pairs, keep_split(lake, recipe, prompts), rollouts, mix)
    dropped, _ = choose_pairs(mixable, mix, seed=0)
    kept = set(pairs["pair_id"]) - set(dropped["pair_id"])
    assert sorted(name[5] for name in kept) == list("abcdefgh")
