"""What more labels would give: planted curves come back, and what cannot be told is not told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.ship.exams.forecast import Curve, choose_sizes, fit_sigmoids, forecast

SIZES = [16, 40, 100, 250, 640, 1600, 4000]


def flip(accuracies: np.ndarray, items: int = 2_000, orders: int = 4) -> np.ndarray:
    """(orders, sizes, items) of right and wrong, in these proportions; a hard item stays hard."""
    rng = np.random.default_rng(5)
    ease = rng.random((orders, 1, items))
    return (ease < accuracies[None, :, None]).astype(float)


def ask(accuracies: np.ndarray, items: int = 2_000, labels: int = SIZES[-1]) -> dict:
    return forecast(SIZES, flip(accuracies, items), [str(i) for i in range(items)], labels, 3)


def test_a_planted_curve_is_found_and_followed() -> None:
    curve = Curve(0.85, np.log(300), 0.8)
    found = ask(curve.at(np.asarray(SIZES)))
    assert found["reason"] is None
    for row in found["ahead"]:
        assert row["ci"][0] - 0.01 <= float(curve.at(row["n"])) <= row["ci"][1] + 0.01
    assert found["ceiling"]["score"] == pytest.approx(0.85, abs=0.03)
    assert [row["n"] for row in found["points"]] == SIZES
    assert [row["n"] for row in found["ahead"]] == [8_000, 16_000, 40_000]
    of_more = ask(curve.at(np.asarray(SIZES)), labels=10_000)
    assert [row["n"] for row in of_more["ahead"]] == [20_000, 40_000, 100_000]
    assert of_more["ahead"][1]["score"] == found["ahead"][2]["score"]


def test_a_curve_that_does_not_bend_yet_says_so() -> None:
    found = ask(Curve(0.95, np.log(30_000), 1.2).at(np.asarray(SIZES)))
    assert "does not bend yet" in found["reason"]
    low, high = found["ceiling"]["ci"]
    assert high - low > 0.1


def test_flat_and_blind_have_no_forecast() -> None:
    flat = ask(np.full(7, 0.7))
    assert flat["ahead"] == [] and "does not rise" in flat["reason"] and len(flat["points"]) == 7
    blind = ask(np.full(7, 0.5))
    assert blind["ceiling"] is None and "not known to be better than a coin" in blind["reason"]


def test_too_little_has_no_curve() -> None:
    assert choose_sizes(0) == choose_sizes(31) == []
    for labels in (0, 20):
        found = forecast(choose_sizes(labels), np.zeros((5, 0, 40)), ["x"] * 40, labels, 1)
        assert f"curve to: {labels} labels and 40 held-out" in found["reason"]
        assert found["points"] == []
    few = forecast(SIZES, flip(np.linspace(0.5, 0.9, 7), 5), list("abcde"), 4_000, 1)
    assert "5 held-out" in few["reason"]
    one = forecast(SIZES, flip(np.linspace(0.55, 0.9, 7), 50), ["same prompt"] * 50, 4_000, 1)
    assert len(one["points"]) == 7


@given(st.integers(32, 100_000))
def test_sizes_nest_from_the_least_to_all(most: int) -> None:
    sizes = choose_sizes(most)
    assert sizes[0] == 16 and sizes[-1] == most and sizes == sorted(set(sizes))


@settings(max_examples=20)
@given(st.floats(0.6, 1.0), st.floats(3.0, 8.0), st.floats(0.3, 2.0))
def test_a_fit_goes_through_points_of_its_own_form(top: float, middle: float, width: float) -> None:
    accuracies = Curve(top, middle, width).at(np.asarray(SIZES))
    fitted = fit_sigmoids(SIZES, accuracies)[0]
    assert np.abs(fitted.at(np.asarray(SIZES)) - accuracies).max() < 0.02
    assert 0.5 < fitted.ceiling <= 1
