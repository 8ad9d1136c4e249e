"""Mixing: quotas are never passed, nothing is lost, and what is missing is in writing."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.clean.mix import choose_pairs, keep_mixed, make_mix_scope, mix_pairs
from pipelines.clean.shortfall import describe_shortfalls
from pipelines.clean.strata import share_out
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from schemas.mixing import MixSpec
from schemas.recipe import RecipeError
from tests.conftest import make_recipe

CATEGORIES, SOURCES = ["math", "logic", "open"], ["seed", "grown", "pool"]
Rows = list[tuple[str, str]]


def make_pairs(rows: Rows) -> pl.DataFrame:
    """A frame of pairs of (category, source)."""
    return pl.DataFrame(
        [(f"pair{i:03}", *row) for i, row in enumerate(rows)],
        schema=dict.fromkeys(["pair_id", "category", "source"], pl.String),
        orient="row",
    )


def keep(pairs: pl.DataFrame, mix: MixSpec, seed: int = 0) -> pl.DataFrame:
    dropped, _ = choose_pairs(pairs, mix, seed)
    return pairs.join(dropped, on="pair_id", how="anti", maintain_order="left")


def shares(names: list[str]) -> st.SearchStrategy[dict[str, float]]:
    weights = st.lists(st.integers(0, 20), min_size=len(names), max_size=len(names))
    return weights.map(
        lambda drawn: {
            name: weight / 60 for name, weight in zip(names, drawn, strict=True) if weight
        }
    )


rows_of_pairs = st.lists(
    st.tuples(st.sampled_from(CATEGORIES), st.sampled_from(SOURCES)), max_size=60
)
mixes = st.builds(
    MixSpec,
    total=st.none() | st.integers(5, 80),
    categories=shares(CATEGORIES),
    sources=shares(SOURCES),
)


@settings(deadline=None, max_examples=150)
@given(rows_of_pairs, mixes, st.integers(0, 9))
def test_no_quota_is_passed_and_every_pair_is_accounted_for(
    rows: Rows, mix: MixSpec, seed: int
) -> None:
    pairs = make_pairs(rows)
    total = mix.total or len(pairs)
    dropped, report = choose_pairs(pairs, mix, seed)
    assert dropped["pair_id"].n_unique() == len(dropped)
    kept = keep(pairs, mix, seed)
    assert len(kept) + len(dropped) == len(pairs)
    assert len(kept) <= total
    for kind, named in (("category", mix.categories), ("source", mix.sources)):
        counts = Counter(kept[kind].to_list())
        assert set(report[kind]) == set(named)
        for name, share in named.items():
            quota = report[kind][name]
            assert counts[name] == quota["got"] <= quota["wanted"] <= share * total + 1e-6
            assert quota["wanted"] > share * total - 1


@settings(deadline=None, max_examples=100)
@given(rows_of_pairs, mixes, st.integers(0, 9))
def test_a_pair_is_left_out_only_where_the_rule_it_names_is_full(
    rows: Rows, mix: MixSpec, seed: int
) -> None:
    pairs = make_pairs(rows)
    dropped, report = choose_pairs(pairs, mix, seed)
    kept = len(pairs) - len(dropped)
    sides = {row[0]: row[1:] for row in pairs.iter_rows()}
    for pair_id, rule, _ in dropped.iter_rows():
        if rule == "over_total":
            assert kept == mix.total
            continue
        kind = rule.removeprefix("over_quota_")
        quota = report[kind][sides[pair_id][("category", "source").index(kind)]]
        assert quota["got"] == quota["wanted"]


@settings(deadline=None, max_examples=60)
@given(rows_of_pairs, mixes, st.randoms(use_true_random=False))
def test_the_choice_follows_from_the_pairs_and_the_seed(rows: Rows, mix: MixSpec, rng) -> None:  # type: ignore[no-untyped-def]
    pairs = make_pairs(rows)
    order = list(range(len(pairs)))
    rng.shuffle(order)
    (dropped, report), (again, same) = (
        choose_pairs(rows, mix, 3) for rows in (pairs, pairs[order])
    )
    assert again.equals(dropped) and same == report


def test_another_seed_chooses_others() -> None:
    pairs = make_pairs([("math", "seed")] * 40)
    assert not keep(pairs, MixSpec(total=20), 1).equals(keep(pairs, MixSpec(total=20), 2))


def test_without_quotas_nothing_is_dropped() -> None:
    dropped, report = choose_pairs(make_pairs([("math", "seed")] * 9), MixSpec(), 0)
    assert dropped.is_empty() and report == {"category": {}, "source": {}}


def test_a_share_is_not_rounded_away() -> None:
    """0.29 * 100 is 28.999999999999996."""
    pairs = make_pairs([("math", "seed")] * 100)
    _, report = choose_pairs(pairs, MixSpec(categories={"math": 0.29}), 0)
    assert report["category"]["math"] == {"wanted": 29, "got": 29, "available": 100}


def test_pairs_without_a_quota_do_not_take_the_room_of_those_with_one() -> None:
    pairs = make_pairs([("open", "seed")] * 190 + [("math", "seed")] * 10)
    mix = MixSpec(total=20, categories={"math": 0.5})
    kept = Counter(keep(pairs, mix)["category"].to_list())
    assert kept == {"math": 10, "open": 10}


def test_what_a_short_quota_leaves_goes_to_the_others_and_the_shortfall_is_told() -> None:
    pairs = make_pairs([("open", "seed")] * 100 + [("math", "seed")] * 3)
    mix = MixSpec(total=20, categories={"math": 0.5}, sources={"grown": 0.25})
    _, report = choose_pairs(pairs, mix, 0)
    assert report["category"] == {"math": {"wanted": 10, "got": 3, "available": 3}}
    assert report["source"] == {"grown": {"wanted": 5, "got": 0, "available": 0}}
    assert len(keep(pairs, mix)) == 20


TEXTS = ("pair_id", "category", "source", "cluster_id")


def make_crowd(rows: int, seed: int = 0) -> pl.DataFrame:
    """Pairs with a cluster and one or two policies each."""
    rng = random.Random(seed)
    return pl.DataFrame({
        "pair_id": [f"pair{i:05}" for i in range(rows)],
        "category": [rng.choice(["math"] * 6 + ["logic"] * 3 + ["open"]) for _ in range(rows)],
        "source": [rng.choice(SOURCES) for _ in range(rows)],
        "cluster_id": [f"c{rng.randrange(max(1, rows // 3))}" for _ in range(rows)],
        "policies": [sorted(rng.sample("xyz", rng.choice([1, 2]))) for _ in range(rows)],
    }, schema=dict.fromkeys(TEXTS, pl.String) | {"policies": pl.List(pl.String)})  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 80), st.integers(3, 60), st.integers(1, 3), st.integers(1, 30),
    st.sampled_from([1.0, 2.0, 100.0]), shares(CATEGORIES), st.integers(0, 5),
)  # fmt: skip
def test_no_cap_and_no_stratum_is_passed(
    rows: int, total: int, cluster: int, policy: int, temperature: float,
    categories: dict[str, float], seed: int,
) -> None:  # fmt: skip
    pairs = make_crowd(rows, seed)
    mix = MixSpec(
        total=total, per_cluster=cluster, per_policy=policy, categories=categories,
        balance=["category", "source"], temperature=temperature,
    )  # fmt: skip
    dropped, report = choose_pairs(pairs, mix, seed)
    kept = keep(pairs, mix, seed)
    assert len(kept) + len(dropped) == rows and len(kept) <= total
    assert max(Counter(kept["cluster_id"].to_list()).values(), default=0) <= cluster
    assert max(Counter(kept["policies"].explode().to_list()).values(), default=0) <= policy
    strata = Counter(f"{c} × {s}" for c, s in kept.select("category", "source").iter_rows())
    for name, row in report["stratum"].items():
        assert strata[name] == row["got"] <= row["wanted"] <= row["available"]
    assert sum(row["wanted"] for row in report["stratum"].values()) == min(total, rows)


def test_a_grown_pool_moves_few_pairs() -> None:
    pairs = make_crowd(3000)
    mix = MixSpec(total=900, categories={"open": 0.2}, per_cluster=2, balance=["source"])
    old = set(keep(pairs[:2970], mix)["pair_id"])
    new = set(keep(pairs, mix)["pair_id"])
    assert len(old) == len(new) == 900
    assert len(old - new) <= 30  # no more than came in


def test_a_high_temperature_makes_strata_alike() -> None:
    pairs = make_crowd(2000)
    sizes = {}
    for temperature in (1.0, 3.0, 1000.0):
        mix = MixSpec(total=300, balance=["category"], temperature=temperature)
        sizes[temperature] = Counter(keep(pairs, mix)["category"].to_list())
    assert sizes[1000.0] == dict.fromkeys(CATEGORIES, 100)
    assert sizes[1.0]["math"] > sizes[3.0]["math"] > 100
    assert sizes[1.0]["open"] < sizes[3.0]["open"] < 100


@given(st.lists(st.integers(0, 50), max_size=8), st.integers(0, 300), st.floats(1, 50))
def test_shares_add_up_and_none_is_more_than_there_is(
    sizes: list[int], total: int, temperature: float
) -> None:
    shared = share_out(np.array(sizes, dtype=np.int64), total, temperature)
    assert shared.sum() == min(total, sum(sizes))
    assert all(0 <= got <= size for got, size in zip(shared, sizes, strict=True))
    for i, size in enumerate(sizes):  # a larger stratum gets no less, but for rounding
        for j, other in enumerate(sizes):
            assert size < other or shared[i] >= shared[j] - 1


def test_a_blend_is_parts_of_categories() -> None:
    pairs = make_pairs([("math", "seed")] * 90 + [("open", "seed")] * 90)
    blends = {"two_to_one": {"open": 2, "math": 1}, "even": {"open": 1, "math": 1}}
    mix = MixSpec(total=60, blends=blends, blend="two_to_one")
    assert Counter(keep(pairs, mix)["category"].to_list()) == {"open": 40, "math": 20}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"blend": "x"}, "blend names 'x', which is not under blends"),
        ({"blend": "x", "blends": {"x": {"a": 1}}, "categories": {"a": 1}}, "keep one"),
        ({"balance": ["source"]}, "say how many pairs under total"),
        ({"temperature": 2}, "name their axes under balance"),
        ({"lengths": {"short": 0.7, "long": 0.6}}, "add up to 1.3"),
        ({"length_bounds": [9, 9]}, "the smaller first"),
    ],
)
def test_a_mix_that_cannot_be_is_refused(content: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        make_recipe(mix=content)


def test_a_shortfall_says_what_would_mend_it() -> None:
    pairs = make_pairs([("open", "seed")] * 100 + [("math", "seed")] * 3).with_columns(
        prompt_id=pl.int_range(pl.len()) // 3
    )
    _, report = choose_pairs(pairs, MixSpec(total=40, categories={"math": 0.5, "open": 0.5}), 0)
    [short] = describe_shortfalls(report, pairs)
    assert (short["name"], short["wanted"], short["got"], short["short"]) == ("math", 20, 3, 17)
    assert short["mend"] == "make about 12 more prompts of the category math"  # 1.5 pairs each


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    with open_lake(tmp_path_factory.mktemp("lake") / "lake") as opened:
        yield opened


def test_the_stage_counts_what_it_drops_and_reports_its_quotas(lake: Lake) -> None:
    recipe = make_recipe("http://localhost/v1", mix={"total": 10, "categories": {"math": 0.3}})
    pairs = make_pairs([("math", "seed")] * 6 + [("open", "grown")] * 9)
    summary = mix_pairs(lake, new_run(), recipe, pairs)
    assert (summary.rows_in, summary.kept) == (15, 10)
    assert summary.dropped == {"over_quota_category": 3, "over_total": 2}
    assert summary.extra["quota"]["category"] == {"math": {"wanted": 3, "got": 3, "available": 6}}
    kept = keep_mixed(lake, recipe, pairs)
    assert Counter(kept["category"].to_list()) == {"math": 3, "open": 7}
    reasons = lake.query("SELECT DISTINCT reason FROM decisions ORDER BY reason")["reason"]
    assert reasons.to_list() == [
        "category math has its 3 pairs",
        "the total of 10 pairs is reached",
    ]
    assert mix_pairs(lake, new_run(), recipe, pairs).to_json() == summary.to_json()


def test_a_category_that_changed_is_a_new_decision() -> None:
    recipe = make_recipe(mix={"categories": {"math": 0.5}})
    old = make_pairs([("math", "pool"), ("open", "pool")])
    new = make_pairs([("open", "pool"), ("math", "pool")])
    assert make_mix_scope(recipe, old) != make_mix_scope(recipe, new)
    assert make_mix_scope(recipe, old) == make_mix_scope(recipe, old.reverse())
