"""Weights of a data set's pairs, from the recipe to what is published."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
import pytest

from pipelines.clean.learned_weights import TooLittleGold
from pipelines.clean.weighing import add_weights, weigh_pairs
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from tests.conftest import make_recipe

GOOD, BAD = "It is a clear and kind answer, number {}.", "go away, {} times over"


@pytest.fixture
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    with open_lake(tmp_path_factory.mktemp("lake") / "lake") as opened:
        yield opened


def make_pairs(pool: int, gold: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Pairs of which source `right` prefers the good answer and source `wrong` the bad one; gold
    prefers the good one. With the responses."""
    rows, contents = [], []
    for i in range(pool + gold):
        source = "gold" if i >= pool else ("right", "wrong")[i % 2]
        texts = {f"g{i}": GOOD.format(i), f"b{i}": BAD.format(i)}
        contents += texts.items()
        chosen, rejected = list(texts) if source != "wrong" else list(texts)[::-1]
        tier = "gold" if i >= pool else "silver"
        rows.append((f"pair{i}", chosen, rejected, tier, (i % 5) / 5, source, "advice"))
    names = ("pair_id", "chosen_id", "rejected_id", "tier", "margin", "source", "category")
    responses = pl.DataFrame(contents, schema=["response_id", "content"], orient="row")
    pairs = pl.DataFrame(rows, schema=list(names), orient="row")
    return pairs.with_columns(split=pl.lit("train")), responses


@pytest.mark.slow
def test_gold_says_which_source_to_believe(lake: Lake) -> None:
    pairs, responses = make_pairs(80, 130)
    recipe = make_recipe(mix={"weigh": "source"})
    summary = weigh_pairs(lake, new_run(), recipe, pairs, responses)
    assert (summary.rows_in, summary.kept) == (210, 210)
    told = summary.extra["weights"]
    assert told["used"] and told["accuracy"] > 0.95
    weights = {row["domain"]: row["weight"] for row in told["domains"]}
    assert weights["right"] > 1.5 and weights["wrong"] < 0.1
    by_source = add_weights(lake, recipe, pairs).group_by("source").agg(pl.col("weight").unique())
    assert dict(by_source.rows()) == {
        "right": [weights["right"]], "wrong": [weights["wrong"]], "gold": [1.0],
    }  # fmt: skip
    again = weigh_pairs(lake, new_run(), recipe, pairs[::-1], responses)
    assert again.to_json() == summary.to_json()


@pytest.mark.slow
def test_too_little_gold_is_refused(lake: Lake) -> None:
    pairs, responses = make_pairs(10, 20)
    with pytest.raises(TooLittleGold, match="20 gold pairs"):
        weigh_pairs(lake, new_run(), make_recipe(mix={"weigh": "source"}), pairs, responses)


def test_margins_weigh_without_a_model(lake: Lake) -> None:
    pairs, responses = make_pairs(10, 0)
    recipe = make_recipe(mix={"weigh": "margin"})
    weigh_pairs(lake, new_run(), recipe, pairs, responses)
    found = add_weights(lake, recipe, pairs).sort("margin")
    assert found["weight"][0] == 1.0
    assert found["weight"].is_sorted() and found["weight"][-1] > 1.03


@pytest.mark.slow
def test_difficulty_weighs_within_a_category(lake: Lake) -> None:
    pairs, responses = make_pairs(12, 0)
    recipe = make_recipe(mix={"weigh": "difficulty"})
    weigh_pairs(lake, new_run(), recipe, pairs, responses)
    found = add_weights(lake, recipe, pairs)["weight"]
    assert (found > 0).all() and abs(found.mean() - 1) < 0.1 and found.n_unique() > 1


def test_without_the_key_every_pair_counts_one(lake: Lake) -> None:
    pairs, responses = make_pairs(4, 0)
    recipe = make_recipe()
    assert weigh_pairs(lake, new_run(), recipe, pairs, responses).kept == 4
    assert add_weights(lake, recipe, pairs)["weight"].to_list() == [1.0] * 4
