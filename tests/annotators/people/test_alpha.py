"""Krippendorff's alpha: his own figures, its laws, real people, and people beside machines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from annotators.consensus import fit_consensus
from annotators.people.agreement import Metric, compare_people, measure_alpha
from annotators.votes import VotesUnreadable, make_votes
from tests.annotators.opinions import make_votes as read_votes
from tests.annotators.people.crowd import make_annotations, say, simulate

_ = None
# Krippendorff 2011, section C: four observers, twelve units
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
    [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
]
METRICS: tuple[Metric, ...] = ("nominal", "ordinal")
tables = st.lists(
    st.lists(st.one_of(st.none(), st.integers(-2, 2)), min_size=6, max_size=6),
    min_size=2,
    max_size=5,
)


def rate(table: list[list[int | None]]) -> pl.DataFrame:
    """item, annotator, rating from one row an annotator."""
    rows = [(f"i{k}", f"r{j}", v) for j, row in enumerate(table) for k, v in enumerate(row)]
    schema = {"item": pl.String, "annotator": pl.String, "rating": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def alpha(table: list[list[int | None]], metric: Metric = "nominal") -> float | None:
    return measure_alpha(rate(table), "rating", metric, resamples=0).value


def test_his_own_figures() -> None:
    nominal, ordinal = (measure_alpha(rate(OBSERVERS), "rating", metric) for metric in METRICS)
    assert nominal.value == pytest.approx(0.743, abs=5e-4)
    assert ordinal.value == pytest.approx(0.815, abs=5e-4)
    assert (nominal.items, nominal.annotators, nominal.n) == (11, 4, 40)
    for found in (nominal, ordinal):
        assert found.low is not None
        assert found.high is not None
        assert found.low < found.value < found.high


def test_alpha_by_hand() -> None:
    # shared: aa bb tb aa, so eight values (a 4, b 3, t 1), and one unit of two that disagree
    observed, expected = 2 / 8, (64 - 16 - 9 - 1) / (8 * 7)
    votes = read_votes({"x": "abt-a", "y": "abbta"})
    assert measure_alpha(votes).value == pytest.approx(1 - observed / expected)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    "table",
    [
        [[]],  # nobody
        [[1, 2, 0]],  # one rater
        [[1, 1], [1, 1]],  # all the same
        [[1, _], [_, 2]],  # no overlap
        [[_, _], [_, _]],
    ],
)
def test_where_alpha_is_undefined(table: list[list[int | None]], metric: Metric) -> None:
    found = measure_alpha(rate(table), "rating", metric)
    assert (found.value, found.low, found.high) == (None, None, None)


@pytest.mark.parametrize("metric", METRICS)
def test_one_item(metric: Metric) -> None:
    """Two people who disagree on all there is: as bad as chance; and no interval, for the one item
    drawn again tells nothing."""
    found = measure_alpha(rate([[1], [2]]), "rating", metric)
    assert (found.value, found.items, found.n) == (0.0, 1, 2)
    assert alpha([[1], [1]], metric) is None


def test_no_interval_where_most_resamples_are_undefined() -> None:
    found = measure_alpha(rate([[1, 1, 1, 2], [1, 1, 1, 2]]), "rating")
    assert (found.value, found.low, found.high) == (1.0, None, None)


@given(tables, st.data())
def test_names_and_order_mean_nothing(table: list[list[int | None]], data: Any) -> None:
    rows = rate(table)
    names = data.draw(st.permutations(sorted(set(rows["annotator"]))))
    renamed = rows.with_columns(
        pl.col("annotator").replace(dict(zip(sorted(names), names, strict=True)))
    ).sample(fraction=1, shuffle=True, seed=data.draw(st.integers(0, 9)))
    for metric in METRICS:
        expected = measure_alpha(rows, "rating", metric, resamples=50)
        assert measure_alpha(renamed, "rating", metric, resamples=50) == expected
        swapped = rows.with_columns(-pl.col("rating"))
        assert measure_alpha(swapped, "rating", metric, resamples=0).value == (
            expected.value if expected.value is None else pytest.approx(expected.value)
        )


@given(tables)
def test_as_the_coincidence_matrix_says(table: list[list[int | None]]) -> None:
    """The textbook's way, by a table of values by values."""
    pairs = np.zeros((5, 5))
    for item in zip(*table, strict=True):
        held = [value + 2 for value in item if value is not None]
        for i, one in enumerate(held):
            for j, other in enumerate(held):
                if i != j:
                    pairs[one, other] += 1 / (len(held) - 1)
    totals = pairs.sum(axis=0)
    middle = totals.cumsum() - totals / 2
    for metric in METRICS:
        if metric == "nominal":
            distance = 1 - np.eye(5)
        else:
            distance = (middle[:, None] - middle[None, :]) ** 2
        expected = (totals[:, None] * totals[None, :] * distance).sum()
        found = alpha(table, metric)
        if (totals > 0).sum() < 2:
            assert found is None
        else:
            observed = (pairs * distance).sum()
            assert found == pytest.approx(1 - (totals.sum() - 1) * observed / expected)


@given(st.lists(st.integers(-2, 2), min_size=2, max_size=30), st.integers(2, 6))
def test_perfect_agreement_is_one(truth: list[int], raters: int) -> None:
    assume(len(set(truth)) > 1)
    for metric in METRICS:
        assert alpha([truth] * raters, metric) == 1.0


