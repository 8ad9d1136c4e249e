"""Cards by hand, the laws they obey, and the figures of real annotators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators.calibration import fold_pairs, measure_ece
from annotators.reliability import (
    ECE_BINS,
    compare_judges,
    correlate_judges,
    make_cards,
    tabulate_calibration,
)
from tests.annotators.opinions import make_gold, make_opinions, make_pair

RATES = (
    "parse_failure_rate", "accuracy", "accuracy_of_asked", "orders_agree", "order_flip_rate",
    "accuracy_when_orders_agree", "agreement_coverage", "first_position_rate", "longer_wins_rate",
    "longer_wins_base", "self_agreement", "ece",
)  # fmt: skip


def say(pair: int, p_a: float | None, order: str | None = None, **more: Any) -> dict[str, Any]:
    return {"annotator": "j", "pair": pair, "p_a": p_a, "order": order, **more}


def card(rows: list[dict[str, Any]], gold: pl.DataFrame, **more: Any) -> dict[str, Any]:
    (only,) = make_cards(make_opinions(rows), gold, **more).rows(named=True)
    return only


def measure_texts(lengths: dict[int, tuple[int, int]]) -> pl.DataFrame:
    rows = [
        {"response_id": name, "characters": size}
        for pair, sizes in lengths.items()
        for name, size in zip(make_pair(pair).values(), sizes, strict=True)
    ]
    return pl.DataFrame(rows)


BOTH_ORDERS = [
    say(1, 0.9, "ab"), say(1, 0.8, "ba"),  # agree on a
    say(2, 0.9, "ab"), say(2, 0.1, "ba"),  # the first shown, twice
    say(3, 0.2, "ab"), say(3, 0.3, "ba"),  # agree on b
    say(4, 0.5, "ab"), say(4, 0.9, "ba"),  # a tie in one order: neither agreement nor flip
    say(5, 0.5, "ab"), say(5, 0.5, "ba"),  # agree on a tie
    say(6, 0.9, "ab"), say(6, None, "ba"),  # read in one order only
]  # fmt: skip


def test_two_orders() -> None:
    found = card(BOTH_ORDERS, make_gold({1: 1.0, 2: 1.0, 3: 1.0, 5: 0.5}))
    assert (found["n"], found["n_valid"], found["parse_failures"]) == (12, 11, 1)
    assert found["parse_failure_rate"] == pytest.approx(1 / 12)
    assert (found["pairs"], found["n_gold"], found["n_both_orders"]) == (6, 4, 5)
    assert found["orders_agree"] == pytest.approx(3 / 5)
    assert found["order_flip_rate"] == pytest.approx(1 / 5)
    # on gold: 1 right twice, 2 once, 3 never, 5 right twice
    assert found["accuracy"] == pytest.approx(5 / 8)
    assert found["accuracy_when_orders_agree"] == pytest.approx(2 / 3)
    assert found["agreement_coverage"] == pytest.approx(3 / 4)
    # sides: 1 chose the first once of two, 2 twice, 3 once, 4 never of one, 6 once of one
    assert found["first_position_rate"] == pytest.approx(5 / 8)
    assert found["self_agreement"] is None
    assert found["longer_wins_rate"] is None


@pytest.mark.parametrize(
    ("p_a", "gold", "right"),
    [
        (0.5, 0.5, 1.0), (0.5, 1.0, 0.0), (0.5, 0.0, 0.0), (0.6, 0.5, 0.0),
        (0.6, 1.0, 1.0), (0.4, 0.0, 1.0), (0.4, 1.0, 0.0),
    ],
)  # fmt: skip
def test_a_tie_is_right_against_a_tie_and_nothing_else(
    p_a: float, gold: float, right: float
) -> None:
    assert card([say(1, p_a)], make_gold({1: gold}))["accuracy"] == right


def test_unreadable_opinions_are_neither_right_nor_wrong() -> None:
    rows = [say(1, 1.0), say(2, 1.0), say(3, None), say(4, None)]
    found = card(rows, make_gold({1: 1.0, 2: 0.0, 3: 1.0}))
    assert found["accuracy"] == pytest.approx(1 / 2)
    assert found["accuracy_of_asked"] == pytest.approx(1 / 3)
    assert found["n_gold"] == 2
    assert found["accuracy_low"] < 0.5 < found["accuracy_high"]


def test_length_against_the_base_rate() -> None:
    """A judge that takes the longer answer three times of four, where gold does once of three."""
    lengths = measure_texts({1: (9, 5), 2: (9, 5), 3: (5, 9), 4: (9, 5), 5: (7, 7)})
    rows = [say(1, 1.0), say(2, 1.0), say(3, 1.0), say(4, 1.0), say(5, 1.0)]
    found = card(rows, make_gold({1: 1.0, 2: 0.0, 3: 1.0, 5: 1.0}), lengths=lengths)
    assert found["longer_wins_rate"] == pytest.approx(3 / 4)
    assert found["longer_wins_base"] == pytest.approx(1 / 3)
    assert found["longer_wins_excess"] == pytest.approx(2 / 3 - 1 / 3)


def test_samples_of_one_order_agree_or_not() -> None:
    samples = [say(1, p, "ab", sample_index=k) for k, p in enumerate((0.9, 0.8, 0.7, 0.1))]
    samples += [say(1, p, "ba", sample_index=k) for k, p in enumerate((0.9, 0.8))]
    found = card(samples, make_gold({}))
    assert found["self_agreement"] == pytest.approx((3 / 6 + 1) / 2)
    assert found["orders_agree"] == 1.0, "an order leans as the mean of its samples"


def test_categories_have_their_own_intervals() -> None:
    gold = pl.concat([make_gold({1: 1.0, 2: 1.0}, "code"), make_gold({3: 1.0}, "chat")])
    found = card([say(1, 0.9), say(2, 0.2), say(3, 0.9)], gold)["by_category"]
    assert [(c["category"], c["pairs"], c["accuracy"]) for c in found] == [
        ("chat", 1, 1.0),
        ("code", 2, 0.5),
    ]
    assert found[1]["low"] == pytest.approx(0.0945, abs=1e-3)


def test_tokens_count_wherever_they_were_spent() -> None:
    rows = [
        say(1, 0.9, "ab", tokens_in=90, tokens_out=10, seconds=1.0),
        say(1, 0.9, "ba", tokens_in=90, tokens_out=10, seconds=1.0),
        say(2, None, "ab", tokens_in=90, tokens_out=10, seconds=1.0),
        say(3, 1.0, criterion="tone", tokens_in=40, tokens_out=10, seconds=0.5),
    ]
    found = card(rows, make_gold({}))
    assert (found["tokens"], found["tokens_per_label"]) == (350, 350)
    assert found["seconds_per_label"] == pytest.approx(3.5)
    person = card([say(1, 1.0)], make_gold({}))
    assert person["tokens"] is None and person["tokens_per_label"] is None


def test_every_annotator_has_a_card_and_none_an_invented_number() -> None:
    rows = [
        {"annotator": "fails", "pair": 1, "p_a": None},
        {"annotator": "scores", "response_a": "r", "score": 1.0},
        {"annotator": "ungraded", "pair": 1, "p_a": 0.7},
    ]
    cards = make_cards(make_opinions(rows), make_gold({}))
    assert cards["annotator"].to_list() == ["fails", "scores", "ungraded"]
    assert cards["n"].to_list() == [1, 0, 1]
    assert cards["parse_failures"].to_list() == [1, 0, 0]
    assert cards.select("accuracy", "accuracy_low", "ece", "tokens_per_label").null_count().row(
        0
    ) == (3, 3, 3, 3)
    assert make_cards(make_opinions([]), make_gold({1: 1.0})).shape == (0, cards.width)


HTTP = "call failed: http_500"


def test_a_failed_call_is_no_answer_that_could_not_be_read() -> None:
    rows = [say(1, 1.0), say(2, None, reason="none of A, B"), say(3, None, reason=HTTP),
            say(4, None, reason="sample 2: call failed: timeout"),
            say(5, None, reason="no JSON in 'call failed: timeout'")]  # fmt: skip
    found = card(rows, make_gold({1: 1.0, 2: 1.0, 3: 1.0}))
    assert (found["n"], found["n_valid"]) == (5, 1)
    assert (found["calls_failed"], found["parse_failures"]) == (2, 2)
    assert found["parse_failure_rate"] == pytest.approx(2 / 3)
    assert found["accuracy_of_asked"] == pytest.approx(1 / 2)


def test_a_call_that_was_made_again_counts_once() -> None:
    cost = {"tokens_in": 90, "tokens_out": 10, "seconds": 1.0}
    rows = [
        say(1, None, "ab", reason=HTTP, **cost), say(1, 0.9, "ab", **cost),  # healed
        say(1, 0.9, "ba", **cost),
        say(2, None, "ab", reason=HTTP), say(2, None, "ab", reason="none of A, B"),
        say(3, None, "ab", reason=HTTP), say(3, None, "ab", reason="call failed: timeout"),
        say(4, None, "ab", reason=HTTP, sample_index=1), say(4, 0.9, "ab"),  # another sample
        say(5, None, reason=HTTP, criterion="tone"), say(5, 0.9, criterion="tone"),
    ]  # fmt: skip
    found = card(rows, make_gold({1: 1.0, 2: 1.0}))
    assert (found["n"], found["n_valid"]) == (6, 3)
    assert (found["calls_failed"], found["parse_failures"]) == (2, 1)
    assert found["accuracy_of_asked"] == pytest.approx(2 / 3)
    assert found["tokens"] == 200, "what was paid before the failure is in the row that came of it"


def test_somebody_whose_calls_all_failed_has_no_rate_of_failed_reading() -> None:
    found = card([say(1, None, reason=HTTP)], make_gold({1: 1.0}))
    assert (found["n"], found["calls_failed"], found["parse_failures"]) == (1, 1, 0)
    assert found["parse_failure_rate"] is None and found["accuracy_of_asked"] is None


verdicts = st.lists(
    st.tuples(
        st.sampled_from(["j", "k"]),
        st.integers(0, 4),
        st.sampled_from([None, 0.0, 0.2, 0.5, 0.75, 1.0]),
        st.sampled_from([None, "ab", "ba"]),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=25,
)
truths = st.dictionaries(st.integers(0, 4), st.sampled_from([0.0, 0.5, 1.0]), max_size=5)
sizes = st.lists(st.integers(1, 3), min_size=10, max_size=10)


@settings(max_examples=50, deadline=None)
@given(verdicts, truths, sizes)
def test_cards_do_not_depend_on_which_id_is_smaller(
    said: list[tuple[str, int, float | None, str | None, int]],
    truth: dict[int, float],
    characters: list[int],
) -> None:
    turn = {"ab": "ba", "ba": "ab", None: None}

    def make(turned: bool) -> pl.DataFrame:
        rows = [
            {
                "annotator": name,
                "pair": pair,
                "p_a": 1 - p if turned and p is not None else p,
                "order": turn[order] if turned else order,
                "sample_index": sample,
            }
            for name, pair, p, order, sample in said
        ]
        gold = {pair: 1 - p if turned else p for pair, p in truth.items()}
        lengths = {
            pair: (characters[2 * pair + turned], characters[2 * pair + 1 - turned])
            for pair in range(5)
        }
        return make_cards(make_opinions(rows), make_gold(gold), measure_texts(lengths))

    one, other = make(False), make(True)
    for name in RATES:
        assert one[name].to_list() == pytest.approx(other[name].to_list(), nan_ok=False), name
        values = one[name].drop_nulls()
        assert values.is_between(0, 1).all(), name
        assert not values.is_nan().any(), name


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0])), min_size=1))
def test_the_error_of_calibration_is_that_of_the_other_module(
    rows: list[tuple[float, float]],
) -> None:
    rows = [(p, t) for p, t in rows if p == 0.5 or abs(p - 0.5) > 1e-6] or [(0.5, 1.0)]
    opinions = make_opinions([say(k, p) for k, (p, _) in enumerate(rows)])
    gold = make_gold({k: truth for k, (_, truth) in enumerate(rows)})
    folded = fold_pairs(*zip(*rows, strict=True))
    assert make_cards(opinions, gold)["ece"].item() == pytest.approx(measure_ece(*folded, ECE_BINS))
    plot = tabulate_calibration(opinions, gold)
    assert plot["n"].sum() == len(rows)
    assert plot["p"].min() >= 0.5


@pytest.mark.realdata
def test_three_people_and_two_judges(realdata: Path) -> None:
    from benchmarks.pandalm import PEOPLE, read_pandalm

    judgments, gold, lengths = read_pandalm(realdata)
    cards = {c["annotator"]: c for c in make_cards(judgments, gold, lengths).to_dicts()}
    assert {c["n"] for c in cards.values()} == {999}
    assert cards["judge_gpt35"]["accuracy_of_asked"] == pytest.approx(0.698, abs=5e-4)
    assert cards["judge_pandalm7b"]["accuracy_of_asked"] == pytest.approx(0.668, abs=5e-4)
    assert cards["judge_gpt35"]["parse_failures"] == 25
    assert cards["judge_gpt35"]["accuracy"] == pytest.approx(697 / 974)
    kappa = {row[:2]: row[-1] for row in compare_judges(judgments).iter_rows()}
    people = [kappa[PEOPLE[i], PEOPLE[j]] for i, j in ((0, 1), (0, 2), (1, 2))]
    assert people == pytest.approx([0.85, 0.88, 0.86], abs=5e-3)
    together = correlate_judges(judgments, gold).filter(
        (pl.col("annotator_1") == "judge_gpt35") & (pl.col("annotator_2") == "judge_pandalm7b")
    )
    assert together["phi"].item() > 0.3, "the two judges err together"


@pytest.mark.realdata
def test_the_third_person_is_predicted_better_than_by_majority(realdata: Path) -> None:
    from benchmarks.pandalm import predict_people, read_pandalm

    table = predict_people(read_pandalm(realdata)[0], resamples=300)
    for row in table.iter_rows(named=True):
        for rival in ("majority", "majority, draws random", "two people"):
            low = float(row[f"minus {rival}"].split("[")[1].split(",")[0])
            assert low > 0, (row["predicted"], rival)


@pytest.mark.realdata
def test_a_judge_that_must_choose_favours_the_first(realdata: Path) -> None:
    from benchmarks.pandalm import read_ratings

    opinions, _ = read_ratings(realdata)
    cards = {c["annotator"]: c for c in make_cards(opinions, make_gold({})).to_dicts()}
    assert cards["gpt4:options"]["first_position_rate"] == pytest.approx(0.650, abs=2e-3)
    assert cards["gpt4:options"]["orders_agree"] == pytest.approx(0.614, abs=2e-3)
    assert cards["gpt4:scores"]["first_position_rate"] == pytest.approx(0.520, abs=2e-3)
    assert cards["gpt4:scores"]["orders_agree"] == pytest.approx(0.924, abs=2e-3)
