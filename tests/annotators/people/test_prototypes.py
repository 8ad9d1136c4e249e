"""Prototypes are found where people differ and only there, and none is a few persons'."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.special import expit

from annotators.people.held_out import FOLDS, choose_count
from annotators.people.mixture import Array, Prior
from annotators.people.newcomers import trace_newcomers
from annotators.people.opinion_rows import OpinionsUnreadable, deal_pairs, read_rows
from annotators.people.prototypes import (
    LEAST,
    Prototypes,
    fit_prototypes,
    measure_controversy,
    place_annotator,
    predict,
)

FLAT = Prior(1.0, 1.0)


def draw_groups(
    counts: list[int], pairs: int = 16, d: int = 4, seed: int = 0
) -> tuple[Array, Array, list[str]]:
    """Groups, each of which goes by another dimension: the first by +x0, the second by -x0, the
    third by x1. Names tell the group."""
    generator = np.random.default_rng(seed)
    tastes = np.array([[1.0, 0, 0, 0], [-1.0, 0, 0, 0], [0, 1.0, 0, 0]])
    tastes = np.pad(tastes, ((0, 0), (0, d - 4)))
    group = np.repeat(np.arange(len(counts)), counts)
    x = generator.normal(size=(len(group), pairs, d))
    z = 4 * np.einsum("upd,ud->up", x, tastes[group])
    y = (generator.random(z.shape) < expit(z)).astype(np.float64)
    names = [f"g{of}-{at:03d}" for at, of in enumerate(group) for _ in range(pairs)]
    return x.reshape(-1, d), y.ravel(), names


@pytest.fixture(scope="module")
def found() -> Prototypes:
    """Twenty people against twelve."""
    return fit_prototypes(*draw_groups([20, 12]))


def test_two_camps_are_found_and_told_apart(found: Prototypes) -> None:
    assert found.names == ("prototype_1", "prototype_2")
    assert found.merged == ()
    told = found.members.group_by(pl.col("annotator").str.head(2), "prototype").len()
    assert set(told.iter_rows()) == {("g0", "prototype_1", 20), ("g1", "prototype_2", 12)}
    assert found.members["probability"].min() > 0.9
    assert found.shares == pytest.approx([20 / 32, 12 / 32], abs=0.03)
    assert found.weights[0, 0] > 1 > -1 > found.weights[1, 0]
    assert found.trials["k"].to_list()[:2] == [1, 2]
    assert found.trials["accuracy"][1] > found.trials["accuracy"][0] + 0.15


def test_cards_say_whom_the_pool_fails(found: Prototypes) -> None:
    cards = {row["prototype"]: row for row in found.cards.iter_rows(named=True)}
    assert [cards[name]["annotators"] for name in found.names] == [20, 12]
    assert cards["prototype_2"]["pool_accuracy"] < 0.4 < 0.8 < cards["prototype_2"]["accuracy"]
    low, high = (cards["prototype_1"][f"accuracy_{end}"] for end in ("low", "high"))
    assert low < cards["prototype_1"]["accuracy"] < high


def test_one_prototype_where_nobody_differs() -> None:
    alike = fit_prototypes(*draw_groups([30]))
    assert alike.names == ("pool",)
    assert (alike.weights[0] == alike.pool).all()
    assert alike.members["probability"].to_list() == [1.0] * 30
    assert len(alike.trials) > 1, "two were tried"
    assert measure_controversy(alike, ["i"], np.ones((1, 4)))["controversy"].to_list() == [0.0]


def test_a_handful_is_merged_into_the_pool_and_that_is_said() -> None:
    few = fit_prototypes(*draw_groups([20, 12, LEAST - 1], pairs=24, seed=2))
    assert few.names == ("prototype_1", "prototype_2", "pool")
    assert few.merged == (LEAST - 1,)
    assert (few.weights[2] == few.pool).all()
    told = few.members.group_by(pl.col("annotator").str.head(2), "prototype").len()
    assert set(told.iter_rows()) == {
        ("g0", "prototype_1", 20), ("g1", "prototype_2", 12), ("g2", "pool", LEAST - 1),
    }  # fmt: skip
    card = few.cards.row(2, named=True)
    assert (card["prototype"], card["annotators"]) == ("pool", LEAST - 1)
    assert card["accuracy"] is card["accuracy_low"] is card["pool_accuracy"] is None
    enough = fit_prototypes(*draw_groups([20, 12, LEAST + 3], pairs=24))
    assert enough.names == ("prototype_1", "prototype_2", "prototype_3")


def test_a_newcomer_is_placed_by_a_few_opinions(found: Prototypes) -> None:
    x = np.random.default_rng(5).normal(size=(8, 4))
    assert place_annotator(found, x[:0], []) == pytest.approx(found.shares)
    sides = (x[:, 0] > 0).astype(float)
    first, second = place_annotator(found, x, sides), place_annotator(found, x, 1 - sides)
    assert first[0] > 0.95 and second[1] > 0.95
    assert place_annotator(found, x, np.full(8, 0.5)).sum() == pytest.approx(1.0)
    p = predict(found, x, second)
    assert ((p > 0.5) == (x[:, 0] < 0)).mean() > 0.8
    assert p == pytest.approx(predict(found, x) @ second)


def test_controversy_is_where_the_camps_part(found: Prototypes) -> None:
    x = np.array([[2.0, 0, 0, 0], [0.0, 0, 0, 0], [-2.0, 0, 0, 0]])
    apart = measure_controversy(found, ["left", "nothing", "right"], x)
    assert apart.columns == ["item", "p_prototype_1", "p_prototype_2", "p", "controversy", "split"]
    assert apart["controversy"][0] > 0.9 and apart["controversy"][1] == 0.0
    assert apart["split"].to_list() == [True, False, True]
    assert apart["p_prototype_1"][0] > 0.9 > 0.1 > apart["p_prototype_2"][0]
    assert 0.3 < apart["p"][0] < 0.8, "the mean hides it"


def test_the_curve_of_newcomers_rises() -> None:
    x, y, names = draw_groups([20, 12], pairs=20)
    short = [f"short-{at}" for at in range(6)]
    x, y, names = np.vstack([x, np.ones((6, 4))]), np.append(y, np.ones(6)), names + short
    curve = trace_newcomers(x, y, names, k=2, prior=Prior(1.0, 3.0), least=LEAST)
    assert curve["seen"].to_list() == [0, 2, 4, 8, 16]
    assert curve["annotators"].unique().to_list() == [32], "whoever has too few opinions is out"
    assert curve["opinions"].unique().to_list() == [32 * 4]
    assert curve["pool_accuracy"].n_unique() == 1
    accuracy, likelihood = curve["accuracy"].to_list(), curve["log_likelihood"].to_list()
    assert accuracy[4] > accuracy[1] > accuracy[0] + 0.1
    assert likelihood[4] > likelihood[2] > likelihood[1] > likelihood[0]
    nobody = trace_newcomers(x, y, names, k=1, prior=FLAT, least=LEAST, seen=(99,))
    assert nobody.row(0) == (99, 0, 0, None, None, None)


def test_what_others_said_of_a_pair_is_no_knowledge_of_its_likes() -> None:
    """Labels are a coin's, a coin a pair, and all agree on them: held out by pairs, nothing can be
    known; held out by opinions, everything."""
    generator = np.random.default_rng(0)
    vectors, coins = generator.normal(size=(40, 60)), generator.integers(0, 2, 40)
    at = np.tile(np.arange(40), 12)
    names = [f"u{who:02d}" for who in np.repeat(np.arange(12), 40)]
    pairs = [f"p{pair}" for pair in at]
    honest, naive = (
        choose_count(read_rows(vectors[at], coins[at], names, ids), 1, LEAST, 0).table
        for ids in (pairs, None)
    )
    assert honest["accuracy"][0] < 0.75
    assert naive["accuracy"][0] > 0.95


def test_folds_hold_pairs_together_and_deal_everybody_evenly() -> None:
    x, y, names = draw_groups([7], pairs=10)
    rows = read_rows(x, y, names, None)
    fold = deal_pairs(rows, FOLDS, 0)[rows.pair]
    for who in range(7):
        assert np.bincount(fold[rows.annotator == who]).tolist() == [2] * FOLDS


def test_the_order_of_the_rows_does_not_matter_to_the_last_bit() -> None:
    x, y, names = draw_groups([8, 7], pairs=12)
    pairs = [f"p{at:03d}" for at in range(len(y))]
    order = np.random.default_rng(1).permutation(len(y))
    one = fit_prototypes(x, y, names, pairs, seed=3)
    two = fit_prototypes(
        x[order], y[order], [names[at] for at in order], [pairs[at] for at in order], seed=3
    )
    assert one.members.equals(two.members)
    assert (one.weights == two.weights).all()
    assert one.trials.equals(two.trials) and one.cards.equals(two.cards)


def test_scale_and_idle_dimensions_change_nothing() -> None:
    x, y, names = draw_groups([8, 7], pairs=12)
    one = fit_prototypes(x, y, names)
    wide = fit_prototypes(np.hstack([x * 1e-3, np.zeros((len(x), 300))]), y, names)
    assert wide.weights.shape == (2, 304)
    assert wide.weights[:, :4] * 1e-3 == pytest.approx(one.weights, rel=1e-3, abs=1e-4)
    assert np.abs(wide.weights[:, 4:]).max() == 0
    assert wide.members["prototype"].equals(one.members["prototype"])


@pytest.mark.parametrize(
    ("x", "y", "names"),
    [
        (np.zeros((0, 3)), [], []),
        (np.zeros((0, 0)), [], []),
        (np.ones((1, 3)), [1.0], ["a"]),
        (np.random.default_rng(0).normal(size=(9, 3)), [1.0] * 9, ["a"] * 9),
        (np.random.default_rng(0).normal(size=(30, 3)), [0.5] * 30, list("abcdefghij") * 3),
        (np.ones((30, 3)), [1.0] * 20 + [0.0] * 10, list("abcdefghij") * 3),
        (np.zeros((30, 3)), [1.0] * 20 + [0.0] * 10, list("abcdefghij") * 3),
        (np.random.default_rng(0).normal(size=(20, 90)), [1.0, 0.0] * 10, list("abcdefghij") * 2),
    ],
    ids=["no pairs", "no dimensions", "one opinion", "one annotator", "all ties", "identical",
         "no difference", "more dimensions than pairs"],
)  # fmt: skip
def test_degenerate_opinions(x: Array, y: list[float], names: list[str]) -> None:
    with np.errstate(all="raise", under="ignore"):
        found = fit_prototypes(x, y, names)
    assert found.names == ("pool",)
    assert found.members["annotator"].to_list() == sorted(set(names))
    assert np.isfinite(found.weights).all() and found.weights.shape == (1, x.shape[1])
    assert found.cards["annotators"].to_list() == [len(set(names))]
    assert predict(found, x).shape == (len(x), 1)
    assert place_annotator(found, x, y).tolist() == [1.0]
    assert len(measure_controversy(found, [str(at) for at in range(len(x))], x)) == len(x)
    assert len(trace_newcomers(x, y, names, k=1, prior=FLAT, least=LEAST)) == 5
    if set(y) == {0.5}:
        assert found.trials["accuracy"].to_list() == [None] * len(found.trials)
        assert np.abs(found.weights).max() < 1e-9


def test_one_sided_people_get_a_finite_model() -> None:
    """Everybody always says A of x > 0: separable, held by the prior."""
    x = np.abs(np.random.default_rng(0).normal(size=(200, 1)))
    found = fit_prototypes(x, np.ones(200), [f"u{at % 10}" for at in range(200)])
    assert found.names == ("pool",)
    assert 0.9 < predict(found, [[1.0]])[0, 0] < 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"y": [1.0, np.nan]}, "row 1 has no p from 0 to 1"),
        ({"y": [2.0, 0.0]}, "row 0 has no p from 0 to 1"),
        ({"y": [1.0]}, "2 vectors, but 1 y"),
        ({"x": [[1.0, np.inf], [0.0, 1.0]]}, "row 0 has a vector with a number that is not finite"),
        ({"x": [1.0, 2.0]}, "one row an opinion"),
        ({"annotators": ["a", None]}, "row 1 names no annotator"),
        ({"annotators": ["a"]}, "2 vectors, but 1 annotators"),
        ({"pairs": ["p", "p"]}, "pair 'p' has two vectors"),
    ],
)
def test_bad_opinions_are_named(changed: dict[str, object], message: str) -> None:
    good = {"x": [[1.0, 0.0], [0.0, 1.0]], "y": [1.0, 0.0], "annotators": ["a", "b"], "pairs": None}
    with pytest.raises(OpinionsUnreadable, match=message):
        fit_prototypes(**{**good, **changed})


def test_vectors_of_other_dimensions_are_refused(found: Prototypes) -> None:
    with pytest.raises(OpinionsUnreadable, match="have 4 dimensions"):
        predict(found, np.ones((2, 3)))


@pytest.mark.realdata
def test_real_raters_differ_and_shuffled_ones_do_not(realdata: Path) -> None:
    """By their rates of "unsafe" alone: 123 raters, 60 items."""
    said = {"Yes": 1.0, "No": 0.0, "Unsure": 0.5}
    with gzip.open(realdata / "dices_350_crowdsourced.jsonl.gz", "rt") as lines:
        rows = [json.loads(line)["annotations"]["safety"] for line in lines][:60]
    scores = np.array([[said[word] for word in row["individual_human_scores"]] for row in rows])
    items, raters = scores.shape
    names = [f"r{at:03d}" for at in range(raters)] * items
    pairs = [f"i{at:02d}" for at in range(items) for _ in range(raters)]
    one = np.ones((items * raters, 1))
    assert len(fit_prototypes(one, scores.ravel(), names, pairs).names) > 2
    shuffled = np.random.default_rng(0).permuted(scores, axis=1)
    assert fit_prototypes(one, shuffled.ravel(), names, pairs).names == ("pool",)
