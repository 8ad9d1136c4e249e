"""The order of a curriculum: from the laws of the sort to what is exported and said."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from pipelines.ship.card import write_card
from pipelines.ship.export import make_dataset, make_rows
from pipelines.ship.ordering import order_pairs
from pipelines.ship.publish import Published, publish_version
from pipelines.ship.train_worker import choose_sampling
from pipelines.steps import SETTLING_STEPS, open_work, run_step
from schemas.mixing import Order
from schemas.recipe import Recipe, parse_recipe

SCHEMA = {"pair_id": pl.String, "difficulty": pl.String, "margin": pl.Float64, "side": pl.String}
rows_of_pairs = st.lists(
    st.tuples(
        st.sampled_from(["easy", "medium", "hard", None, "odd"]), st.sampled_from([0.0, 0.3, 1.0]),
        st.sampled_from(["train", "test"]),
    ),
    max_size=12,
)  # fmt: skip
LEVEL = {"easy": 0, "hard": 2}


def frame(drawn: list[tuple[str | None, float, str]]) -> pl.DataFrame:
    rows = [(f"{i:02}", *row) for i, row in enumerate(drawn)]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@given(rows_of_pairs, st.randoms())
def test_the_harder_of_two_pairs_never_stands_before_the_easier(drawn, random) -> None:
    pairs = frame(drawn)
    easy = order_pairs(pairs, "easy_first", pl.col("side"))
    hard = order_pairs(pairs, "hard_first", pl.col("side"))
    keys = [(LEVEL.get(d, 1), -m) for d, m in easy.select("difficulty", "margin").iter_rows()]
    assert keys == sorted(keys)
    assert [(LEVEL.get(d, 1), -m) for d, m in hard.select("difficulty", "margin").iter_rows()] == (
        keys[::-1]
    )
    for found in (easy, hard):
        for _, part in found.group_by("side", maintain_order=True):
            assert part["order"].to_list() == list(range(len(part)))
        equal = found.group_by("difficulty", "margin", maintain_order=True).agg("pair_id")
        assert all(ids == sorted(ids) for ids in equal["pair_id"].to_list())
    places = list(range(len(pairs)))
    random.shuffle(places)
    assert order_pairs(pairs[places], "easy_first", pl.col("side")).equals(easy)


def make_recipe(pool: Path, order: Order | None) -> Recipe:
    return parse_recipe(
        {
            "name": "small",
            "prompts": {"imports": [{"path": str(pool), "name": "pool", "category": "colours"}]},
            "label": {"policy": "imported"},
            "clean": {"near_duplicate_similarity": 1.0},
            "mix": {"order": order},
            "train": None,
        }
    )


def publish(lake: Path, pool: Path, order: Order | None) -> tuple[Published, pl.DataFrame, str]:
    """The version, its rows and its card. An order has no stage to run."""
    with open_work(str(lake), make_recipe(pool, order), None) as work:
        if order is None:
            for name in ("import", *SETTLING_STEPS):
                run_step(work, name)
        version = publish_version(work.lake, work.run, work.look())
        rows = make_rows(work.lake, version)
        if order == "easy_first":
            parts = make_dataset(work.lake, version)
            assert sum(len(part) for part in parts.values()) == len(rows)
            assert all(list(part["order"]) == [*range(len(part))] for part in parts.values())
        return version, rows, write_card(work.lake, version)


def test_an_ordered_version_is_another_one_and_says_so(tmp_path: Path) -> None:
    pool = tmp_path / "pool.jsonl"
    asked = [{"prompt": f"What is the colour of {i}?", "chosen": f"Blue {i}.",
              "rejected": f"Red {i}."} for i in range(12)]  # fmt: skip
    pool.write_text("".join(json.dumps(row) + "\n" for row in asked))
    plain, rows, card = publish(tmp_path / "lake", pool, None)
    assert "order" not in rows.columns and "curriculum" not in card
    assert rows["pair_id"].is_sorted()
    easy, ordered, card = publish(tmp_path / "lake", pool, "easy_first")
    assert "easy ones first" in card and 'train_sampling_strategy="sequential"' in card
    assert ordered.drop("order").sort("pair_id").equals(rows.sort("pair_id"))
    hard, _, card = publish(tmp_path / "lake", pool, "hard_first")
    assert "hard ones first" in card
    assert len({plain.fingerprint, easy.fingerprint, hard.fingerprint}) == 3
    assert choose_sampling(ordered.columns) == "sequential"
    assert choose_sampling(rows.columns) == "random"