@given(st.integers(0, 2**32 - 1))
def test_random_answers_are_about_zero(seed: int) -> None:
    table = np.random.default_rng(seed).integers(-2, 3, (3, 2_000)).tolist()
    for metric in METRICS:
        found = alpha(table, metric)
        assert found is not None
        assert abs(found) < 0.1


@given(
    st.lists(st.tuples(st.integers(-2, 2), st.booleans()), min_size=2, max_size=30),
)
def test_adjacent_disagreements_weigh_less_when_ordinal(said: list[tuple[int, bool]]) -> None:
    """Neighbours of five strengths, all of which occur, so that neighbours are no extremes."""
    first = [*range(-2, 3), *(value for value, _ in said)]
    second = [*range(-2, 3), *(value - moved if value > -2 else -1 for value, moved in said)]
    nominal, ordinal = (alpha([first, second], metric) for metric in METRICS)
    assert nominal is not None
    assert ordinal is not None
    assert ordinal >= nominal - 1e-12


def test_opposite_ends_weigh_more_when_ordinal() -> None:
    first, second = [-2, -1, 0, 1, 2, -2, 2], [-2, -1, 0, 1, 2, 2, -2]
    nominal, ordinal = (alpha([first, second], metric) for metric in METRICS)
    assert nominal is not None
    assert ordinal is not None
    assert ordinal < nominal


def test_the_interval_covers_what_a_larger_sample_finds() -> None:
    """Of 60 samples of 150 items nine in ten intervals or more hold the alpha of 40,000."""
    people = {"x": 0.8, "y": 0.7, "z": 0.6}
    truth = measure_alpha(simulate(people, 40_000)[0], resamples=0).value
    assert truth is not None
    held = 0
    for seed in range(1, 61):
        found = measure_alpha(simulate(people, 150, seed)[0], resamples=300)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= truth <= found.high
    assert held >= 54


def test_forty_thousand_distinct_values() -> None:
    generator = np.random.default_rng(0)
    items = np.repeat(np.arange(20_000), 2)
    rows = pl.DataFrame({"item": items, "annotator": np.tile(["x", "y"], 20_000),
                         "rating": generator.normal(items % 7)})  # fmt: skip
    found = measure_alpha(rows, "rating", "ordinal", resamples=100)
    assert found.value is not None
    assert found.value > 0.5


def test_bad_input() -> None:
    votes = read_votes({"x": "ab", "y": "ab"})
    with pytest.raises(VotesUnreadable, match="lack the column strength"):
        measure_alpha(votes, "strength")
    with pytest.raises(VotesUnreadable, match="label is String, and an ordinal alpha"):
        measure_alpha(votes, metric="ordinal")
    with pytest.raises(VotesUnreadable, match="'x' gives item 'i000' several values of label"):
        measure_alpha(pl.concat([votes, votes]))
    numbers = pl.DataFrame({"item": [1, 1, 2, 2], "annotator": ["x", "y"] * 2,
                            "rating": [1.0, 1.0, float("nan"), 2.0]})  # fmt: skip
    assert measure_alpha(numbers, "rating").items == 1, "NaN is a missing value"


def test_kappa_of_people_takes_the_last_word_of_those_who_can_decide() -> None:
    rows = make_annotations([
        *say({"x": "babb?", "y": "abbba"}, batch="1"),
        {**say({"x": "---------a"})[0], "item": "i000", "batch": "2"},
    ])  # fmt: skip
    (row,) = compare_people(rows).rows(named=True)
    assert (row["n"], row["agreement"]) == (4, 0.75)


def test_people_and_machines_together() -> None:
    """Two people with gaps and three machines: the consensus of all is nearer to the truth than
    that of either, and knows the people for the better judges."""
    accuracies = {"person-x": 0.9, "person-y": 0.85, "m1": 0.7, "m2": 0.65, "m3": 0.6}
    votes, gold = simulate(accuracies, 1_500)
    is_person = pl.col("annotator").str.starts_with("person-")
    people, machines = votes.filter(is_person), votes.filter(~is_person)
    answered = people.filter(pl.int_range(pl.len()).over("annotator") % 3 != 0)
    both = fit_consensus(pl.concat([answered, machines]))

    def share_right(items: pl.DataFrame) -> float:
        top = pl.max_horizontal("p_a", "p_b", "p_tie")
        said = pl.coalesce(
            pl.when(pl.col(f"p_{name}") == top).then(pl.lit(name)) for name in ("a", "b", "tie")
        )
        joined = gold.join(items.select("item", said=said), on="item", how="left")
        return float((joined["said"] == joined["label"]).fill_null(False).mean())

    right = share_right(both.items)
    assert right > share_right(fit_consensus(answered).items) + 0.02
    assert right > share_right(fit_consensus(machines).items) + 0.02
    found = dict(both.annotators.select("annotator", "accuracy").iter_rows())
    for name, accuracy in accuracies.items():
        assert found[name] == pytest.approx(accuracy, abs=0.05), name


@pytest.mark.realdata
def test_the_people_of_pandalm(realdata: Path) -> None:
    from benchmarks.pandalm import PEOPLE, read_pandalm

    judgments = read_pandalm(realdata)[0].filter(pl.col("annotator").is_in(PEOPLE))
    votes = make_votes(judgments)
    kappas = compare_people(votes)["kappa"].to_list()
    assert kappas == pytest.approx([0.85, 0.88, 0.86], abs=5e-3)
    found = measure_alpha(votes)
    assert (found.items, found.annotators, found.n) == (999, 3, 2997)
    assert found.value == pytest.approx(float(np.mean(kappas)), abs=5e-3)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high < found.low + 0.05
