"""Where each person stands: by hand, and against what was planted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.agreement import find_difference, find_interval
from annotators.people.standing import LEAST_GOLD, measure_standing
from tests.annotators.people.crowd import START, make_annotations, say

NO_GOLD = pl.DataFrame(schema={"item": pl.String, "label": pl.String})


def make_gold(letters: str) -> pl.DataFrame:
    return make_annotations(say({"gold": letters})).select("item", "label")


def stand(
    rows: Sequence[dict[str, Any]], gold: pl.DataFrame = NO_GOLD, **more: Any
) -> dict[str, dict[str, Any]]:
    """The rows by annotator."""
    found = measure_standing(make_annotations(rows), gold, **more)
    return {row["annotator"]: row for row in found.rows(named=True)}


def time_all(seconds: dict[str, list[float]]) -> list[dict[str, Any]]:
    return [
        {"item": f"i{place}", "annotator": annotator, "label": "a", "seconds": value}
        for annotator, values in seconds.items()
        for place, value in enumerate(values)
    ]


def test_shares_by_hand() -> None:
    found = stand(say({"x": "aat?b-", "y": "abtt--"}), make_gold("ab-aa-"))
    x = found["x"]
    assert (x["n"], x["n_labels"], x["ties"], x["undecided"]) == (5, 4, 0.25, 0.2)
    # gold knows items 0, 1, 3 and 4, and on 3 there is no label
    assert (x["n_gold"], x["accuracy"]) == (3, pytest.approx(1 / 3))
    assert (x["accuracy_low"], x["accuracy_high"]) == pytest.approx(find_interval(1 / 3, 3.0))
    assert (found["y"]["n_gold"], found["y"]["accuracy"]) == (3, pytest.approx(2 / 3))
    # nobody else answered item 4, and on item 3 only one of the two has a label
    assert (x["n_others"], x["agreement"]) == (3, pytest.approx(2 / 3))
    assert (x["agreement_low"], x["agreement_high"]) == pytest.approx(find_interval(2 / 3, 3.0))


def test_the_others_consensus_leaves_oneself_out_and_a_draw_is_none() -> None:
    found = stand(say({"w": "aab-", "x": "abb?", "y": "abtt", "z": "abta"}))
    # w is told: a by three; b by three; b, t, t so t; on item 3 it said nothing
    assert (found["w"]["n_others"], found["w"]["agreement"]) == (3, pytest.approx(1 / 3))
    # x: a, then a, b, b so b, then b, t, t so t
    assert (found["x"]["n_others"], found["x"]["agreement"]) == (3, pytest.approx(2 / 3))
    # y: a, then a, b, b so b, then b, b, t so b, and a alone on item 3
    assert (found["y"]["n_others"], found["y"]["agreement"]) == (4, 0.5)
    drawn = stand(say({"x": "a", "y": "a", "z": "b"}))
    assert (drawn["x"]["n_others"], drawn["x"]["agreement"]) == (0, None)
    assert (drawn["z"]["n_others"], drawn["z"]["agreement"]) == (1, 0.0)
    tied = stand(say({"w": "t", "x": "a", "y": "b", "z": "t"}))
    assert (tied["w"]["n_others"], tied["x"]["agreement"]) == (0, 0.0)


def test_batches_stand_apart() -> None:
    rows = make_annotations([
        *say({"x": "aa", "y": "ab"}, batch="1"), *say({"x": "bb", "y": "bb"}, batch="2"),
    ])  # fmt: skip
    found = measure_standing(rows, make_gold("ab"))
    assert found.select("batch", "annotator", "n", "accuracy", "agreement").rows() == [
        ("1", "x", 2, 0.5, 0.5), ("1", "y", 2, 1.0, 0.5),
        ("2", "x", 2, 0.5, 1.0), ("2", "y", 2, 0.5, 1.0),
    ]  # fmt: skip


def test_nothing_known_is_null() -> None:
    x = stand(say({"x": "?"}))["x"]
    assert (x["n"], x["n_labels"], x["ties"], x["undecided"]) == (1, 0, None, 1.0)
    for name in ("accuracy", "accuracy_low", "agreement", "agreement_high", "seconds", "pace",
                 "rushed", "fast", "drift", "drift_by", "below"):  # fmt: skip
        assert x[name] is None, name
    assert x["reason"] == "0 hidden gold items have a label; 30 are the least to judge by"
    empty = measure_standing(make_annotations([]), NO_GOLD)
    assert len(empty) == 0
    assert empty.columns == list(x)


@pytest.mark.parametrize(("right", "below"), [(23, True), (24, False), (30, False), (0, True)])
def test_below_is_what_is_not_shown_to_reach_the_bar(right: int, below: bool) -> None:
    said = {"x": "a" * right + "b" * (LEAST_GOLD - right)}
    x = stand(say(said), make_gold("a" * LEAST_GOLD))["x"]
    assert x["below"] is below
    assert x["reason"].startswith(f"right on {right} of 30 hidden gold items, so ")
    assert x["reason"].endswith("the lower of these must be 60.0% at least")
    assert (x["accuracy_low"] < 0.6) is below


def test_nobody_is_below_for_a_handful_of_gold() -> None:
    few = say({"x": "b" * (LEAST_GOLD - 1)})
    gold = make_gold("a" * LEAST_GOLD)
    assert stand(few, gold)["x"]["below"] is None
    assert stand(few, gold, least=20)["x"]["below"] is True
    assert stand(say({"x": "a" * 30}), gold, bar=0.95)["x"]["below"] is True


def test_how_often_the_rule_sets_aside() -> None:
    """What the docstring promises of the defaults."""
    generator = np.random.default_rng(0)
    gold = make_gold("a" * 30)
    for accuracy, low, high in ((0.9, 0.005, 0.06), (0.8, 0.32, 0.46), (0.6, 0.95, 1.0)):
        said = {
            f"x{k}": "".join(np.where(generator.random(30) < accuracy, "a", "b"))
            for k in range(400)
        }
        found = measure_standing(make_annotations(say(said)), gold)
        assert low <= found["below"].mean() <= high


def test_pace_is_against_the_others() -> None:
    slow, usual, fast = [60.0] * 12, [30.0] * 12, [9.0] * 12
    found = stand(time_all({"slow": slow, "usual": usual, "fast": fast}))
    assert {name: row["pace"] for name, row in found.items()} == {
        "slow": 60 / 19.5, "usual": 30 / 34.5, "fast": 9 / 45,
    }  # fmt: skip
    assert [found[name]["fast"] for name in ("slow", "usual", "fast")] == [False, False, True]
    assert (found["fast"]["rushed"], found["slow"]["rushed"]) == (1.0, 0.0)


def test_pace_needs_times_and_company() -> None:
    few = stand(time_all({"x": [1.0] * 9, "y": [30.0] * 12, "z": [30.0] * 12}))
    assert (few["x"]["pace"], few["x"]["n_timed"], few["x"]["seconds"]) == (None, 9, 1.0)
    assert few["y"]["pace"] == 1.0, "somebody with few times is no yardstick"
    assert stand(time_all({"x": [1.0] * 12}))["x"]["pace"] is None
    still = stand(time_all({"x": [1.0] * 12, "y": [0.0] * 12}))
    assert (still["x"]["pace"], still["y"]["pace"]) == (None, 0.0)
    burst = stand(time_all({"x": [30.0] * 8 + [2.0] * 4, "y": [30.0] * 12}))["x"]
    assert (burst["fast"], burst["rushed"]) == (False, pytest.approx(1 / 3))


def test_the_seconds_of_cannot_decide_are_not_those_of_a_label() -> None:
    rows = [*time_all({"x": [10.0] * 3}), {"item": "u", "annotator": "x", "seconds": 900.0}]
    x = stand(rows)["x"]
    assert (x["n"], x["n_timed"], x["seconds"]) == (4, 3, 10.0)


def test_drift_on_gold() -> None:
    said = "a" * 12 + "ab" * 6 + "b" * 9 + "aaa"
    x = stand(say({"x": said}), make_gold("a" * 36))["x"]
    assert (x["drift"], x["drift_by"]) == (pytest.approx(3 / 12 - 1), "gold")
    assert (x["drift_low"], x["drift_high"]) == pytest.approx(
        find_difference(1.0, 12.0, 3 / 12, 12.0)
    )
    assert x["drift_high"] < 0


def test_drift_follows_the_clock_and_not_the_names_of_items() -> None:
    rows = say({"x": "a" * 15 + "b" * 15})
    back = [{**row, "updated_at": START - (row["updated_at"] - START)} for row in rows]
    gold = make_gold("a" * 30)
    assert stand(rows, gold)["x"]["drift"] == -1.0
    assert stand(back, gold)["x"]["drift"] == 1.0
    assert stand([{**row, "updated_at": None} for row in rows], gold)["x"]["drift"] is None


def test_drift_against_the_others_where_gold_is_too_little() -> None:
    rows = say({"x": "a" * 15 + "b" * 15, "y": "a" * 30, "z": "a" * 30})
    x = stand(rows, make_gold("a" * 29))["x"]
    assert (x["drift"], x["drift_by"]) == (-1.0, "others")
    assert stand(say({"x": "a" * 29, "y": "a" * 29}))["x"]["drift"] is None


@given(st.integers(0, 2**32 - 1))
def test_laws(seed: int) -> None:
    """Order of rows and names of items mean nothing; shares stay within their intervals."""
    generator = np.random.default_rng(seed)
    letters = np.array(list("abt?-"))
    said = {name: "".join(generator.choice(letters, 40)) for name in ("x", "y", "z")}
    spoken = make_annotations(say(said))
    rows = spoken.with_columns(
        batch=pl.Series(generator.choice(["1", "2"], len(spoken))),
        seconds=pl.Series(generator.exponential(20, len(spoken))),
    )
    gold = make_gold("abt" * 12)
    found = measure_standing(rows, gold)
    shuffled = rows.sample(fraction=1, shuffle=True, seed=seed % 1_000)
    assert measure_standing(shuffled, gold).equals(found)
    for share in ("accuracy", "agreement", "drift"):
        held = found.drop_nulls(share)
        assert held[f"{share}_low"].le(held[share] + 1e-12).all()
        assert held[f"{share}_high"].ge(held[share] - 1e-12).all()
    assert found["n"].sum() == len(rows)


def test_a_planted_crowd_is_found_out() -> None:
    """Of ten honest people, a guesser who is quick, and one who tires, each is named."""
    generator = np.random.default_rng(1)
    items, gold_items = 300, 120
    truth = generator.choice(["a", "b"], items)
    rows = []
    people = {f"honest{k}": 0.9 for k in range(10)} | {"guesser": 0.5, "tiring": 0.95}
    for name, accuracy in people.items():
        share = np.full(items, accuracy)
        if name == "tiring":
            share[items // 2 :] = 0.6
        order = generator.permutation(items)
        right = generator.random(items) < share
        label = np.where(right, truth[order], np.where(truth[order] == "a", "b", "a"))
        pace = 5.0 if name == "guesser" else 40.0
        seconds = pace * generator.lognormal(0, 0.5, items)
        rows += [
            {"item": f"i{order[k]:03d}", "annotator": name, "label": label[k],
             "seconds": seconds[k], "updated_at": START + timedelta(minutes=k)}
            for k in range(items)
        ]  # fmt: skip
    gold = pl.DataFrame({"item": [f"i{k:03d}" for k in range(gold_items)],
                         "label": truth[:gold_items]})  # fmt: skip
    found = measure_standing(make_annotations(rows), gold)
    assert set(found.filter("below")["annotator"]) == {"guesser"}
    assert set(found.filter("fast")["annotator"]) == {"guesser"}
    worse = found.filter(pl.col("drift_high") < 0)
    assert worse.sort("drift")["annotator"][0] == "tiring"
    assert len(worse) <= 2, "of forty steady people one looks worse by chance"
    assert found.filter(pl.col("annotator") == "guesser")["agreement_high"].item() < 0.7
