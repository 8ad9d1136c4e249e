"""Mixing: quotas are never passed, nothing is lost, and what is missing is in writing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.clean.mix import choose_pairs, keep_mixed, make_mix_scope, mix_pairs
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from schemas.recipe import MixSpec
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
    return pairs.filter(~pl.col("pair_id").is_in([row[0] for row in dropped]))


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
    assert len({row[0] for row in dropped}) == len(dropped)
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
    for pair_id, rule, _ in dropped:
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
    assert choose_pairs(pairs[order], mix, 3) == choose_pairs(pairs, mix, 3)


def test_another_seed_chooses_others() -> None:
    pairs = make_pairs([("math", "seed")] * 40)
    assert not keep(pairs, MixSpec(total=20), 1).equals(keep(pairs, MixSpec(total=20), 2))


def test_without_quotas_nothing_is_dropped() -> None:
    assert choose_pairs(make_pairs([("math", "seed")] * 9), MixSpec(), 0) == (
        [], {"category": {}, "source": {}})  # fmt: skip


def test_a_share_is_not_rounded_away() -> None:
    """0.29 * 100 is 28.999999999999996."""
    pairs = make_pairs([("math", "seed")] * 100)
    _, report = choose_pairs(pairs, MixSpec(categories={"math": 0.29}), 0)
    assert report["category"]["math"] == {"wanted": 29, "got": 29}


def test_pairs_without_a_quota_do_not_take_the_room_of_those_with_one() -> None:
    pairs = make_pairs([("open", "seed")] * 190 + [("math", "seed")] * 10)
    mix = MixSpec(total=20, categories={"math": 0.5})
    kept = Counter(keep(pairs, mix)["category"].to_list())
    assert kept == {"math": 10, "open": 10}


def test_what_a_short_quota_leaves_goes_to_the_others_and_the_shortfall_is_told() -> None:
    pairs = make_pairs([("open", "seed")] * 100 + [("math", "seed")] * 3)
    mix = MixSpec(total=20, categories={"math": 0.5}, sources={"grown": 0.25})
    _, report = choose_pairs(pairs, mix, 0)
    assert report["category"] == {"math": {"wanted": 10, "got": 3}}
    assert report["source"] == {"grown": {"wanted": 5, "got": 0}}
    assert len(keep(pairs, mix)) == 20


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
    assert summary.extra["quota"]["category"] == {"math": {"wanted": 3, "got": 3}}
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
